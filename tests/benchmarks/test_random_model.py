import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig

import decausal
import small_tokenizers
from decausal._tokenizer import load_tokenizer
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


def test_a_tokenizer_is_taken_along_and_fits_into_the_vocabulary(tmp_path):
    tokenizer = small_tokenizers.smollm2()
    tokenizer.add_tokens([f"new{i}" for i in range(200)])
    tokenizer.save_pretrained(tmp_path / "real")
    write_model(tmp_path / "tiny", "tiny", "cpu", tmp_path / "real")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny")
    assert len(load_tokenizer(str(tmp_path / "tiny"))) == len(tokenizer) == 573
    assert model.get_input_embeddings().num_embeddings == 573
