"""The contract with Axolotl: the hook that it calls, and the block of its YAML."""

from types import SimpleNamespace

import pytest
from transformers import LlamaForTokenClassification

import decausal

pytest.importorskip("axolotl", reason="needs Axolotl, in an environment of its own: pip install axolotl==0.19.0")
from decausal.hosts.axolotl import DecausalArguments, DecausalBlock, DecausalPlugin


def config(**settings):
    return SimpleNamespace(
        **{"decausal": {"unmask": "0011", "scope": "all"}, "context_parallel_size": None, **settings}
    )


def test_the_model_that_was_built_is_unmasked(llama):
    model = LlamaForTokenClassification(llama().config)
    DecausalPlugin().post_model_build(config(), model)
    assert decausal.unmasked_layers(model) == (2, 3)


def test_a_plugin_without_a_block_is_refused(llama):
    with pytest.raises(ValueError, match="no block that says what to unmask"):
        DecausalPlugin().post_model_build(config(decausal=None), llama())


def test_ring_attention_is_refused(llama):
    with pytest.raises(decausal.UnsupportedModelError, match="context_parallel_size=2"):
        DecausalPlugin().post_model_build(config(context_parallel_size=2), llama())


def test_an_unquoted_pattern_is_refused_with_the_quoted_form():
    with pytest.raises(ValueError, match="in quotes"):
        DecausalBlock(unmask=9)


def test_the_key_is_where_axolotl_looks_for_it():
    assert DecausalPlugin().get_input_args() == "decausal.hosts.axolotl.DecausalArguments"
    assert DecausalArguments(decausal={"unmask": "0011", "scope": "prompt"}).decausal.scope == "prompt"
