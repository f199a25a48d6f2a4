"""Who says what is prompt in a forward: every way to tell, which goes before which, and that somebody must."""

import pytest
import torch

import decausal
from prompted import IDS, KERNELS, LABELS, PROMPT, moved


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
