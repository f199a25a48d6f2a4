"""What the tests share: a small random model, and the real ones where they are at hand."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

import decausal
from rows import SIZES

os.environ.setdefault("HF_HUB_OFFLINE", "1")
_CACHE = TemporaryDirectory()
os.environ["HF_DATASETS_CACHE"] = _CACHE.name  # nothing that was read before
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Models as small as those of `zoo` run several times faster on one thread."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def llama() -> Callable[..., PreTrainedModel]:
    """Builds a random 4-layer Llama whose tokens influence each other visibly."""

    def build(attn_implementation: str = "eager", **settings: object) -> PreTrainedModel:
        torch.manual_seed(0)
        config = LlamaConfig(**SIZES, max_position_embeddings=64, initializer_range=0.3, **settings)
        return LlamaForCausalLM._from_config(config, attn_implementation=attn_implementation).eval()

    return build


@pytest.fixture
def prefix_lm(llama):
    """The random Llama with half of its layers opened for prompts."""

    def build(attn_implementation: str = "sdpa", pattern: str = "0110", **settings):
        model = llama(attn_implementation, **settings)
        return model, decausal.unmask(model, pattern, scope="prompt")

    return build


@pytest.fixture
def shared() -> Path:
    """The folder of real models, data and fixtures that lies beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of models and data beside the repository (../shared)")
    return SHARED


@pytest.fixture
def stories(shared: Path) -> str:
    """A really pretrained Llama-class model of 260,032 parameters."""
    return str(shared / "models" / "stories260k")
