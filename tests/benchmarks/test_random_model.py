import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig

import decausal
from random_model import SHAPES, write_model


def test_a_random_model_is_whole_and_loads_as_any_other(tmp_path):
    write_model(tmp_path, "tiny", "cpu")
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert model.model.layers[3].mlp.up_proj.weight.float().std().item() == pytest.approx(0.02, rel=0.02)
    assert torch.equal(model.model.norm.weight, torch.ones(128))
    assert decausal.audit(model).ok


def test_the_large_shape_has_as_many_weights_as_mistral_7b():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(MistralConfig(**SHAPES["7b"]))
    assert sum(weight.numel() for weight in model.parameters()) == 7_248_023_552
