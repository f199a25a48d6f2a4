"""Scope "prompt": what is prompt sees both sides, answers stay causal, in training and in cached generation."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache

import decausal
from rows import SIZES

IDS = torch.arange(16)[None] * 5 % 29 + 3
PROMPT = torch.arange(16)[None] < 9
LABELS = IDS.masked_fill(PROMPT, -100)
KERNELS = pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])


def moved(model, place, **inputs):
    """Which positions' logits move when one token changes: a list of places."""
    changed = IDS.clone()
    changed[0, place] = (changed[0, place] + 7) % SIZES["vocab_size"]
    with torch.no_grad():
        difference = (model(IDS, **inputs).logits - model(changed, **inputs).logits).abs().amax(-1)[0]
    return (difference > 1e-4).nonzero().flatten().tolist()


@KERNELS
@pytest.mark.parametrize(
    "source",
    [{"prompt_mask": PROMPT}, {"completion_mask": (~PROMPT).long()}, {"labels": LABELS}],
    ids=["prompt_mask", "completion_mask", "labels"],
)
def test_a_prompt_sees_all_of_itself_and_never_its_answer(prefix_lm, attn_implementation, source):
    model, _ = prefix_lm(attn_implementation)
    assert moved(model, 8, **source) == list(range(16))
    assert moved(model, 9, **source) == list(range(9, 16))
    assert moved(model, 12, **source) == list(range(12, 16))


def test_token_types_tell_the_prompt_too(prefix_lm):
    model, _ = prefix_lm()
    with torch.no_grad():
        told = model(IDS, token_type_ids=(~PROMPT).long()).logits
        assert torch.equal(told, model(IDS, prompt_mask=PROMPT).logits)


def test_no_turn_sees_a_later_answer_and_every_answer_sees_all_before_it(prefix_lm):
    model, _ = prefix_lm()
    turns = torch.tensor([[1] * 4 + [0] * 4 + [1] * 4 + [0] * 4])
    assert moved(model, 5, prompt_mask=turns) == list(range(5, 16))
    assert moved(model, 11, prompt_mask=turns) == list(range(8, 16))
    assert moved(model, 3, prompt_mask=turns) == list(range(16))


@KERNELS
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(prefix_lm, attn_implementation, side):
    model, _ = prefix_lm(attn_implementation)
    padding = (3, 0) if side == "left" else (0, 3)
    ids, real, labels = (
        torch.nn.functional.pad(tensor, padding, value=value)
        for tensor, value in ((IDS, 1), (torch.ones_like(IDS), 0), (LABELS, -100))
    )
    positions = (real.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        padded = model(ids, attention_mask=real, position_ids=positions, labels=labels).logits[real.bool()]
        assert torch.allclose(padded, model(IDS, labels=LABELS).logits[0], atol=2e-5)


@KERNELS
def test_packed_rows_are_separate_ones(prefix_lm, attn_implementation):
    model, _ = prefix_lm(attn_implementation)
    other, other_prompt = IDS.flip(-1), PROMPT.roll(2, -1) | PROMPT
    positions = torch.arange(16).repeat(2)[None]
    with torch.no_grad():
        packed = model(
            torch.cat([IDS, other], -1), position_ids=positions, prompt_mask=torch.cat([PROMPT, other_prompt], -1)
        ).logits
        alone = [model(ids, prompt_mask=mask).logits for ids, mask in ((IDS, PROMPT), (other, other_prompt))]
    assert torch.allclose(packed, torch.cat(alone, 1), atol=2e-5)


# transformers 5.23 builds its block masks with an argument that torch 2.13 calls deprecated, and compiles for the CPU.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
# All layers are open: torch 2.13 writes C++ that does not compile when a second kind of mask follows on a CPU.
def test_flex_attention_agrees_with_eager(prefix_lm):
    torch.compiler.reset()
    with torch.no_grad():
        flex, eager = (prefix_lm(name, "1111")[0](IDS, labels=LABELS).logits for name in ("flex_attention", "eager"))
    assert torch.allclose(flex, eager, atol=2e-5)


def test_the_loss_is_that_of_the_answers(prefix_lm):
    model, _ = prefix_lm()
    with torch.no_grad():
        output = model(IDS, labels=LABELS)
    expected = torch.nn.functional.cross_entropy(output.logits[0, 8:15], IDS[0, 9:])
    assert torch.allclose(output.loss, expected)


@KERNELS
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_leaves_every_gradient(prefix_lm, attn_implementation, reentrant):
    gradients = []
    for checkpointing in (False, True):
        model, _ = prefix_lm(attn_implementation)
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        losses = [model(ids, labels=LABELS, use_cache=False).loss for ids in (IDS, IDS.flip(-1))]
        sum(losses).backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert torch.allclose(*gradients, atol=1e-5)


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


@KERNELS
def test_a_second_turn_goes_on_from_the_cache_of_the_first(prefix_lm, attn_implementation):
    model, handle = prefix_lm(attn_implementation)
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "pad_token_id": 0, "do_sample": False}
    cache = DynamicCache(config=model.config)
    first = model.generate(IDS[:, :9], past_key_values=cache, **settings)
    conversation = torch.cat([first, IDS[:, 9:]], -1)
    prompts = torch.tensor([[1] * 9 + [0] * 4 + [1] * 7])
    with pytest.raises(decausal.UnsupportedModelError, match=r"8 tokens continue a cache of 12.*handle\.prompt"):
        model.generate(conversation, past_key_values=copy.deepcopy(cache), **settings)
    with handle.prompt(prompts):
        output = model.generate(
            conversation, past_key_values=cache, output_logits=True, return_dict_in_generate=True, **settings
        )
        with torch.no_grad():
            whole = model(output.sequences).logits
    assert torch.allclose(whole[:, 19:-1], torch.stack(output.logits, 1), atol=5e-5)


