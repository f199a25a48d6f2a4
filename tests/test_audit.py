import pytest
import torch
from transformers import AttentionInterface, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

import decausal
from prompted import KERNELS


def sights(report) -> list[bool]:
    return [layer.sees_future for layer in report.layers]


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["", "-mistral", "-qwen2", "-phi3"])
def test_real_models_pass_untouched_and_unmasked(stories, name, attn_implementation):
    model = AutoModelForCausalLM.from_pretrained(stories + name, attn_implementation=attn_implementation)
    assert decausal.audit(model).ok
    decausal.unmask(model, "0011")
    report = decausal.audit(model)
    assert report.ok
    assert sights(report) == [False, False, False, True, True]
    assert not any(layer.sees_padding or layer.sees_neighbour for layer in report.layers)


def test_the_report_says_what_it_found(llama):
    model = llama()
    decausal.unmask(model, "0011")
    report = decausal.audit(model)
    assert str(report) == "LlamaForCausalLM: unmask=0011 of 4 layers (unmasked: 2-3): audit passed"
    assert report.layers[2].kind == "LlamaAttention"
    assert [layer.layer for layer in report.layers] == [0, 1, 2, 3]


def test_another_pattern_than_the_models_fails_layer_by_layer(llama):
    model = llama()
    decausal.unmask(model, "0011")
    report = decausal.audit(model, "0110")
    assert not report.ok
    assert report.layers[1].problem == "is causal, the pattern says unmasked"
    assert report.layers[3].problem == "sees the future, the pattern says causal"
    assert "audit failed\n  layer 1 is causal" in str(report)


def test_a_layer_whose_is_causal_alone_was_set_is_caught(llama):
    model = llama("sdpa")
    model.model.layers[1].self_attn.is_causal = False
    report = decausal.audit(model)
    assert report.layers[1].problem == "sees the future, the pattern says causal"
    assert decausal.audit(model, "1-1").layers[1].problem == "is causal for some batches (it depends on their padding)"


def test_a_mask_zeroed_with_its_padding_is_caught(llama):
    model = llama()

    def zero(module, args, kwargs):
        return args, {**kwargs, "attention_mask": torch.zeros_like(kwargs["attention_mask"])}

    model.model.layers[2].register_forward_pre_hook(zero, with_kwargs=True)
    layer = decausal.audit(model, "2-2").layers[2]
    assert layer.sees_future
    assert layer.sees_padding
    assert layer.problem == "sees padding; sees the packed neighbour to its right"


def test_a_removed_handle_is_caught(llama):
    model = llama()
    handle = decausal.unmask(model, "0011")
    handle.remove()
    assert sights(decausal.audit(model)) == [False] * 4
    assert not decausal.audit(model, "0011").ok


def test_a_hook_that_somebody_took_away_is_caught(llama):
    model = llama()
    decausal.unmask(model, "0011")
    model.model.layers[3]._forward_pre_hooks.clear()
    report = decausal.audit(model)
    assert [layer.problem for layer in report.layers] == ["", "", "", "is causal, the pattern says unmasked"]


def test_an_attention_function_that_ignores_masks_is_caught(llama):
    def deaf(module, query, key, value, attention_mask, **kwargs):
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        output = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return output.transpose(1, 2).contiguous(), None

    AttentionInterface.register("deaf", deaf)
    AttentionMaskInterface.register("deaf", sdpa_mask)
    model = llama("deaf")
    decausal.unmask(model, "0011")
    report = decausal.audit(model)
    assert not report.ok
    assert report.layers[2].problem == (
        "is causal, the pattern says unmasked; sees padding; sees the packed neighbour to its left"
    )


def test_rounding_that_depends_on_the_whole_batch_does_not_confuse_the_audit(llama, tmp_path):
    llama().save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.5)
    )
    decausal.unmask(model, "0011")
    assert decausal.audit(model).ok
    assert model.model.layers[0].mlp.up_proj.state.threshold == 0.5


def test_the_audit_leaves_gradients_through_four_bits_as_they_were(llama, tmp_path, monkeypatch):
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    llama().save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    decausal.unmask(model, "0011")
    inputs = torch.randn(1, 8, model.config.hidden_size, requires_grad=True)

    def gradient() -> torch.Tensor:
        return torch.autograd.grad(model.model(inputs_embeds=inputs).last_hidden_state.square().sum(), inputs)[0]

    model.train()
    expected = gradient()
    assert decausal.audit(model).ok
    assert torch.equal(gradient(), expected)
    assert model.model.layers[0].mlp.up_proj.support_avx512bf16_for_cpu


def test_the_audit_leaves_the_model_as_it_was(llama):
    model = llama().train()
    model.model.layers[0].eval()
    decausal.unmask(model, "0011")
    hooks = [len(module._forward_pre_hooks) for module in model.modules()]
    modes = [module.training for module in model.modules()]
    decausal.audit(model)
    assert [len(module._forward_pre_hooks) for module in model.modules()] == hooks
    assert [module.training for module in model.modules()] == modes


def test_dropout_does_not_confuse_the_audit(llama):
    model = llama(attention_dropout=0.5).train()
    decausal.unmask(model, "0011")
    assert decausal.audit(model).ok


@KERNELS
@pytest.mark.parametrize("name", ["", "-mistral", "-qwen2", "-phi3"])
def test_prompts_of_real_models_pass(stories, name, attn_implementation):
    model = AutoModelForCausalLM.from_pretrained(stories + name, attn_implementation=attn_implementation)
    decausal.unmask(model, "00111", scope="prompt")
    report = decausal.audit(model)
    assert report.ok, str(report)
    assert [layer.sees_future for layer in report.layers] == [False, False, True, True, True]
    assert [layer.sees_answer for layer in report.layers] == [False] * 5


def test_an_answer_that_leaks_is_caught(prefix_lm):
    model, _ = prefix_lm()
    leak = lambda layer, args, kwargs: (args, {**kwargs, "attention_mask": None, "is_causal": False})  # noqa: E731
    model.model.layers[2].register_forward_pre_hook(leak, with_kwargs=True)
    model.model.layers[2].self_attn.is_causal = False
    assert "sees an answer from before it" in decausal.audit(model).layers[2].problem
