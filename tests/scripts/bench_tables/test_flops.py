import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import LlamaConfig, LlamaForTokenClassification, MixtralConfig, MixtralForCausalLM

import decausal
from bench_tables.flops import count_flops, count_weights, find_peak
from random_model import SHAPES

SIZES = {"vocab_size": 32, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
LINEAR = 2 * (4 * 8 * 8 + 3 * 8 * 16)  # of both layers: q, k, v, o; gate, up, down
HEAD = 8 * 3


def classifier() -> LlamaForTokenClassification:
    return LlamaForTokenClassification(LlamaConfig(**SIZES, num_labels=3))


def test_weights_are_those_of_linear_layers_and_a_copied_head_counts_once():
    assert count_weights(classifier()) == {"frozen": 0, "trained": LINEAR + HEAD}
    lora = LoraConfig(task_type=TaskType.TOKEN_CLS, r=2, target_modules=["q_proj"])
    assert count_weights(get_peft_model(classifier(), lora)) == {"frozen": LINEAR, "trained": HEAD + 2 * 2 * (8 + 8)}


def test_a_frozen_weight_takes_four_flop_and_a_trained_one_six():
    model = classifier()
    model.score.requires_grad_(False)
    found = count_flops(model, [5], num_unmasked=0)
    assert (found["frozen weights"], found["trained weights"]) == (4 * HEAD, 6 * LINEAR)


@pytest.mark.parametrize(
    ("num_unmasked", "keys"),
    [(2, 2 * (3 * 3 + 5 * 5) / 8), (0, 2 * (6 + 15) / 8), (1, (34 + 21) / 8)],
)
def test_attention_takes_flop_for_each_key_that_a_sub_word_sees(num_unmasked, keys):
    assert count_flops(classifier(), [3, 5], num_unmasked)["attention"] == pytest.approx(12 * 8 * keys)


def test_a_7b_model_takes_four_flop_for_each_of_its_weights():
    with torch.device("meta"):
        model = LlamaForTokenClassification(LlamaConfig(**SHAPES["7b"], num_labels=9)).requires_grad_(False)
    assert count_flops(model, [30], num_unmasked=32)["frozen weights"] == pytest.approx(4 * 6.98e9, rel=0.001)


def test_a_model_of_experts_is_refused():
    with torch.device("meta"):
        model = MixtralForCausalLM(MixtralConfig(**SIZES, num_key_value_heads=2, num_local_experts=2))
    with pytest.raises(decausal.UnsupportedModelError, match=r"FLOP are counted of linear layers, and .*mlp"):
        count_weights(model)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("Tesla T4", None),
    ],
)
def test_the_peak_is_that_of_the_very_card(name, peak):
    assert find_peak(name) == peak
