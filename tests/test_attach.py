"""What unmasked layers compute, under every attention, mask and wrapper."""

import itertools

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoModelForTokenClassification,
    LlamaConfig,
    MistralConfig,
    MistralForCausalLM,
    RobertaConfig,
    XGLMConfig,
    XGLMForCausalLM,
)

import decausal
from rows import IDS, MASK, REAL, SIZES, future_moves, logits


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("mask", [None, torch.ones_like(MASK), MASK])
def test_an_unmasked_decoder_of_an_encoder_architecture_is_the_encoder(attn_implementation, mask):
    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "initializer_range": 0.3,
    }
    configs = [RobertaConfig(**sizes, num_attention_heads=4, is_decoder=is_decoder) for is_decoder in (False, True)]
    encoder, decoder = (
        AutoModelForTokenClassification.from_config(config, attn_implementation=attn_implementation).eval()
        for config in configs
    )
    decoder.load_state_dict(encoder.state_dict())
    real = REAL if mask is MASK else torch.ones_like(REAL)
    inputs = {"input_ids": IDS.masked_fill(~real, encoder.config.pad_token_id), "attention_mask": mask}
    assert (logits(decoder, **inputs) - logits(encoder, **inputs))[real].abs().max() > 0.1
    decausal.unmask(decoder, "all")
    torch.testing.assert_close(logits(decoder, **inputs)[real], logits(encoder, **inputs)[real], rtol=0, atol=1e-6)
    assert decausal.audit(decoder).ok


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize(("name", "config_class"), [("llama", LlamaConfig), ("mistral", MistralConfig)])
def test_all_sixteen_configurations_of_the_paper_are_reproduced(shared, name, config_class, attn_implementation):
    tensors = load_file(shared / "fixtures" / f"paper_logits_{name}.safetensors")
    config = config_class(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_labels=5,
    )
    model = AutoModelForTokenClassification.from_config(config, attn_implementation=attn_implementation).eval()
    model.load_state_dict({key[7:]: value for key, value in tensors.items() if key.startswith("weight.")})
    inputs = {"input_ids": tensors["input_ids"], "attention_mask": tensors["attention_mask"]}
    real = tensors["attention_mask"].bool()
    for bits in map("".join, itertools.product("01", repeat=4)):
        with decausal.unmask(model, bits):
            difference = (logits(model, **inputs) - tensors[f"logits.{bits}"])[real]
        assert difference.abs().max() < 2e-6, bits


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_only_the_chosen_layers_are_unmasked_and_said_to_be(llama, attn_implementation):
    model = llama(attn_implementation)
    assert decausal.unmasked_layers(model) == ()
    handle = decausal.unmask(model, "0011")
    assert handle.layers == decausal.unmasked_layers(model) == (2, 3)
    assert future_moves(model)
    assert [layer.self_attn.is_causal for layer in model.model.layers] == [True, True, False, False]


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_a_removed_handle_leaves_the_model_bit_for_bit_as_it_was(llama, attn_implementation):
    model = llama(attn_implementation)
    before, state = logits(model, input_ids=IDS, attention_mask=MASK), dict(vars(model.config))
    handle = decausal.unmask(model, "all")
    handle.remove()
    handle.remove()
    assert torch.equal(logits(model, input_ids=IDS, attention_mask=MASK), before)
    assert vars(model.config) == state
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    assert all(layer.self_attn.is_causal for layer in model.model.layers)


