"""Prompts and labels: nothing that is learned is seen, and gradients are those of a hand-built prefix mask."""

import pytest
import torch

import decausal

IDS = torch.arange(16)[None] * 5 % 29 + 3
PLACES = torch.arange(16)[None]
KERNELS = pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
TURNS = [(IDS, PLACES < 9), (IDS.flip(-1), PLACES < 5)]


@pytest.mark.parametrize("told", [{"prompt_mask": torch.ones(1, 16)}, {"completion_mask": torch.zeros(1, 16)}])
@pytest.mark.parametrize("labels", [{"labels": IDS}, {"shift_labels": IDS}])
def test_labels_inside_of_a_prompt_are_refused(prefix_lm, told, labels):
    model, _ = prefix_lm()
    with pytest.raises(decausal.UnsupportedModelError, match="labels of 15 tokens inside of prompts"):
        model(IDS, **told, **labels)


def test_labels_inside_of_a_chosen_prompt_are_refused(prefix_lm):
    model, handle = prefix_lm()
    with handle.prompt(PLACES < 9), pytest.raises(decausal.UnsupportedModelError, match="labels of 4 tokens inside"):
        model(IDS, labels=IDS.masked_fill(PLACES < 5, -100))


def test_the_first_token_of_a_prompt_may_be_learned(prefix_lm):
    model, _ = prefix_lm()
    turns = torch.tensor([[1] * 4 + [0] * 4 + [1] * 4 + [0] * 4])
    labels = IDS.masked_fill(turns.bool(), -100)
    labels[0, 8] = IDS[0, 8]
    assert torch.isfinite(model(IDS, prompt_mask=turns, labels=labels).loss)


def test_no_answer_sees_what_is_learned_after_it_where_labels_have_gaps(prefix_lm):
    model, _ = prefix_lm()
    labels = IDS.masked_fill((PLACES < 9) | (PLACES == 11) | (PLACES == 12), -100)
    embeddings = model.get_input_embeddings()(IDS).detach().requires_grad_()
    logits = model(inputs_embeds=embeddings, labels=labels).logits
    for place in (8, 9, 12, 13, 14):  # those that are asked for the next token
        (gradient,) = torch.autograd.grad(logits[0, place].sum(), embeddings, retain_graph=True)
        assert not gradient[0, place + 1 :].any()


def test_token_types_of_zeros_alone_say_nothing(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(decausal.UnsupportedModelError, match="nothing says which tokens are the prompt"):
        model(IDS, token_type_ids=torch.zeros_like(IDS))


@KERNELS
@pytest.mark.parametrize("reentrant", [None, True, False])
@pytest.mark.parametrize("shared", [{}, {"position_ids": PLACES}, {"attention_mask": "causal"}])
def test_gradients_are_those_of_a_hand_built_mask(prefix_lm, llama, attn_implementation, reentrant, shared):
    model, _ = prefix_lm(attn_implementation, "1111")
    if reentrant is not None:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
    if "attention_mask" in shared:
        shared = {"attention_mask": mask_of(torch.zeros(1, 16, dtype=torch.bool), attn_implementation)}
    expected = gradients(
        llama(attn_implementation), [{"attention_mask": mask_of(prompt, attn_implementation)} for _, prompt in TURNS]
    )
    assert torch.allclose(gradients(model, [shared, shared]), expected, atol=1e-5)


def mask_of(prompt, attn_implementation):
    both = prompt[:, :, None] & prompt[:, None, :]
    visible = (PLACES.mT >= PLACES) | both
    hidden = torch.zeros(1, 16, 16).masked_fill(~visible, torch.finfo(torch.float32).min)
    return (visible if attn_implementation == "sdpa" else hidden)[:, None]


def gradients(model, inputs):
    """Of two losses whose backward passes come after both forwards."""
    model.train()
    losses = [
        model(ids, labels=ids.masked_fill(prompt, -100), use_cache=False, **given).loss
        for (ids, prompt), given in zip(TURNS, inputs, strict=True)
    ]
    sum(losses).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_a_layer_is_not_run_past_its_model(prefix_lm):
    model, _ = prefix_lm()
    with torch.no_grad():
        model(IDS, prompt_mask=PLACES < 9)
        with pytest.raises(decausal.UnsupportedModelError, match="run outside of its model"):
            type(model.model).forward(model.model, input_ids=IDS, use_cache=False)


def test_an_interrupted_forward_leaves_no_prompt_behind(prefix_lm):
    model, _ = prefix_lm()

    def interrupt(*_):
        raise KeyboardInterrupt

    hook = model.model.layers[3].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(IDS, prompt_mask=PLACES < 9)
    hook.remove()
    with pytest.raises(decausal.UnsupportedModelError, match="nothing says which tokens are the prompt"):
        model(IDS)
