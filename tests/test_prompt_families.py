"""Scope "prompt" on every architecture of transformers: exact, refused, or no less exact than the untouched model."""

import pytest
import torch
import transformers
from packaging.version import Version

from decausal import _prompt_hooks, _prompts
from prefix_verdicts import PromptVerdict, judge_prompts
from zoo import MODEL_TYPES, NOT_BUILT, PROMISED

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(
        Version(transformers.__version__) < Version("5.23"), reason="the tables are of transformers 5.23"
    ),
]

_PICKS = "picks its keys by a causal rule of its own"
_LEFT_ONLY = "it has no softmax attention over a mask"
_OWN_MASK = "its attention keeps a causal mask of its own"
_NO_STACK = "has no list of decoder layers"
REFUSED = {
    **dict.fromkeys(["axk2", "deepseek_v32", "glm_moe_dsa", "hy_v4"], _PICKS),
    **dict.fromkeys(["falcon_mamba", "mamba", "mamba2", "qwen4_exp", "qwen4_exp_text"], _LEFT_ONLY),
    **dict.fromkeys(["gpt_neo", "openai-gpt"], _OWN_MASK),
    **dict.fromkeys(["blt", "deepseek_v4", "hrm_text", "longcat_flash", "prophetnet"], _NO_STACK),
    **dict.fromkeys(["rwkv", "xlnet", "xlstm"], _NO_STACK),
    "big_bird": "its attention skips blocks of keys in long texts",
    "bigbird_pegasus": "it has is_causal=False already",
    "cpmant": "takes no attention_mask",
    "reformer": "its attention looks within chunks",
    "xlm": "is an encoder",
    "zaya": "it takes its masks as a dictionary",
}
"""The model types of which no layer can be opened, and why; `unmask` refuses them in either scope."""

_NO_POSITIONS = """
    bart blenderbot blenderbot-small bloom marian mbart moss_transcribe_diarize mpt musicgen musicgen_melody mvp
    pegasus plbart roformer trocr whisper
"""
PACKING = {
    **dict.fromkeys(_NO_POSITIONS.split(), "takes no positions"),
    "granitemoehybrid": "refused",  # on sdpa, where neither a mask nor positions reach its layers
}
"""The model types whose packed rows are not exact but cannot be given, or are refused."""

HOST_DIFFERS = {
    **dict.fromkeys(["jamba", "zamba", "zamba2", "recurrent_gemma"], ("second turn",)),
    **dict.fromkeys(["git", "moshi", "musicgen", "musicgen_melody"], ("first turn", "second turn")),
}
"""Where transformers' cached decoding already differs from its own full forward, or fails; their layers are exact."""


def expected(model_type: str) -> PromptVerdict:
    return PromptVerdict("", PACKING.get(model_type, "exact"), HOST_DIFFERS.get(model_type, ()))


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_cannot_be_exact_is_refused_and_says_why(model_type: str) -> None:
    assert REFUSED[model_type] in judge_prompts(model_type, "sdpa").reason


@pytest.mark.parametrize("model_type", [name for name in MODEL_TYPES if name not in {*NOT_BUILT, *REFUSED}])
def test_prompts_are_exact_in_every_other_family(model_type: str) -> None:
    assert judge_prompts(model_type, "sdpa") == expected(model_type)


@pytest.mark.parametrize("model_type", [name for name in PROMISED if name in MODEL_TYPES])
def test_the_promised_families_are_exact_on_eager_too(model_type: str) -> None:
    assert judge_prompts(model_type, "eager") == expected(model_type)


def test_a_prompt_that_stays_closed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_prompt_hooks, "open_prompts", lambda mask, *_: mask)
    with pytest.raises(AssertionError, match=r"llama, eager, left padding, layer 0, row 0: sees less"):
        judge_prompts("llama", "eager")


def test_an_answer_that_is_seen_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_prompts, "same_prompt", lambda spans: torch.tensor(True))
    with pytest.raises(AssertionError, match=r"llama, eager, left padding, layer 0, row 0: sees more"):
        judge_prompts("llama", "eager")


def test_packed_neighbours_that_are_seen_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_prompts, "packed_documents", lambda *_: None)
    with pytest.raises(AssertionError, match=r"biogpt, eager, packed rows, layer 0, row 1: sees more"):
        judge_prompts("biogpt", "eager")


def test_a_mask_that_says_what_is_hidden_is_read_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_prompt_hooks, "says_hidden", lambda mask: torch.tensor(False))
    with pytest.raises(AssertionError, match=r"mpt, eager, left padding, layer 0, row 0: sees more"):
        judge_prompts("mpt", "eager")