# transformers 5.23 builds its block masks with an argument that torch 2.13 calls deprecated, and compiles for the CPU.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("inputs", [{}, {"attention_mask": MASK}], ids=["unpadded", "padded"])
def test_sdpa_and_flex_agree_with_eager(llama, inputs):
    outputs = []
    for attn_implementation in ("eager", "sdpa", "flex_attention"):
        model = llama(attn_implementation)
        decausal.unmask(model, "1010")
        outputs.append(logits(model, input_ids=IDS.repeat(1, 3), **{k: v.repeat(1, 3) for k, v in inputs.items()}))
    for output in outputs[1:]:
        real = MASK.repeat(1, 3).bool() if inputs else torch.ones(2, 18, dtype=torch.bool)
        torch.testing.assert_close(output[real], outputs[0][real], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_padding_is_never_seen(llama, attn_implementation):
    model = llama(attn_implementation)
    decausal.unmask(model, "all")
    changed = IDS.masked_fill(~REAL, 50)
    assert torch.equal(
        logits(model, input_ids=IDS, attention_mask=MASK)[REAL],
        logits(model, input_ids=changed, attention_mask=MASK)[REAL],
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_packed_documents_are_as_if_alone(llama, attn_implementation, training):
    model = llama(attn_implementation).train(training)
    decausal.unmask(model, "0110")
    packed = logits(model, input_ids=IDS.reshape(1, 12), position_ids=torch.arange(6).repeat(2)[None])
    torch.testing.assert_close(packed.reshape(2, 6, -1), logits(model, input_ids=IDS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_a_sliding_window_reaches_as_far_to_the_right_and_full_lifts_it(attn_implementation):
    config = MistralConfig(**SIZES | {"num_hidden_layers": 1}, sliding_window=3, initializer_range=0.3)
    model = MistralForCausalLM._from_config(config, attn_implementation=attn_implementation).eval()
    ids, changed = IDS[:1].clone(), IDS[:1].clone()
    changed[0, 3] = 50

    def moved() -> list[bool]:
        difference = logits(model, input_ids=ids) - logits(model, input_ids=changed)
        return (difference[0].abs().amax(-1) > 0).tolist()

    assert moved() == [False, False, False, True, True, True]
    with decausal.unmask(model, "all"):
        assert moved() == [False, True, True, True, True, True]
    with decausal.unmask(model, "all", window="full"):
        assert moved() == [True] * 6
    assert moved() == [False, False, False, True, True, True]


def test_a_ready_four_dimensional_mask_is_opened(llama):
    model = llama("sdpa")
    decausal.unmask(model, "all")
    ready = torch.ones(6, 6, dtype=torch.bool).tril() & REAL[1]
    expected = logits(model, input_ids=IDS[1:], attention_mask=MASK[1:])
    torch.testing.assert_close(
        logits(model, input_ids=IDS[1:], attention_mask=ready[None, None])[:, :4], expected[:, :4]
    )


def test_a_ready_mask_that_is_written_into_between_forwards_is_opened_anew(llama):
    model = llama("sdpa")
    decausal.unmask(model, "all")
    ready = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    first = logits(model, input_ids=IDS, attention_mask=ready)
    ready[..., 4:] = False
    assert not torch.equal(logits(model, input_ids=IDS, attention_mask=ready)[:, :4], first[:, :4])


def test_embeddings_may_be_given_instead_of_ids(llama):
    model = llama()
    decausal.unmask(model, "all")
    embeddings = model.get_input_embeddings()(IDS)
    assert torch.equal(
        logits(model, inputs_embeds=embeddings, attention_mask=MASK),
        logits(model, input_ids=IDS, attention_mask=MASK),
    )


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("inputs", [{}, {"attention_mask": MASK}], ids=["unpadded", "padded"])
def test_gradients_are_the_same_with_checkpointing(llama, attn_implementation, use_reentrant, inputs):
    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        model = llama(attn_implementation).train()
        decausal.unmask(model, "0111")
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
            model.enable_input_require_grads()
        model(input_ids=IDS, **inputs).logits[REAL].square().mean().backward()
        return [parameter.grad for parameter in model.parameters()]

    for plain, checkpointed in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(plain, checkpointed)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_packed_documents_stay_apart_in_a_compiled_model_whose_layers_get_no_positions():
    config = XGLMConfig(vocab_size=64, d_model=32, ffn_dim=64, num_layers=2, attention_heads=4, init_std=0.3)
    model = XGLMForCausalLM(config).eval()
    decausal.unmask(model, "all")
    packed = {"input_ids": IDS.reshape(1, 12), "position_ids": torch.arange(6).repeat(2)[None]}
    packed["attention_mask"] = torch.ones(1, 12, dtype=torch.long)
    compiled = torch.compile(model, backend="eager")
    alone = logits(model, input_ids=IDS)
    torch.testing.assert_close(logits(compiled, **packed).reshape(2, 6, -1), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("inputs", [{}, {"attention_mask": MASK}], ids=["unpadded", "padded"])
@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_model_compiles_without_a_graph_break(llama, attn_implementation, inputs):
    model = llama(attn_implementation)
    decausal.unmask(model, "0110")
    expected = logits(model, input_ids=IDS, **inputs)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    real = REAL if inputs else torch.ones_like(REAL)
    torch.testing.assert_close(logits(compiled, input_ids=IDS, **inputs)[real], expected[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_autocast_changes_precision_and_nothing_else(llama, attn_implementation):
    model = llama(attn_implementation)
    decausal.unmask(model, "0011")
    expected = logits(model, input_ids=IDS, attention_mask=MASK)
    with torch.autocast("cpu", torch.bfloat16):
        found = logits(model, input_ids=IDS, attention_mask=MASK)
        report = decausal.audit(model)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found[REAL].float(), expected[REAL], atol=0.2, rtol=0.1)
    assert report.ok


@pytest.mark.parametrize("adapter_first", [True, False])
def test_peft_before_and_after(llama, adapter_first):
    model = llama()
    before = logits(model, input_ids=IDS)
    lora = LoraConfig(target_modules=["q_proj", "v_proj"], r=2)
    if adapter_first:
        model = get_peft_model(model, lora)
        handle = decausal.unmask(model, "0011")
    else:
        handle = decausal.unmask(model, "0011")
        model = get_peft_model(model, lora)
    assert decausal.unmasked_layers(model) == (2, 3)
    assert future_moves(model)
    handle.remove()
    assert torch.equal(logits(model, input_ids=IDS), before)


def test_a_moved_model_stays_unmasked(llama):
    model = llama()
    decausal.unmask(model, "all")
    model.to(torch.float64)
    assert future_moves(model)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_positions_that_are_written_into_between_forwards_are_read_anew(llama, attn_implementation):
    model = llama(attn_implementation)
    decausal.unmask(model, "all")
    ids, positions = IDS.reshape(1, 12), torch.arange(12)[None]
    inputs = {"attention_mask": torch.ones(1, 12, dtype=torch.long), "position_ids": positions}
    logits(model, input_ids=ids, **inputs)
    positions.numpy()[:] = torch.arange(6).repeat(2)[None].numpy()
    packed = logits(model, input_ids=ids, **inputs)
    torch.testing.assert_close(packed.reshape(2, 6, -1), logits(model, input_ids=IDS), atol=1e-5, rtol=1e-5)