def test_a_forward_whose_prompt_nobody_knows_is_refused(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(decausal.UnsupportedModelError, match=r"nothing says which tokens .*label_smoothing_factor"):
        model(IDS)


def test_labels_without_a_prompt_are_refused_in_the_first_batch(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(decausal.UnsupportedModelError, match=r"every layer would stay causal.*completion_only_loss"):
        model(IDS, labels=IDS)
    model(IDS, labels=LABELS)
    model(IDS, labels=IDS)


def test_the_first_token_of_a_document_is_no_prompt(prefix_lm):
    model, _ = prefix_lm()
    positions = (torch.arange(16) % 8)[None]
    with pytest.raises(decausal.UnsupportedModelError, match="nowhere in this first batch are two tokens in a row"):
        model(IDS, position_ids=positions, labels=IDS.masked_fill(positions == 0, -100))


def test_padding_alone_is_no_prompt(prefix_lm):
    model, _ = prefix_lm()
    real = (torch.arange(16) < 12).long()[None]
    with pytest.raises(decausal.UnsupportedModelError, match="every layer would stay causal"):
        model(IDS, attention_mask=real, labels=IDS.masked_fill(real == 0, -100))


def test_padding_of_packed_rows_alone_is_no_prompt(prefix_lm):
    model, _ = prefix_lm()
    real = torch.arange(16) < 12
    packed = torch.zeros(1, 1, 16, 16).masked_fill(~(real & real[:, None]).tril(), torch.finfo(torch.float32).min)
    with pytest.raises(decausal.UnsupportedModelError, match="every layer would stay causal"):
        model(IDS, attention_mask=packed, labels=IDS.masked_fill(~real, -100))


def test_a_static_cache_is_refused(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(decausal.UnsupportedModelError, match="static cache"):
        model.generate(IDS[:, :9], max_new_tokens=2, pad_token_id=0, cache_implementation="static")


def test_flash_attention_is_refused(llama):
    model = llama("sdpa")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(decausal.UnsupportedModelError, match=r'scope="prompt" is not available with flash attention'):
        decausal.unmask(model, "all", scope="prompt")


def test_a_model_has_one_scope(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(ValueError, match="layer 1 is already unmasked with scope='prompt'"):
        decausal.unmask(model, "1000")


def test_a_lifted_window_is_refused(llama):
    with pytest.raises(ValueError, match='window="full" with scope="prompt"'):
        decausal.unmask(llama(), "all", scope="prompt", window="full")


def test_a_prompt_mask_of_another_shape_is_refused(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(ValueError, match=r"shape \(1, 9\), and its tokens \(1, 16\)"):
        model(IDS, prompt_mask=PROMPT[:, :9])


@KERNELS
def test_removed_or_paused_the_model_is_what_it_was(llama, attn_implementation):
    model = llama(attn_implementation)
    with torch.no_grad():
        before = model(IDS).logits
        handle = decausal.unmask(model, "all", scope="prompt")
        assert not torch.allclose(model(IDS, prompt_mask=PROMPT).logits, before)
        with handle.paused():
            assert torch.equal(model(IDS).logits, before)
        handle.remove()
        assert torch.equal(model(IDS).logits, before)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_copy_opens_prompts_too(prefix_lm):
    model, _ = prefix_lm()
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(IDS, labels=LABELS).logits, model(IDS, labels=LABELS).logits)


def test_the_compiled_model_agrees(prefix_lm):
    model, _ = prefix_lm()
    with torch.no_grad():
        expected = model(IDS, labels=LABELS).logits
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(IDS, labels=LABELS).logits
    assert torch.allclose(compiled, expected, atol=2e-5)


def test_a_loaded_model_generates_as_before(stories, tmp_path):
    model, _ = load_stories(stories)
    settings = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(IDS, **settings)
    model.save_pretrained(tmp_path)
    decausal._checkpoint.load_tokenizer(stories).save_pretrained(tmp_path)
    loaded, _ = decausal.load(tmp_path)
    assert loaded.config.decausal["scope"] == "prompt"
    assert torch.equal(loaded.generate(IDS, **settings), expected)


def load_stories(path):
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    return model, decausal.unmask(model, "00111", scope="prompt")


@KERNELS
@pytest.mark.parametrize("name", ["", "-mistral", "-qwen2", "-phi3"])
def test_the_audit_passes_on_real_models(stories, name, attn_implementation):
    model = AutoModelForCausalLM.from_pretrained(stories + name, attn_implementation=attn_implementation)
    decausal.unmask(model, "00111", scope="prompt")
    report = decausal.audit(model)
    assert report.ok, str(report)
    assert [layer.sees_future for layer in report.layers] == [False, False, True, True, True]
    assert [layer.sees_answer for layer in report.layers] == [False] * 5


def test_the_audit_sees_an_answer_that_leaks(prefix_lm):
    model, _ = prefix_lm()
    leak = lambda layer, args, kwargs: (args, {**kwargs, "attention_mask": None, "is_causal": False})  # noqa: E731
    model.model.layers[2].register_forward_pre_hook(leak, with_kwargs=True)
    model.model.layers[2].self_attn.is_causal = False
    assert "sees an answer from before it" in decausal.audit(model).layers[2].problem
