"""The language model below a tagger: as it was where the adapter is off and the layers are paused, and only there."""

import json

import pytest

import measure_base
from decausal.tagging.train import main as train
from small_recipes import base_model, corpus, write_recipe

__all__ = ["base_model", "corpus", "write_recipe"]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def measured(write_recipe, corpus, tmp_path):
    """What is measured of a tagger of the small model, on its test sentences."""
    assert train([write_recipe(tmp_path, max_steps=4)]) == 0
    path = tmp_path / "base.json"
    measure_base.main(
        [str(tmp_path / "run"), str(corpus / "test.tsv"), str(path), "--max_words", "60", "--prompt", "the house"]
    )
    return json.loads(path.read_text())


def test_only_where_both_are_off_is_the_model_what_it_was(measured):
    states = measured["states"]
    untouched = states.pop("untouched")
    assert {name: facts["logits as untouched"] for name, facts in states.items()} == {
        "adapter off, layers paused": True,
        "adapter on, layers paused": False,
        "adapter off, layers open": False,
        "adapter on, layers open": False,
    }
    assert states["adapter off, layers paused"]["perplexity"] == untouched["perplexity"]
    assert states["adapter off, layers paused"]["continuation"] == untouched["continuation"]
    assert len({facts["perplexity"] for facts in states.values()}) == 4
    assert (measured["words"], measured["layers"]) == (60, [0, 1, 2, 3])


def test_a_model_that_is_not_what_it_was_is_an_error(write_recipe, corpus, tmp_path, monkeypatch):
    assert train([write_recipe(tmp_path, max_steps=4)]) == 0
    monkeypatch.setattr(
        measure_base, "states", lambda model, handle: [("adapter off, layers paused", measure_base.nullcontext())]
    )
    with pytest.raises(SystemExit, match="the model is not what it was"):
        measure_base.main([str(tmp_path / "run"), str(corpus / "test.tsv"), str(tmp_path / "base.json")])
