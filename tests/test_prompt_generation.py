"""Scope "prompt" in generation: whatever way `generate` takes is exact, or refused."""

import copy
import inspect
import pickle
import threading

import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

import decausal
from rows import SIZES

IDS = torch.arange(16)[None] * 5 % 29 + 3
REPEATING = torch.tensor([[5, 6, 7, 8, 9, 5, 6, 7]])
SETTINGS = {
    "max_new_tokens": 6,
    "pad_token_id": 0,
    "eos_token_id": None,
    "do_sample": False,
    "output_logits": True,
    "return_dict_in_generate": True,
}
REFUSED = decausal.UnsupportedModelError


def error(model, ids, **settings):
    """How far decoded steps are from one forward with the prefix mask."""
    output = model.generate(ids, **{**SETTINGS, **settings})
    length, total = ids.shape[1], output.sequences.shape[1]
    with torch.no_grad():
        whole = model(output.sequences, prompt_mask=torch.arange(total)[None] < length, use_cache=False).logits
    return float((whole[:, length - 1 : -1] - torch.stack(output.logits, 1)).abs().max())


# With one new token or two, all drafted tokens are in the first forward, beside the prompt.
@pytest.mark.parametrize("num_new", [1, 2, 6])
def test_drafted_tokens_are_no_prompt(prefix_lm, num_new):
    model, _ = prefix_lm()
    assert error(model, REPEATING, prompt_lookup_num_tokens=3, max_new_tokens=num_new) < 5e-5


def test_an_assistant_changes_nothing(prefix_lm):
    model, _ = prefix_lm()
    assistant = LlamaForCausalLM(LlamaConfig(**{**SIZES, "num_hidden_layers": 1})).eval()
    assert error(model, REPEATING, assistant_model=assistant) < 5e-5


@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_a_prompt_in_chunks_is_refused(prefix_lm, chunk):
    model, handle = prefix_lm()
    with pytest.raises(REFUSED, match=rf"ends at token {chunk} of 9, in the middle of a prompt.*prefill_chunk_size"):
        model.generate(IDS[:, :9], prefill_chunk_size=chunk, **SETTINGS)
    with handle.prompt(torch.ones(1, 9)), pytest.raises(REFUSED, match=rf"ends at token {chunk} of 9"):
        model.generate(IDS[:, :9], prefill_chunk_size=chunk, **SETTINGS)


def test_a_chunk_that_holds_the_prompt_is_exact(prefix_lm):
    model, _ = prefix_lm()
    assert error(model, IDS[:, :9], prefill_chunk_size=9) < 5e-5


@pytest.mark.parametrize("settings", [{"use_cache": False}, {"cache_implementation": "dynamic"}])
def test_with_and_without_a_cache_the_prompt_is_what_generate_was_given(prefix_lm, settings):
    model, _ = prefix_lm()
    assert error(model, IDS[:, :9], **settings) < 5e-5
    assert error(model, IDS[:, :1], **settings) < 5e-5


def test_embeddings_are_as_good_as_ids(prefix_lm):
    model, _ = prefix_lm()
    embeddings = model.get_input_embeddings()(IDS[:, :9]).detach()
    told, seen = (
        model.generate(**given, **SETTINGS).logits for given in ({"inputs": IDS[:, :9]}, {"inputs_embeds": embeddings})
    )
    assert torch.equal(torch.stack(told), torch.stack(seen))


def test_one_token_after_a_cache_is_not_taken_for_an_answer(prefix_lm):
    model, _ = prefix_lm()
    cache = DynamicCache()
    model(IDS[:, :8], past_key_values=cache)
    with pytest.raises(REFUSED, match="1 tokens continue a cache of 8"):
        model.generate(IDS[:, :9], past_key_values=cache, **SETTINGS)


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
        model.generate(IDS[:, :10], past_key_values=cache, **SETTINGS)


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
    first = model.generate(IDS[:, :5], past_key_values=cache, **SETTINGS).sequences
    conversation = torch.cat([first, IDS[:, :4]], -1)
    with handle.prompt(torch.ones(1, 15)), pytest.raises(REFUSED, match="of 5 tokens in the cache"):
        model.generate(conversation, past_key_values=cache, **SETTINGS)


def test_guidance_is_refused(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(REFUSED, match=r"guidance_scale=2\.0 decodes a second text"):
        model.generate(IDS[:, :9], guidance_scale=2.0, **SETTINGS)


def test_an_inner_block_gives_the_outer_prompt_back(prefix_lm):
    model, handle = prefix_lm()
    turns = torch.tensor([[1] * 4 + [0] * 3 + [1] * 5])
    with torch.no_grad(), handle.prompt(turns):
        before = model(IDS[:, :12], use_cache=True).logits
        with handle.prompt(torch.ones(1, 12)):
            assert not torch.allclose(model(IDS[:, :12], use_cache=True).logits, before)
        assert torch.equal(model(IDS[:, :12], use_cache=True).logits, before)


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")  # PEFT 0.21, of every such model
def test_virtual_tokens_in_front_need_to_be_told(prefix_lm):
    model, handle = prefix_lm()
    tuned = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    with pytest.raises(REFUSED, match="first forward has 12 embeddings"):
        tuned.generate(input_ids=IDS[:, :9], **SETTINGS)
    with handle.prompt(torch.ones(1, 9)), pytest.raises(REFUSED, match="first forward has 12 embeddings"):
        tuned.generate(input_ids=IDS[:, :9], **SETTINGS)
    with handle.prompt(torch.ones(1, 12)):
        assert tuned.generate(input_ids=IDS[:, :9], **SETTINGS).sequences.shape == (1, 15)


def test_the_keys_of_prefix_tuning_are_refused_in_generation(prefix_lm):
    model, _ = prefix_lm()
    tuned = get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    with pytest.raises(REFUSED, match=r"3 tokens in the cache were not computed by this model.*prefix tuning"):
        tuned.generate(input_ids=IDS[:, :9], **SETTINGS)


def test_threads_have_prompts_of_their_own(prefix_lm):
    model, _ = prefix_lm()
    lengths = (3, 6, 9, 12)
    expected = [torch.stack(model.generate(IDS[:, :n], **SETTINGS).logits) for n in lengths]
    found = {}

    def generate(n):
        found[n] = [torch.stack(model.generate(IDS[:, :n], **SETTINGS).logits) for _ in range(6)]

    threads = [threading.Thread(target=generate, args=(n,)) for n in lengths]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for n, logits in zip(lengths, expected, strict=True):
        assert all(torch.allclose(one, logits, atol=5e-5) for one in found[n])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_generates_on_its_own(prefix_lm, copied):
    model, handle = prefix_lm()
    other = copied(model)
    handle.remove()
    assert error(other, REPEATING, prompt_lookup_num_tokens=3, max_new_tokens=2) < 5e-5


def test_generate_is_put_back(prefix_lm, llama):
    model, handle = prefix_lm()
    assert inspect.signature(model.generate) == inspect.signature(LlamaForCausalLM.generate)
    assert model.generate.__func__ is LlamaForCausalLM.generate
    with handle.paused():
        paused = model.generate(IDS[:, :9], **SETTINGS).sequences
    handle.remove()
    assert "generate" not in model.__dict__
    assert torch.equal(paused, llama("sdpa").generate(IDS[:, :9], **SETTINGS).sequences)


def test_a_generate_that_was_replaced_is_refused(llama):
    model = llama()
    model.generate = lambda *_: None
    with pytest.raises(REFUSED, match="its generate has been replaced"):
        decausal.unmask(model, "all", scope="prompt")
