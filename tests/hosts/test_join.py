"""Joining a host's run: what proves it, what is refused, what is warned of."""

import sys
from dataclasses import replace

import pytest
from transformers import LlamaForTokenClassification

import decausal
from decausal.hosts._join import Host, join

HOST = Host("Transformers", "transformers", tested="5.23.0", oldest="5.6", below="6")


@pytest.fixture
def classifier(llama):
    return LlamaForTokenClassification(llama().config)


def test_one_line_says_what_was_joined(classifier, capsys):
    join(classifier, "0011", "all", HOST)
    assert decausal.unmasked_layers(classifier) == (2, 3)
    assert capsys.readouterr().out == (
        'decausal: joined Transformers: LlamaForTokenClassification, unmask="0011", scope="all": layers 2-3 of 4 are '
        "bidirectional\n"
    )


def test_the_line_names_the_process_where_there_are_several(classifier, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    join(classifier, "none", "all", HOST)
    assert "decausal: rank 3: joined Transformers" in capsys.readouterr().out


def test_a_model_that_writes_text_is_joined_for_its_prompts_only(llama):
    model = llama()
    with pytest.raises(decausal.UnsupportedModelError, match=r"read the answer to its right\. Choose scope prompt"):
        join(model, "0011", "all", HOST)
    assert decausal.unmasked_layers(model) == ()
    assert join(model, "0011", "prompt", HOST).layers == (2, 3)


def test_a_model_that_classifies_has_no_prompt(classifier):
    with pytest.raises(decausal.UnsupportedModelError, match='scope="prompt" with LlamaForTokenClassification'):
        join(classifier, "0011", "prompt", HOST)
    assert decausal.unmasked_layers(classifier) == ()


@pytest.mark.parametrize("module", ["unsloth", "ring_flash_attn", "sageattention", "megatron.core", "torchtune"])
def test_code_that_replaces_attention_is_refused(classifier, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, sys)
    with pytest.raises(decausal.UnsupportedModelError, match="(?i)Transformers: .*" + module.split(".")[0][:4]):
        join(classifier, "0011", "all", HOST)


def test_a_host_outside_its_range_is_warned_of_with_the_tested_version(classifier):
    with pytest.warns(UserWarning, match=r"tested with Transformers 4\.0.*>=3\.0,<5\.0.*decausal audit"):
        join(classifier, "0011", "all", replace(HOST, tested="4.0", oldest="3.0", below="5.0"))
