import copy
import itertools
import pickle

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    BertModel,
    LlamaConfig,
    MistralConfig,
    MistralForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import decausal

IDS = torch.tensor([[5, 9, 23, 7, 41, 3], [8, 2, 60, 33, 12, 6]])
MASK = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
REAL = MASK.bool()


def logits(model, **inputs):
    with torch.no_grad():
        return model(**inputs).logits


def future_moves(model, **inputs) -> bool:
    """Whether the logits of the first token change when the last one does."""
    changed = IDS.clone()
    changed[:, -1] = 50
    return not torch.equal(
        logits(model, input_ids=IDS, **inputs)[:, 0], logits(model, input_ids=changed, **inputs)[:, 0]
    )


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
    config = MistralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=3,
        initializer_range=0.3,
    )
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


def test_autocast_changes_precision_and_nothing_else(llama):
    model = llama()
    decausal.unmask(model, "all")
    with torch.autocast("cpu", torch.bfloat16):
        assert future_moves(model)
    assert future_moves(model)


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


def test_a_layer_stays_open_until_its_last_handle_is_removed(llama):
    model = llama()
    first, second = decausal.unmask(model, "1100"), decausal.unmask(model, "0110")
    assert decausal.unmasked_layers(model) == (0, 1, 2)
    first.remove()
    assert decausal.unmasked_layers(model) == (1, 2)
    assert model.config.decausal["unmask"] == "0110"
    second.remove()
    assert decausal.unmasked_layers(model) == ()


def test_two_handles_agree_on_the_window(llama):
    model = llama()
    decausal.unmask(model, "1100")
    for pattern in ("0100", "0011"):
        with pytest.raises(ValueError, match=r"layer 0 is already unmasked with window='symmetric'"):
            decausal.unmask(model, pattern, window="full")


def test_a_with_block_removes_at_its_end(llama):
    model = llama()
    with decausal.unmask(model, "all") as handle:
        assert handle.layers == (0, 1, 2, 3)
    assert decausal.unmasked_layers(model) == ()


def test_paused_gives_the_causal_model_back(llama):
    model = llama("sdpa")
    before = logits(model, input_ids=IDS)
    handle = decausal.unmask(model, "all")
    after = logits(model, input_ids=IDS)
    with handle.paused():
        assert decausal.unmasked_layers(model) == ()
        assert torch.equal(logits(model, input_ids=IDS), before)
        with handle.paused():
            assert not future_moves(model)
        assert not future_moves(model)
    assert torch.equal(logits(model, input_ids=IDS), after)


def test_a_handle_may_be_removed_while_paused(llama):
    model = llama("sdpa")
    before = logits(model, input_ids=IDS)
    handle = decausal.unmask(model, "all")
    with handle.paused():
        handle.remove()
    assert torch.equal(logits(model, input_ids=IDS), before)
    assert all(layer.self_attn.is_causal for layer in model.model.layers)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_of_model_and_handle_is_unmasked_on_its_own(llama, duplicate):
    model = llama("sdpa")
    before = logits(model, input_ids=IDS)
    handle = decausal.unmask(model, "0011")
    after = logits(model, input_ids=IDS)
    copied, copied_handle = duplicate((model, handle))
    assert torch.equal(logits(copied, input_ids=IDS), after)
    copied_handle.remove()
    assert torch.equal(logits(copied, input_ids=IDS), before)
    assert torch.equal(logits(model, input_ids=IDS), after)


def test_a_moved_model_stays_unmasked(llama):
    model = llama()
    decausal.unmask(model, "all")
    model.to(torch.float64)
    assert future_moves(model)


def test_generation_is_refused_until_paused(llama):
    model = llama()
    expected = model.generate(IDS[:1], max_new_tokens=3, do_sample=False, pad_token_id=0)
    handle = decausal.unmask(model, "0011")
    with pytest.raises(decausal.UnsupportedModelError, match=r"KV cache.*layers 2-3.*handle\.paused"):
        model.generate(IDS[:1], max_new_tokens=3, do_sample=False, pad_token_id=0)
    with handle.paused():
        assert torch.equal(model.generate(IDS[:1], max_new_tokens=3, do_sample=False, pad_token_id=0), expected)


def test_decoding_with_a_cache_is_refused_at_the_layer_too(llama):
    model = llama()
    cache = model(IDS[:1], use_cache=True).past_key_values
    decausal.unmask(model, "0011")
    with pytest.raises(decausal.UnsupportedModelError, match="KV cache"):
        model(IDS[:1, :1], past_key_values=cache)


