"""Prefix-LM masks: the tokens of a prompt see each other in both directions, answers see what lies to their left."""

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from ._errors import UnsupportedModelError
from ._masks import document_mask, is_visible, packed_documents


def prompt_spans(prompt_mask: Tensor) -> Tensor:
    """The prompt that each token belongs to.

    A row may hold several turns: every run of prompt tokens is a prompt of its own, so that what a user said after an
    answer is not seen from before it.

        prompt_mask   1 1 0 0 1 1 0
        spans         1 1 0 0 2 2 0

    Args:
        prompt_mask: bool, shape `(batch, query_len)`, True = a token of a prompt.

    Returns:
        Integer, same shape; 0 = a token of an answer.
    """
    before = torch.nn.functional.pad(prompt_mask[:, :-1], (1, 0))
    return (prompt_mask & ~before).cumsum(-1) * prompt_mask


def part(whole: Tensor, batch: int, length: int, num_cached: int) -> Tensor:
    """The part of a mask of whole rows that a forward with a cache computes; what is behind its end is answer.

    Raises:
        ValueError: the rows of a batch are no multiple of its own.
    """
    if batch % len(whole):
        raise ValueError(f"handle.prompt was given {len(whole)} rows, and {batch} are generated.")
    found = whole[:, num_cached : num_cached + length]
    found = torch.nn.functional.pad(found, (0, length - found.shape[-1]))
    return found.repeat_interleave(batch // len(whole), dim=0)


def check_whole(whole: Tensor, end: int, name: str) -> None:
    """Refuses a forward that ends in the middle of a prompt.

    Raises:
        UnsupportedModelError: says where.
    """
    if whole.shape[-1] > end and (whole[:, end - 1] & whole[:, end]).any():
        raise UnsupportedModelError(
            f"{name}: a prompt is split: this forward ends at token {end} of {whole.shape[-1]}, in the middle of a "
            f"prompt, whose tokens would not see the others (prefill_chunk_size). Give the whole prompt in one forward."
        )


def fit_rows(mask: Tensor, length: int, batch: int) -> Tensor:
    """A noted mask cut or padded (answers) to a length; for other rows than the noted ones, what any of them was."""
    mask = mask[:, :length]
    mask = torch.nn.functional.pad(mask, (0, length - mask.shape[-1]))
    return mask if len(mask) == batch else mask.any(0, keepdim=True).expand(batch, -1)


def open_prompts(mask: Tensor, spans: Tensor, position_ids: Tensor | None = None) -> Tensor:
    """The mask in which the tokens of a prompt also see what lies to their right, as far as the prompt goes.

    A key that saw the query becomes visible if both belong to one prompt P (0: to an answer); padding, which does not
    see itself, stays hidden:

        open(A)[q, k] = (A[q, k] or A[k, q] and P[q] = P[k] > 0) and A[k, k]

    A prompt of two tokens and an answer of two, before and after (rows are queries, columns keys):

        1 0 0 0        1 1 0 0
        1 1 0 0   ->   1 1 0 0
        1 1 1 0        1 1 1 0
        1 1 1 1        1 1 1 1

    Args:
        mask: shape `(batch, 1 or num_heads, query_len, kv_len)`, bool or floating point; the queries' own keys are the
            last, after those of a cache.
        spans: shape `(batch, query_len)`, see `prompt_spans`.
        position_ids: shape `(batch or 1, query_len)`; where they start again inside a row, another document begins.

    Returns:
        A new mask of the same shape (and the batch of `spans`) and type.
    """
    cached = mask.shape[-1] - mask.shape[-2]
    own = mask[..., cached:]
    boolean = mask.dtype == torch.bool
    hidden = False if boolean else torch.finfo(mask.dtype).min
    real = own.diagonal(dim1=-2, dim2=-1)
    mirrored = torch.where(same_prompt(spans), own.mT, hidden)
    if boolean:
        opened = (own | mirrored) & real.unsqueeze(-2)
    else:
        opened = torch.minimum(torch.maximum(own, mirrored), real.unsqueeze(-2))
    if cached:
        before = mask[..., :cached]
        return torch.cat([before.expand(*opened.shape[:-1], -1), opened], dim=-1)
    documents = packed_documents(position_ids, is_visible(real[:, 0]))
    return opened if documents is None else torch.where(document_mask(documents), opened, hidden)


def open_prompts_of_block_mask(mask: BlockMask, spans: Tensor, position_ids: Tensor | None = None) -> BlockMask:
    """`open_prompts` for flex_attention: the same formula, composed from the mask's own function.

    Args:
        mask: the host's block mask, `query_len == kv_len`.
        spans: as in `open_prompts`.
        position_ids: as in `open_prompts`.
    """
    host = mask.mask_mod
    batch, heads, query_len, kv_len = mask.shape
    prompts = spans.expand(batch, -1)
    documents = packed_documents(position_ids)
    if documents is not None:
        documents = documents.expand(batch, -1)

    def opened(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = (prompts[b, query] == prompts[b, key]) & (prompts[b, key] > 0)
        visible = (host(b, h, query, key) | same & host(b, h, key, query)) & host(b, h, key, key)
        return visible if documents is None else visible & (documents[b, query] == documents[b, key])

    return create_block_mask(opened, batch, heads, query_len, kv_len, mask.kv_indices.device, mask.BLOCK_SIZE)


def says_hidden(mask: Tensor) -> Tensor:
    """Whether a boolean mask says True where a key is hidden: bool, no dimensions.

    MPT (transformers 5.23) makes such masks. In no other does a token see a key that does not see itself.

    Args:
        mask: bool, as in `open_prompts`.
    """
    own = mask[..., mask.shape[-1] - mask.shape[-2] :]
    return (own & ~own.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)).any()


def causal_mask(spans: Tensor) -> Tensor:
    """What a host means that gives no mask: bool, shape `(1, 1, query_len, query_len)`."""
    length = spans.shape[-1]
    return torch.ones(length, length, dtype=torch.bool, device=spans.device).tril()[None, None]


def same_prompt(spans: Tensor) -> Tensor:
    """Which tokens belong to one prompt: bool, shape `(batch, 1, query_len, query_len)`."""
    return ((spans.unsqueeze(-1) == spans.unsqueeze(-2)) & (spans > 0).unsqueeze(-1)).unsqueeze(1)
