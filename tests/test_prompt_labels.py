"""Prompts and labels: nothing that is learned is seen, and gradients are those of a hand-built prefix mask."""

import pytest
import torch

import decausal
from prompted import IDS, KERNELS, LABELS

PLACES = torch.arange(16)[None]
TURNS = [(IDS, PLACES < 9), (IDS.flip(-1), PLACES < 5)]


def test_the_loss_is_that_of_the_answers(prefix_lm):
    model, _ = prefix_lm()
    with torch.no_grad():
        output = model(IDS, labels=LABELS)
    expected = torch.nn.functional.cross_entropy(output.logits[0, 8:15], IDS[0, 9:])
    assert torch.allclose(output.loss, expected)


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


def test_labels_left_out_behind_the_last_answer_are_no_prompt(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(decausal.UnsupportedModelError, match="every layer would stay causal"):
        model(IDS, labels=IDS.masked_fill(PLACES >= 12, -100))  # padding of which no attention_mask tells


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": IDS}, "every layer would stay causal"),
        ({"prompt_mask": torch.ones(1, 16), "labels": IDS}, "labels of tokens inside of prompts"),
    ],
)
def test_a_compiled_model_refuses_what_it_would_refuse(prefix_lm, given, message):
    model, _ = prefix_lm()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with pytest.raises(RuntimeError, match=message):
        compiled(IDS, **given)
    assert torch.isfinite(compiled(IDS, labels=LABELS).loss)


def test_a_loss_of_one_s_own_is_not_taken_for_generation_because_a_cache_is_asked_for(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(decausal.UnsupportedModelError, match="while gradients are recorded does not count"):
        model(IDS, use_cache=True)
    with torch.no_grad():
        model(IDS, use_cache=True)


@pytest.mark.parametrize("told", [{"prompt_mask": torch.ones(1, 16)}, {"completion_mask": torch.zeros(1, 16)}])
@pytest.mark.parametrize("labels", [{"labels": IDS}, {"shift_labels": IDS}])
def test_labels_inside_of_a_prompt_are_refused(prefix_lm, told, labels):
    model, _ = prefix_lm()
    with pytest.raises(decausal.UnsupportedModelError, match="labels of tokens inside of prompts"):
        model(IDS, **told, **labels)


def test_labels_inside_of_a_chosen_prompt_are_refused(prefix_lm):
    model, handle = prefix_lm()
    with (
        handle.prompt(PLACES < 9),
        pytest.raises(decausal.UnsupportedModelError, match="labels of tokens inside of prompts"),
    ):
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
