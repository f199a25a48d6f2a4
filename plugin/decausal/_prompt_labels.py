"""Prompts and labels: what a causal-LM loss leaves out is the prompt, and what it learns must not be seen."""

from typing import Final

import torch
from torch import Tensor

from ._errors import UnsupportedModelError
from ._masks import is_visible

IGNORE_INDEX: Final = -100


def prompt_of_labels(labels: Tensor, attention_mask: object) -> Tensor:
    """The tokens that labels leave out, padding excepted: bool, `(batch, query_len)`.

    Tokens that are left out in the middle of an answer are a prompt of their own, which sees both sides: they are not
    learned, and whatever is learned lies outside and is not seen by them. Where a model is to write such tokens
    itself, their prompts must be told by `prompt_mask`.
    """
    prompt_mask = labels == IGNORE_INDEX
    if isinstance(attention_mask, Tensor) and attention_mask.ndim == 4:
        # Of packed rows, as LLaMA-Factory builds it: padding does not see itself.
        attention_mask = is_visible(attention_mask[:, 0].diagonal(dim1=-2, dim2=-1))
    if isinstance(attention_mask, Tensor) and attention_mask.shape == prompt_mask.shape:
        prompt_mask = prompt_mask & attention_mask.bool()
    return prompt_mask


def check_has_prompt(prompt_mask: Tensor, labels: Tensor, name: str) -> None:
    """Refuses labels that mark no prompt at all, with which training would be silently causal.

    Args:
        prompt_mask: bool, shape `(batch, query_len)`.
        labels: same shape; what is left out behind the last of them is padding, and no prompt.
        name: the model's, for the message.

    Raises:
        UnsupportedModelError: says how to mark them.
    """
    # TRL, packing rows, hides the first token of each document: a single token is no prompt.
    is_asked_later = (labels != IGNORE_INDEX).flip(-1).cumsum(-1).flip(-1) > 0
    _refuse_unless(
        (prompt_mask[:, 1:] & prompt_mask[:, :-1] & is_asked_later[:, 1:]).any(),
        f'{name}: scope="prompt" knows the prompt by its labels, which are -100 there, and nowhere in this first '
        f"batch are two tokens in a row: every layer would stay causal. Take the loss of the answers alone (TRL: "
        f"completion_only_loss or assistant_only_loss, Axolotl: train_on_inputs: false), or pass prompt_mask.",
    )


def check_unseen(prompt_mask: Tensor, labels: Tensor | None, shift_labels: Tensor | None, name: str) -> None:
    """Refuses to learn a token of a prompt that the position before it sees.

    Args:
        prompt_mask: bool, shape `(batch, query_len)`, told otherwise than by these labels.
        labels: shape `(batch, query_len)`, of each token.
        shift_labels: same shape, of the token after each, which goes before `labels`; one of the two is given.
        name: the model's, for the message.

    Raises:
        UnsupportedModelError: says what to set.
    """
    if prompt_mask.ndim != 2:
        return
    if shift_labels is not None:
        learned = shift_labels[:, :-1]
    else:
        assert labels is not None
        learned = labels[:, 1:]
    within = prompt_mask[:, 1:] & prompt_mask[:, :-1]
    if within.shape != learned.shape:
        return  # the guard or the loss says so
    _refuse_unless(
        ~(within.to(learned.device) & (learned != IGNORE_INDEX)).any(),
        f'{name}: scope="prompt", and labels of tokens inside of prompts are not {IGNORE_INDEX}: the positions before '
        f"them see these tokens, so that the loss would read its own answer. Set the labels of prompts to "
        f"{IGNORE_INDEX}, or correct prompt_mask or completion_mask.",
    )


def _refuse_unless(holds: Tensor, message: str) -> None:
    """Raises where a tensor is not true: in compiled code as it runs, and then as a RuntimeError."""
    if torch.compiler.is_compiling():
        torch._assert_async(holds, message)
    elif not holds:
        raise UnsupportedModelError(message)
