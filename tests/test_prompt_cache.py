"""A cache in scope "prompt": it is gone on from exactly, or refused."""

import copy

import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from transformers import DynamicCache

import decausal
from prompted import GREEDY, IDS, KERNELS

REFUSED = decausal.UnsupportedModelError


@KERNELS
def test_a_second_turn_goes_on_from_the_cache_of_the_first(prefix_lm, attn_implementation):
    model, handle = prefix_lm(attn_implementation)
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "pad_token_id": 0, "do_sample": False}
    cache = DynamicCache(config=model.config)
    first = model.generate(IDS[:, :9], past_key_values=cache, **settings)
    conversation = torch.cat([first, IDS[:, 9:]], -1)
    prompts = torch.tensor([[1] * 9 + [0] * 4 + [1] * 7])
    with pytest.raises(REFUSED, match=r"8 tokens continue a cache of 12.*handle\.prompt"):
        model.generate(conversation, past_key_values=copy.deepcopy(cache), **settings)
    with handle.prompt(prompts):
        output = model.generate(
            conversation, past_key_values=cache, output_logits=True, return_dict_in_generate=True, **settings
        )
        with torch.no_grad():
            whole = model(output.sequences).logits
    assert torch.allclose(whole[:, 19:-1], torch.stack(output.logits, 1), atol=5e-5)


def test_one_token_after_a_cache_is_not_taken_for_an_answer(prefix_lm):
    model, _ = prefix_lm()
    cache = DynamicCache()
    model(IDS[:, :8], past_key_values=cache)
    with pytest.raises(REFUSED, match="1 tokens continue a cache of 8"):
        model.generate(IDS[:, :9], past_key_values=cache, **GREEDY)


@pytest.mark.parametrize("given", [True, False])
def test_a_prompt_that_goes_on_after_a_cache_is_refused(prefix_lm, given):
    model, _ = prefix_lm()
    cache = DynamicCache() if given else None
    cache = model(IDS[:, :5], prompt_mask=torch.ones(1, 5), past_key_values=cache, use_cache=True).past_key_values
    with pytest.raises(REFUSED, match="a prompt is split: 5 tokens are in the cache"):
        model(IDS[:, 5:9], prompt_mask=torch.ones(1, 4), past_key_values=cache)


def test_a_cache_that_was_cut_within_a_prompt_is_refused(prefix_lm):
    model, _ = prefix_lm()
    cache = DynamicCache()
    model(IDS[:, :9], past_key_values=cache)
    cache.crop(-4)
    with pytest.raises(REFUSED, match="a prompt is split: 5 tokens are in the cache"):
        model(IDS[:, 5:9], prompt_mask=torch.zeros(1, 4), past_key_values=cache)


def test_a_cache_that_was_filled_while_paused_is_refused(prefix_lm):
    model, handle = prefix_lm()
    cache = DynamicCache()
    with handle.paused():
        model(IDS[:, :9], past_key_values=cache)
    with handle.prompt(torch.ones(1, 9)), pytest.raises(REFUSED, match="9 tokens in the cache were not computed"):
        model.generate(IDS[:, :10], past_key_values=cache, **GREEDY)


def test_a_cache_that_was_refused_is_refused_again(prefix_lm):
    model, handle = prefix_lm()
    cache = DynamicCache()
    with handle.paused():
        model(IDS[:, :9], past_key_values=cache)
    with handle.prompt(torch.ones(1, 9)):
        for _ in range(2):
            with pytest.raises(REFUSED, match="9 tokens in the cache were not computed"):
                model(IDS[:, 9:10], past_key_values=cache)


def test_a_cache_is_held_against_the_prompts_again_when_more_was_put_into_it(prefix_lm):
    model, handle = prefix_lm()
    cache = DynamicCache()
    with handle.prompt(torch.ones(1, 9)):
        model(IDS[:, :9], past_key_values=cache)
        model(IDS[:, 9:10], past_key_values=cache)
        model(IDS[:, 10:13], prompt_mask=torch.ones(1, 3), past_key_values=cache)
        with pytest.raises(REFUSED, match="of 3 tokens in the cache"):
            model(IDS[:, 13:14], past_key_values=cache)


def test_a_cache_that_was_filled_with_other_prompts_is_refused(prefix_lm):
    model, handle = prefix_lm()
    cache = DynamicCache()
    first = model.generate(IDS[:, :5], past_key_values=cache, **GREEDY).sequences
    conversation = torch.cat([first, IDS[:, :4]], -1)
    with handle.prompt(torch.ones(1, 15)), pytest.raises(REFUSED, match="of 5 tokens in the cache"):
        model.generate(conversation, past_key_values=cache, **GREEDY)


def test_the_keys_of_prefix_tuning_are_refused_in_generation(prefix_lm):
    model, _ = prefix_lm()
    tuned = get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    with pytest.raises(REFUSED, match=r"3 tokens in the cache were not computed by this model.*prefix tuning"):
        tuned.generate(input_ids=IDS[:, :9], **GREEDY)


def test_a_static_cache_is_refused(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(REFUSED, match="static cache"):
        model.generate(IDS[:, :9], max_new_tokens=2, pad_token_id=0, cache_implementation="static")
