"""`generate` in scope "prompt": whatever way it takes is exact, or refused."""

import copy
import inspect
import pickle
import threading

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import decausal
from prompted import GREEDY, IDS, KERNELS
from rows import SIZES

REPEATING = torch.tensor([[5, 6, 7, 8, 9, 5, 6, 7]])
DRAFTED = {"prompt_lookup_num_tokens": 3, "eos_token_id": 63}  # transformers 5.6 looks for an end among drafted tokens
REFUSED = decausal.UnsupportedModelError


def error(model, ids, **settings):
    """How far decoded steps are from one forward with the prefix mask."""
    output = model.generate(ids, **{**GREEDY, **settings})
    length, total = ids.shape[1], output.sequences.shape[1]
    with torch.no_grad():
        whole = model(output.sequences, prompt_mask=torch.arange(total)[None] < length, use_cache=False).logits
    return float((whole[:, length - 1 : -1] - torch.stack(output.logits, 1)).abs().max())


@KERNELS
@pytest.mark.parametrize("settings", [{}, {"do_sample": True}, {"num_beams": 3, "num_return_sequences": 3}])
def test_every_decoded_step_has_the_logits_of_one_forward_with_the_prefix_mask(
    prefix_lm, attn_implementation, settings
):
    model, _ = prefix_lm(attn_implementation)
    ids = torch.cat([IDS[:, :9], IDS.flip(-1)[:, :9]])
    real = torch.ones_like(ids)
    real[1, :4] = 0
    output = model.generate(
        ids,
        attention_mask=real,
        max_new_tokens=8,
        min_new_tokens=8,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
        **settings,
    )
    rows = len(output.sequences) // len(ids)
    real = torch.cat([real.repeat_interleave(rows, 0), torch.ones(len(output.sequences), 8, dtype=torch.long)], -1)
    with torch.no_grad():
        whole = model(
            output.sequences,
            attention_mask=real,
            position_ids=(real.cumsum(-1) - 1).clamp(min=0),
            prompt_mask=(torch.arange(17) < 9).expand(len(real), -1),
        ).logits
    # Beams change places from step to step: where they end is known, and the tokens chosen there.
    steps = output.logits if rows == 1 else output.logits[:1]
    for step, logits in enumerate(steps):
        assert torch.allclose(whole[:, 8 + step], logits, atol=5e-5)


def test_beams_find_what_they_find_without_a_cache(prefix_lm):
    model, handle = prefix_lm()
    settings = {"num_beams": 3, "max_new_tokens": 8, "min_new_tokens": 8, "pad_token_id": 0}
    cached = model.generate(IDS[:, :9], **settings)
    with handle.prompt(torch.ones(1, 9)):
        assert torch.equal(model.generate(IDS[:, :9], use_cache=False, **settings), cached)


# With one new token or two, all drafted tokens are in the first forward, beside the prompt.
@pytest.mark.parametrize("num_new", [1, 2, 6])
def test_drafted_tokens_are_no_prompt(prefix_lm, num_new):
    model, _ = prefix_lm()
    assert error(model, REPEATING, **DRAFTED, max_new_tokens=num_new) < 5e-5


def test_an_assistant_changes_nothing(prefix_lm):
    model, _ = prefix_lm()
    assistant = LlamaForCausalLM(LlamaConfig(**{**SIZES, "num_hidden_layers": 1})).eval()
    assert error(model, REPEATING, assistant_model=assistant) < 5e-5


@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_a_prompt_in_chunks_is_refused(prefix_lm, chunk):
    model, handle = prefix_lm()
    with pytest.raises(REFUSED, match=rf"ends at token {chunk} of 9, in the middle of a prompt.*prefill_chunk_size"):
        model.generate(IDS[:, :9], prefill_chunk_size=chunk, **GREEDY)
    with handle.prompt(torch.ones(1, 9)), pytest.raises(REFUSED, match=rf"ends at token {chunk} of 9"):
        model.generate(IDS[:, :9], prefill_chunk_size=chunk, **GREEDY)


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
        model.generate(**given, **GREEDY).logits for given in ({"inputs": IDS[:, :9]}, {"inputs_embeds": embeddings})
    )
    assert torch.equal(torch.stack(told), torch.stack(seen))


def test_guidance_is_refused(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(REFUSED, match=r"guidance_scale=2\.0 decodes a second text"):
        model.generate(IDS[:, :9], guidance_scale=2.0, **GREEDY)


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
        tuned.generate(input_ids=IDS[:, :9], **GREEDY)
    with handle.prompt(torch.ones(1, 9)), pytest.raises(REFUSED, match="first forward has 12 embeddings"):
        tuned.generate(input_ids=IDS[:, :9], **GREEDY)
    with handle.prompt(torch.ones(1, 12)):
        assert tuned.generate(input_ids=IDS[:, :9], **GREEDY).sequences.shape == (1, 15)


def test_threads_have_prompts_of_their_own(prefix_lm):
    model, _ = prefix_lm()
    lengths = (3, 6, 9, 12)
    expected = [torch.stack(model.generate(IDS[:, :n], **GREEDY).logits) for n in lengths]
    found = {}

    def generate(n):
        found[n] = [torch.stack(model.generate(IDS[:, :n], **GREEDY).logits) for _ in range(6)]

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
    assert error(other, REPEATING, **DRAFTED, max_new_tokens=2) < 5e-5


def test_a_loaded_model_generates_as_before(stories, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(stories).eval()
    decausal.unmask(model, "00111", scope="prompt")
    settings = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(IDS, **settings)
    model.save_pretrained(tmp_path)
    decausal._checkpoint.load_tokenizer(stories).save_pretrained(tmp_path)
    loaded, _ = decausal.load(tmp_path)
    assert loaded.config.decausal["scope"] == "prompt"
    assert torch.equal(loaded.generate(IDS, **settings), expected)


def test_generate_is_put_back(prefix_lm, llama):
    model, handle = prefix_lm()
    assert inspect.signature(model.generate) == inspect.signature(LlamaForCausalLM.generate)
    assert model.generate.__func__ is LlamaForCausalLM.generate
    with handle.paused():
        paused = model.generate(IDS[:, :9], **GREEDY).sequences
    handle.remove()
    assert "generate" not in model.__dict__
    assert torch.equal(paused, llama("sdpa").generate(IDS[:, :9], **GREEDY).sequences)


def test_a_generate_that_was_replaced_is_refused(llama):
    model = llama()
    model.generate = lambda *_: None
    with pytest.raises(REFUSED, match="its generate has been replaced"):
        decausal.unmask(model, "all", scope="prompt")