def test_a_causal_lm_loss_is_refused_until_paused(llama):
    model = llama()
    expected = model(IDS, labels=IDS).loss
    handle = decausal.unmask(model, "0011")
    with pytest.raises(decausal.UnsupportedModelError, match=r"labels while layers 2-3.*its own answer"):
        model(IDS, labels=IDS)
    with handle.paused():
        assert torch.equal(model(IDS, labels=IDS).loss, expected)


def test_the_pattern_is_written_into_the_configuration(llama):
    model = llama()
    decausal.unmask(model, "0011")
    assert model.config.decausal == {
        "unmask": "0011",
        "layers": [2, 3],
        "num_hidden_layers": 4,
        "model_type": "llama",
        "scope": "all",
        "window": "symmetric",
    }


def test_none_attaches_nothing(llama):
    model = llama()
    handle = decausal.unmask(model, "none")
    assert handle.layers == ()
    assert not any(module._forward_pre_hooks for module in model.modules())
    handle.remove()


def test_an_encoder_takes_none_and_refuses_every_other_pattern():
    config = BertConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, vocab_size=20)
    model = BertModel(config)
    decausal.unmask(model, "none")
    with pytest.raises(decausal.UnsupportedModelError, match=r"BertModel.*already see both sides"):
        decausal.unmask(model, "11")


def test_an_encoder_decoder_is_refused():
    config = T5Config(d_model=8, d_kv=4, num_heads=2, num_layers=2, d_ff=8, vocab_size=20)
    with pytest.raises(decausal.UnsupportedModelError, match="encoder-decoder"):
        decausal.unmask(T5ForConditionalGeneration(config), "11")


def test_a_module_without_a_transformers_model_is_refused():
    with pytest.raises(decausal.UnsupportedModelError, match="Linear holds no transformers PreTrainedModel"):
        decausal.unmask(torch.nn.Linear(2, 2), "11")


def test_a_linear_attention_layer_of_a_hybrid_is_refused_and_its_attention_layers_are_not():
    config = Qwen3NextConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=32,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        num_experts=4,
        num_experts_per_tok=2,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
    )
    model = Qwen3NextForCausalLM(config).eval()
    with pytest.raises(decausal.UnsupportedModelError, match=r"layer 2 \(model\.layers\.2.*can be unmasked: 3"):
        decausal.unmask(model, "2-3")
    assert decausal.unmask(model, "3").layers == (3,)


def test_an_attention_that_gets_no_mask_is_refused(llama):
    model = llama()
    model.config._attn_implementation = "paged|sdpa"
    with pytest.raises(decausal.UnsupportedModelError, match=r"paged\|sdpa.*no mask that can be opened"):
        decausal.unmask(model, "all")


def test_an_attention_exchanged_for_one_that_gets_no_mask_is_refused_in_the_forward(llama):
    model = llama("sdpa")
    decausal.unmask(model, "all")
    model.config._attn_implementation = "paged|sdpa"
    with pytest.raises(decausal.UnsupportedModelError, match="no mask that can be opened"):
        model(IDS)


def test_a_configuration_that_opens_every_layer_is_refused(llama):
    model = llama()
    model.config.is_causal = False
    with pytest.raises(decausal.UnsupportedModelError, match="configuration says is_causal=False"):
        decausal.unmask(model, "0011")


def test_a_layer_that_something_else_has_opened_is_refused(llama):
    model = llama()
    model.model.layers[1].self_attn.is_causal = False
    with pytest.raises(decausal.UnsupportedModelError, match=r"layer 1.*is_causal=False already"):
        decausal.unmask(model, "all")


def test_shared_layers_are_chosen_together_or_not_at_all(llama):
    model = llama()
    model.model.layers[3] = model.model.layers[1]
    with pytest.raises(decausal.UnsupportedModelError, match=r"layer 1.*same module as layer 3"):
        decausal.unmask(model, "1-1")


@pytest.mark.parametrize(("argument", "value"), [("scope", "prompt"), ("window", "half")])
def test_unknown_arguments_are_refused_with_what_there_is(llama, argument, value):
    with pytest.raises(ValueError, match=f"{argument}='{value}'"):
        decausal.unmask(llama(), "all", **{argument: value})


def test_a_refused_pattern_leaves_the_model_alone(llama):
    model = llama()
    with pytest.raises(ValueError, match="5 groups"):
        decausal.unmask(model, "00111")
    assert not any(module._forward_pre_hooks for module in model.modules())
