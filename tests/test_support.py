"""Every architecture of transformers is exact or refused, and SUPPORT.md says which.

`python tests/test_support.py --write` writes SUPPORT.md anew.
"""

import argparse

import pytest
import torch
import transformers
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import decausal
from decausal import _hooks
from support_table import PATH, Table, row
from verdicts import judge
from zoo import ENCODERS, MODEL_TYPES, PROMISED, build

pytestmark = pytest.mark.usefixtures("one_thread")

_NO_SMALL_ONE = "no small model of it can be built or run"
OF_OLDER_VERSIONS = {
    **dict.fromkeys(["ctrl", "dbrx", "emu3", "llama4", "qwen3_5", "qwen3_5_moe", "zamba"], ("<5.16", _NO_SMALL_ONE)),
    **dict.fromkeys(["musicgen", "musicgen_melody"], ("<5.23", _NO_SMALL_ONE)),
    **dict.fromkeys(
        ["megatron-bert", "rembert", "roformer"],
        ("==5.16.*", "untouched, as a decoder, it is not causal, which the audit says"),
    ),
    **dict.fromkeys(
        ["diffllama", "moshi", "nemotron"],
        ("<5.16", "refused on sdpa, where it is causal without a mask; exact on eager"),
    ),
}
"""Model types that are not judged under some transformers, and why."""


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.read()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # gpt_bigcode before 5.23
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_layer_is_exact_or_refused_and_the_table_says_which(model_type: str, table: Table) -> None:
    versions, reason = OF_OLDER_VERSIONS.get(model_type, ("<0", ""))
    if Version(transformers.__version__) in SpecifierSet(versions):
        pytest.skip(f"{model_type} in transformers {transformers.__version__}: {reason}")
    assert table.agrees(model_type, row(model_type)), "SUPPORT.md is stale: python tests/test_support.py --write"


def test_the_table_lists_every_model_type_and_counts_its_lines(table: Table) -> None:
    if not table.is_current:
        pytest.skip("SUPPORT.md was written under other versions of transformers or torch")
    assert list(table.rows) == list(MODEL_TYPES)
    assert table.text == table.render()


def test_more_than_105_model_types_are_exact_in_every_layer(table: Table) -> None:
    assert table.counts["exact"] > 105


@pytest.mark.parametrize("model_type", PROMISED)
def test_the_promised_model_types_are_exact_in_every_layer(model_type: str, table: Table) -> None:
    if model_type not in MODEL_TYPES:
        pytest.skip(f"transformers {transformers.__version__} has no model type {model_type!r}")
    assert table.result(model_type) == "exact"


@pytest.mark.parametrize("model_type", ENCODERS)
def test_an_encoder_accepts_none_and_says_that_it_already_sees_both_sides(model_type: str) -> None:
    encoder = build(model_type, is_decoder=False)
    assert decausal.unmask(encoder, "none").layers == ()
    with pytest.raises(decausal.UnsupportedModelError, match="already"):
        decausal.unmask(encoder, "all")


def test_a_layer_whose_mask_stays_closed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hooks, "open_mask", lambda mask, *_: mask)
    with pytest.raises(AssertionError, match=r"llama, eager, no mask, \(0, 1, 2, 3\) unmasked, layer 0"):
        judge("llama", "eager")


def test_a_layer_whose_mask_forgets_the_padding_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hooks, "open_mask", lambda mask, *_: torch.zeros_like(mask))
    with pytest.raises(AssertionError, match=r"llama, eager, left padding, \(0, 1, 2, 3\) unmasked, layer 0"):
        judge("llama", "eager")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="judge every model type; takes minutes")
    parser.parse_args()
    torch.set_num_threads(1)
    PATH.write_text(Table.of([row(model_type) for model_type in MODEL_TYPES]).text)
