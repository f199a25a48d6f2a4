"""What cannot be exact, and is refused."""

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    LlamaModel,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.models.llama.modeling_llama import LlamaPreTrainedModel

import decausal
from rows import IDS, SIZES


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


def test_a_module_of_several_models_is_refused(llama):
    with pytest.raises(decausal.UnsupportedModelError, match="ModuleDict holds several transformers models"):
        decausal.unmask(torch.nn.ModuleDict({"teacher": llama(), "student": llama()}), "0011")


def test_a_linear_attention_layer_of_a_hybrid_is_refused_and_its_attention_layers_are_not():
    config = Qwen3NextConfig(
        **SIZES,
        head_dim=8,
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


def test_layers_that_share_an_attention_module_are_refused(llama):
    model = llama()
    model.model.layers[3].self_attn = model.model.layers[1].self_attn
    with pytest.raises(decausal.UnsupportedModelError, match=r"layer 1.*shares its attention module with layer 3"):
        decausal.unmask(model, "all")


@pytest.mark.parametrize(("argument", "value"), [("scope", "answer"), ("window", "half")])
def test_unknown_arguments_are_refused_with_what_there_is(llama, argument, value):
    with pytest.raises(ValueError, match=f"{argument}='{value}'"):
        decausal.unmask(llama(), "all", **{argument: value})


def test_a_refused_pattern_leaves_the_model_alone(llama):
    model = llama()
    with pytest.raises(ValueError, match="5 groups"):
        decausal.unmask(model, "00111")
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_an_attention_that_one_instance_knows_gets_no_mask_and_is_refused(llama, monkeypatch):
    model = llama()
    monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS, "mine", sdpa_mask)
    model.config._attn_implementation = "mine"
    with pytest.raises(decausal.UnsupportedModelError, match="no mask that can be opened"):
        decausal.unmask(model, "all")


@pytest.mark.parametrize("attn_implementation", ["flex_attention", "flash_attention_2"])
def test_a_window_is_lifted_only_where_the_mask_holds_it(llama, attn_implementation):
    model = llama()
    handle = decausal.unmask(model, "all", window="full")
    model.config._attn_implementation = attn_implementation
    with pytest.raises(decausal.UnsupportedModelError, match=r'window="full" is not available'):
        model(IDS)
    handle.remove()
    with pytest.raises(decausal.UnsupportedModelError, match=r'window="full" is not available'):
        decausal.unmask(model, "all", window="full")


def test_a_mask_of_whole_numbers_is_refused(llama):
    model = llama()
    decausal.unmask(model, "all")
    with pytest.raises(decausal.UnsupportedModelError, match=r"attention mask of torch\.int64; give bool"):
        model(IDS, attention_mask=torch.ones(2, 1, 6, 6, dtype=torch.long).tril())


class Writer(LlamaPreTrainedModel):
    """A causal LM of one's own, with a vocabulary head and a loss, and without `generate`."""

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids, labels=None):
        logits = self.lm_head(self.model(input_ids).last_hidden_state)
        return self.loss_function(logits, labels, self.config.vocab_size)


def test_a_causal_lm_that_cannot_generate_is_one_all_the_same(llama):
    model = Writer(llama().config)
    decausal.unmask(model, "all")
    with pytest.raises(decausal.UnsupportedModelError, match="Writer was given labels"):
        model(IDS, labels=IDS)
