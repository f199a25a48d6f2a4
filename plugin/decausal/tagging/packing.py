"""Packed rows: the windows of a batch laid end to end, each a document of its own, instead of padded side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedTokenizerFast, TrainingArguments

from decausal._audit import AuditReport
from decausal._errors import UnsupportedModelError
from decausal._layers import attention_kernel, is_encoder, text_config, transformers_model
from decausal._pattern import format_layers
from decausal.tagging.align import IGNORE_INDEX
from decausal.tagging.arguments import TaggingArguments

# Positions that are all 0 tell nothing: a row of one-token documents gets a tail, in which they go on.
_SHORTEST_TAIL = 2


@dataclass(frozen=True)
class PackingCollator:
    """Lays the windows of a batch into rows that are as few, and as short, as hold them.

    Three windows in a row of eight, which ends in a tail that no window sees and that teaches nothing:

        input_ids      a b c d e f + +
        position_ids   0 1 2 0 1 0 0 1
        labels         1 0 0 2 0 1 - -        -  -100

    A batch holds the windows that it would hold padded, so that steps and their losses stay what they were. There is no
    attention mask: documents are told apart by positions that start again. transformers' `DataCollatorWithFlattening`
    does not serve, since it drops the first label of each document, which here is a word's.

    Attributes:
        pad_token_id: what tails are made of.
        row_length: sub-words of a row, or a few more; as many as the longest window has, if that is longer. Attention
            is computed over whole rows.
        multiple: rows are as long as a multiple of this.
        is_flash: everything goes into one row, with the borders that variable-length kernels take: their attention
            does not grow with the row.
    """

    pad_token_id: int
    row_length: int = 256
    multiple: int = 8
    is_flash: bool = False

    @classmethod
    def of(cls, tagging: TaggingArguments, tokenizer: PreTrainedTokenizerFast, model: nn.Module) -> "PackingCollator":
        """The collator that a recipe asks for.

        Args:
            tagging: the recipe's.
            tokenizer: from `load_tokenizer`.
            model: what rows are for; its attention kernel decides whether all windows go into one.
        """
        is_flash = attention_kernel(text_config(transformers_model(model))) == "flash"
        assert tokenizer.pad_token_id is not None, "load_tokenizer sees to it"
        return cls(tokenizer.pad_token_id, tagging.packing_length, tagging.pad_to_multiple_of or 1, is_flash)

    def __call__(self, windows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch.

        Args:
            windows: each with `input_ids` and `labels`, parallel.

        Returns:
            `input_ids`, `position_ids` and `labels`, integers of shape `(rows, row_length)`; for flash kernels also
            `cu_seq_lens_q`, `cu_seq_lens_k`, `max_length_q` and `max_length_k`, as transformers hands them over.
        """
        lengths = [len(window["input_ids"]) for window in windows]
        rows, row_length = self.lay(lengths)
        shape = len(rows), row_length
        input_ids, labels = torch.full(shape, self.pad_token_id), torch.full(shape, IGNORE_INDEX)
        position_ids = torch.empty(shape, dtype=torch.long)
        documents = []
        for row, members in enumerate(rows):
            start = 0
            for window in members:
                end = start + lengths[window]
                input_ids[row, start:end] = torch.as_tensor(windows[window]["input_ids"])
                labels[row, start:end] = torch.as_tensor(windows[window]["labels"])
                position_ids[row, start:end] = torch.arange(lengths[window])
                start = end
            position_ids[row, start:] = torch.arange(row_length - start)
            documents += [*(lengths[window] for window in members), row_length - start]
        batch = {"input_ids": input_ids, "position_ids": position_ids, "labels": labels}
        return batch | (_borders(documents) if self.is_flash else {})

    def lay(self, lengths: Sequence[int]) -> tuple[list[list[int]], int]:
        """The windows of each row, and the length of all rows.

        Args:
            lengths: of the windows, in sub-words, none 0.
        """
        total, longest = sum(lengths), max(lengths)
        num_rows = 1 if self.is_flash else -(-total // max(self.row_length, longest))
        row_length = -(-max(-(-total // num_rows), longest) // self.multiple) * self.multiple
        while len(rows := first_fit_decreasing(lengths, row_length)) > num_rows:
            row_length += self.multiple
        return rows, row_length


def first_fit_decreasing(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Which documents share a row: the longest first, each in the first row that has room for it.

    At most 11/9 of the fewest rows that could hold them, and one (Dósa, 2007).

    Args:
        lengths: of the documents, none 0.
        row_length: at least the longest of them.

    Returns:
        For each row the indices of its documents.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for document in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = lengths[document]
        row = next((row for row, free in enumerate(room) if free >= length), None)
        if row is None:
            rows.append([document])
            room.append(row_length - length - (_SHORTEST_TAIL if length == 1 else 0))
        else:
            rows[row].append(document)
            room[row] -= length
    return rows


def check_packable(config: PreTrainedConfig, training: TrainingArguments) -> None:
    """Refuses what is known before there is a model to audit.

    Raises:
        ValueError: the model is an encoder, or its causal layers would keep a cache.
    """
    if is_encoder(config):
        raise ValueError(
            f"packing=true: {config.model_type!r} is an encoder, whose attention knows no documents; drop packing."
        )
    if training.use_cache:  # transformers (5.23) then does not look where positions start again
        raise ValueError("packing=true with use_cache=true: causal layers would see other documents; drop use_cache.")


def check_packing(report: AuditReport) -> None:
    """Refuses packed rows for a model whose documents would see each other in them.

    Args:
        report: the audit of the model as it will be trained.

    Raises:
        UnsupportedModelError: names the layers.
    """
    if any(layer.sees_neighbour is None for layer in report.layers):
        raise UnsupportedModelError(
            f"packing=true, but packed rows cannot be given to {report.model}: it takes no position_ids, or its "
            f"attention kernel no packed rows; drop packing."
        )
    if seeing := tuple(layer.layer for layer in report.layers if layer.sees_neighbour):
        raise UnsupportedModelError(
            f"packing=true, but layers {format_layers(seeing)} of {report.model} see the document packed before "
            f"their own, unmasked or not: drop packing."
        )


def _borders(documents: Sequence[int]) -> dict[str, Tensor | int]:
    """Where documents, given by their lengths, begin and end in the one row that they fill."""
    lengths = torch.tensor([length for length in documents if length], dtype=torch.int32)
    ends = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    longest = int(lengths.max())
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
