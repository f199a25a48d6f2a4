"""Fixtures: a small model on disk, a task on disk that only the words to the right solve, and recipes for them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

import now_and_then
import small_tokenizers


@pytest.fixture(scope="session")
def base_model(tmp_path_factory) -> str:
    """A random 4-layer Llama with a trained byte-level tokenizer."""
    directory = tmp_path_factory.mktemp("models") / "base"
    torch.manual_seed(0)
    tokenizer = small_tokenizers.smollm2()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """`A name now.` is a PER, `A name then.` a LOC, in `train.tsv`, `validation.tsv` and `test.tsv`."""
    return now_and_then.write(tmp_path_factory.mktemp("data"), train=96, validation=33, test=33)


@pytest.fixture(scope="session")
def write_recipe(base_model, corpus) -> Callable[..., str]:
    """Writes a recipe for the small model and task, with any field changed; None leaves a field out."""

    def write(directory: Path, **fields: object) -> str:
        contents = {
            "model_name_or_path": base_model,
            "unmask": "1111",
            **{f"{split}_file": str(corpus / f"{split}.tsv") for split in ("train", "validation", "test")},
            "num_train_epochs": 1,
            "per_device_train_batch_size": 16,
            "learning_rate": 1e-2,
            "use_cpu": True,
            "bf16": False,  # else this machine's processor decides
            "disable_tqdm": True,
            "output_dir": str(directory / "run"),
            **fields,
        }
        path = directory / "recipe.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in contents.items() if value is not None}))
        return str(path)

    return write


@pytest.fixture
def recipe(write_recipe, tmp_path) -> Callable[..., str]:
    """As `write_recipe`, into the directory of the test."""
    return partial(write_recipe, tmp_path)
