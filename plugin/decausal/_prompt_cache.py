"""A cache in scope "prompt": which of its tokens were prompt, and whether going on from them is exact."""

from typing import Any, Final

import torch
from torch import Tensor
from transformers import Cache

from ._errors import UnsupportedModelError
from ._prompts import fit_rows

# Attributes on a cache: the prompts that it was filled with, and the mask of whole rows that it has agreed with since.
_MARK: Final = "_decausal_prompts"
_AGREED: Final = "_decausal_agreed"


def num_cached_tokens(cache: Any, name: str) -> int:
    """How many tokens are in a cache that scope "prompt" can go on from.

    Raises:
        UnsupportedModelError: its keys are not the last ones, or it does not tell.
    """
    if cache is None:
        return 0
    if not isinstance(cache, Cache):
        raise UnsupportedModelError(
            f'{name}: scope="prompt" does not work with a cache of type {type(cache).__name__}; give a DynamicCache.'
        )
    if getattr(cache, "is_compileable", False):
        raise UnsupportedModelError(
            f'{name}: scope="prompt" does not work with a static cache ({type(cache).__name__}), whose keys are not '
            f'the last ones; generate with the dynamic one (cache_implementation="dynamic").'
        )
    return int(cache.get_seq_length())


def mark(cache: Any, prompt_mask: Tensor, num_cached: int) -> None:
    """Notes on a cache which of its tokens were prompt: those of the forward that is over, after `num_cached` others.

    What is behind the note's end is answer. What the cache has agreed with before counts no more.
    """
    if not isinstance(cache, Cache):
        return
    noted = getattr(cache, _MARK, None)
    if num_cached:
        before = prompt_mask.new_zeros(len(prompt_mask), num_cached) if noted is None else noted
        prompt_mask = torch.cat([fit_rows(before, num_cached, len(prompt_mask)), prompt_mask], dim=-1)
    setattr(cache, _MARK, prompt_mask)
    setattr(cache, _AGREED, None)


def check_continued(
    cache: Any, num_cached: int, *, prompts_now: Tensor, prompts_before: Tensor | None, padding_mask: Any, name: str
) -> None:
    """Refuses to go on from a cache whose tokens did not see what they would see in one forward.

    Args:
        cache: the cache, of `num_cached` tokens.
        num_cached: their number.
        prompts_now: bool, shape `(batch, query_len)`, True = a token of a prompt; of the tokens that come now.
        prompts_before: the same of the cached ones, `(batch, num_cached)`, as it is now told; None where it is not.
        padding_mask: of whole rows, `(batch, num_cached + query_len)`; anything else is not looked at.
        name: the model's, for the message.

    Raises:
        UnsupportedModelError: says what differs.
    """
    noted = getattr(cache, _MARK, None)
    if noted is None:
        if prompts_before is None:
            return  # keys in front of all tokens, such as those of prefix tuning
        raise UnsupportedModelError(
            f"{name}: the {num_cached} tokens in the cache were not computed by this model with its prompts open "
            f"(prefix tuning, a cache filled while paused), so that going on would not be exact. Fill the cache inside "
            f"the block too, or generate from the whole conversation without one."
        )
    batch = len(prompts_now)
    noted = noted.to(prompts_now.device)
    before = fit_rows(noted, num_cached, batch)
    after = fit_rows(noted, noted.shape[-1], batch)[:, num_cached : num_cached + 1]  # cropped since
    first = prompts_now[:, :1]
    if (before[:, -1:] & (first | after if after.shape[-1] else first)).any():
        raise UnsupportedModelError(
            f"{name}: a prompt is split: {num_cached} tokens are in the cache, the last of them of a prompt that goes "
            f"on now, which they could not see (prefill_chunk_size, a cached beginning of a prompt, a cropped cache). "
            f"Give the whole prompt in one forward."
        )
    if prompts_before is None:
        return
    differ = prompts_before.to(prompts_now.device) ^ before
    is_mask = isinstance(padding_mask, Tensor) and padding_mask.ndim == 2
    if is_mask and padding_mask.shape[-1] >= num_cached and len(padding_mask) == batch:
        differ = differ & padding_mask[:, :num_cached].bool()
    if differ.any():
        raise UnsupportedModelError(
            f"{name}: prompt_mask says of {int(differ.sum())} tokens in the cache that they were computed as the other "
            f"kind, prompt or answer. Give the prompts that the cache was filled with, or start anew."
        )


def has_agreed(cache: Any, whole: Tensor) -> bool:
    """Whether a cache was found to agree with this mask of whole rows, so that decoding need not ask at each step."""
    return getattr(cache, _AGREED, None) is whole


def note_agreed(cache: Any, whole: Tensor) -> None:
    """Notes that a cache agrees with a mask of whole rows, for `has_agreed`."""
    setattr(cache, _AGREED, whole)
