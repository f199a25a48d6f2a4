"""Opening an attention mask: both directions become visible, padding and neighbouring documents stay hidden.

Attention masks come in the shapes and types that transformers gives its attention functions:

- `bool`, shape `(batch, 1 or num_heads, query_len, kv_len)`: True = may attend (sdpa);
- floating point, same shape, added to the attention scores: 0 = may attend, the smallest number of its type = may not
  (eager);
- `BlockMask`: a function of (batch, head, query, key) with its block-sparse summary (flex_attention);
- `(batch, kv_len)`, True = a real token: sequence lengths for flash kernels, which decide the direction by `is_causal`;
- `None`: nothing to hide beyond what `is_causal` says.
"""

from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

AttentionMask: TypeAlias = Tensor | BlockMask | None
Window: TypeAlias = Literal["symmetric", "full"]
Scope: TypeAlias = Literal["all", "prompt"]

# To the scores of hidden keys, hosts add the smallest number of some type, and people -1e4 or less; the biases of
# visible neighbours (ALiBi) are far from that.
_HIDDEN: Final = -1e3


def open_mask(mask: Tensor, position_ids: Tensor | None = None, window: Window = "symmetric") -> Tensor:
    """The mask in which every token also sees what lies to its right.

    A key that a query saw, or that saw the query, is visible; unless it is padding, that is, does not see itself:

        open(A)[q, k] = (A[q, k] or A[k, q]) and A[k, k]

    Four tokens, the first of them padding, before and after (rows are queries, columns keys):

        0 0 0 0        0 0 0 0
        0 1 0 0   ->   0 1 1 1
        0 1 1 0        0 1 1 1
        0 1 1 1        0 1 1 1

    A sliding window that reaches w tokens to the left then reaches w to the right as well, and blocks of packed
    documents stay blocks. A floating-point mask is opened by the same formula with maximum for "or" and minimum for
    "and", which leaves additive biases between visible tokens as they were.

    Args:
        mask: shape `(batch, 1 or num_heads, query_len, kv_len)`, `query_len == kv_len`, bool or floating point.
        position_ids: shape `(batch or 1, query_len)`. Where they start again inside a row, the row is packed, and its
            documents are kept apart even if the mask has lost the borders.
        window: `"symmetric"` keeps a sliding window's reach; `"full"` lifts it within each document.

    Returns:
        A new mask of the same shape and type.
    """
    boolean = mask.dtype == torch.bool
    hidden = False if boolean else torch.finfo(mask.dtype).min
    real = mask.diagonal(dim1=-2, dim2=-1)
    if window == "full":
        opened = real.unsqueeze(-2).expand_as(mask).masked_fill(~_same(_documents_of_mask(mask)), hidden)
    elif boolean:
        opened = (mask | mask.mT) & real.unsqueeze(-2)
    else:
        opened = torch.minimum(torch.maximum(mask, mask.mT), real.unsqueeze(-2))
    documents = packed_documents(position_ids, is_visible(real[:, 0]))
    return opened if documents is None else torch.where(document_mask(documents), opened, hidden)


def open_block_mask(mask: BlockMask, position_ids: Tensor | None = None) -> BlockMask:
    """`open_mask` for flex_attention: the same formula, composed from the mask's own function.

    Args:
        mask: the host's block mask, `query_len == kv_len`.
        position_ids: as in `open_mask`.
    """
    host = mask.mask_mod
    batch, heads, query_len, kv_len = mask.shape
    documents = packed_documents(position_ids)
    if documents is not None:
        documents = documents.expand(batch, -1)

    def opened(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        visible = (host(b, h, query, key) | host(b, h, key, query)) & host(b, h, key, key)
        return visible if documents is None else visible & (documents[b, query] == documents[b, key])

    return create_block_mask(opened, batch, heads, query_len, kv_len, mask.kv_indices.device, mask.BLOCK_SIZE)


def document_mask(documents: Tensor) -> Tensor:
    """Which tokens belong to the same packed document.

    Two documents of one and three tokens:

        1 0 0 0
        0 1 1 1
        0 1 1 1
        0 1 1 1

    Args:
        documents: shape `(batch, query_len)`, the number of each token's document.

    Returns:
        bool, shape `(batch, 1, query_len, query_len)`, True = may attend.
    """
    return _same(documents[:, None])


def packed_documents(position_ids: Tensor | None, real: Tensor | None = None) -> Tensor | None:
    """The document of each token, read from positions that start again inside a row.

    Args:
        position_ids: integer, shape `(batch or 1, query_len)`; other shapes (multimodal rotary positions) tell nothing.
        real: bool, shape `(batch, query_len)`, False = padding, whose positions mean nothing.

    Returns:
        Integer, shape `(batch or 1, query_len)`; None where no row is packed. While compiling, where values cannot be
        looked at, always a tensor if there are positions.
    """
    if position_ids is None or position_ids.ndim != 2:
        return None
    steps, first = position_ids.diff(dim=-1), position_ids.amin(-1, keepdim=True)
    starts = (steps < 0) | (steps == 0) & (position_ids[:, 1:] == first)
    starts = starts & steps.any(-1, keepdim=True)  # where all are equal, they tell nothing
    if real is not None:
        starts = starts & real[:, 1:]
    if not torch.compiler.is_compiling() and not starts.any():
        return None
    return torch.nn.functional.pad(starts.cumsum(-1), (1, 0))


def _same(documents: Tensor) -> Tensor:
    return documents.unsqueeze(-1) == documents.unsqueeze(-2)


def is_visible(mask: Tensor) -> Tensor:
    """Where a mask of either type lets something through: bool, same shape."""
    return mask if mask.dtype == torch.bool else mask > _HIDDEN


def _documents_of_mask(mask: Tensor) -> Tensor:
    # A causal window lets a token see the last real one before it, unless that is another document's.
    visible = is_visible(mask)
    places = torch.arange(mask.shape[-1], device=mask.device)
    last_real = torch.where(visible.diagonal(dim1=-2, dim2=-1), places, 0).cummax(-1).values
    before = torch.nn.functional.pad(last_real[..., :-1], (1, 0))
    return (~visible.gather(-1, before.unsqueeze(-1)).squeeze(-1)).cumsum(-1)
