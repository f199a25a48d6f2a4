"""Who says what is prompt in a forward: every way to tell, which goes before which, and that somebody must."""

import contextlib
import itertools

import pytest
import torch

import decausal
from prompted import IDS, KERNELS, LABELS, PROMPT, moved

LONGER = torch.arange(16)[None] < 12
MOST_EXPLICIT_FIRST = ("prompt_mask", "handle.prompt", "completion_mask", "token_type_ids", "labels")


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


@contextlib.contextmanager
def told(handle, way, prompt):
    """The argument by which a way tells what is prompt, or the block that does."""
    arguments = {
        "prompt_mask": {"prompt_mask": prompt},
        "handle.prompt": {},
        "completion_mask": {"completion_mask": (~prompt).long()},
        "token_type_ids": {"token_type_ids": (~prompt).long()},
        "labels": {"labels": IDS.masked_fill(prompt, -100)},
    }
    with handle.prompt(prompt) if way == "handle.prompt" else contextlib.nullcontext():
        yield arguments[way]


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(MOST_EXPLICIT_FIRST, 2)))
def test_of_two_that_tell_the_more_explicit_is_believed(prefix_lm, first, second):
    model, handle = prefix_lm()
    with torch.no_grad(), told(handle, first, PROMPT) as one, told(handle, second, LONGER) as other:
        both = model(IDS, **one, **other).logits
    with torch.no_grad():
        assert torch.equal(both, model(IDS, prompt_mask=PROMPT).logits)
        assert not torch.allclose(both, model(IDS, prompt_mask=LONGER).logits)


def test_token_types_of_zeros_alone_say_nothing(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(decausal.UnsupportedModelError, match="nothing says which tokens are the prompt"):
        model(IDS, token_type_ids=torch.zeros_like(IDS))


def test_a_forward_whose_prompt_nobody_knows_is_refused(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(decausal.UnsupportedModelError, match=r"nothing says which tokens .*label_smoothing_factor"):
        model(IDS)


def test_a_prompt_mask_of_another_shape_is_refused(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(ValueError, match=r"shape \(1, 9\), and its tokens \(1, 16\)"):
        model(IDS, prompt_mask=PROMPT[:, :9])


def test_an_interrupted_forward_leaves_no_prompt_behind(prefix_lm):
    model, _ = prefix_lm()

    def interrupt(*_):
        raise KeyboardInterrupt

    hook = model.model.layers[3].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(IDS, prompt_mask=PROMPT)
    hook.remove()
    with pytest.raises(decausal.UnsupportedModelError, match="nothing says which tokens are the prompt"):
        model(IDS)
