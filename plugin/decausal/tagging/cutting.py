"""Sentences as windows of sub-words, cut once and kept where `datasets` keeps its caches."""

import json
import os
from functools import partial
from typing import Any

import datasets
import transformers
from transformers import PreTrainedTokenizerFast

from decausal.tagging.align import IGNORE_INDEX, align
from decausal.tagging.arguments import TaggingArguments
from decausal.tagging.copies import copy_length
from decausal.tagging.reading.cache import keeping, key_of, make_key

_WINDOWS = datasets.Features(
    {
        **{name: datasets.List(datasets.Value("int32")) for name in ("input_ids", "labels", "word_idx")},
        "attention_mask": datasets.List(datasets.Value("int8")),
        **dict.fromkeys(
            ("sentence_idx", "num_words", "num_zero_token_words", "length", "num_labels"), datasets.Value("int64")
        ),
    }
)
_SENTENCES_OF_A_PROCESS = 50_000  # with fewer, starting it takes longer than it saves


def cut(
    sentences: datasets.Dataset, tokenizer: PreTrainedTokenizerFast, labels: list[str], tagging: TaggingArguments
) -> datasets.Dataset:
    """Windows of all sentences, in their order: those that were cut before, where nothing has changed.

    Args:
        sentences: the columns `tokens` and `tags`, IOB2.
        tokenizer: as `load_tokenizer` returns it.
        labels: the label names, in the order of their ids. Another tag is learned as `O`.
        tagging: how long windows are, how often each is given, where labels sit, and how many processes cut.

    Returns:
        The columns that `align` makes, `length` in sub-words, and `num_labels`, how many of these have labels.

    Raises:
        DataError: the windows cannot be kept.
    """
    options: dict[str, Any] = {
        "max_length": tagging.max_length,
        "stride": tagging.stride,
        "label_position": tagging.label_position,
        "num_copies": tagging.num_copies,
    }
    with keeping("windows"):
        return sentences.map(
            partial(_cut_batch, tokenizer=tokenizer, label2id={label: i for i, label in enumerate(labels)}, **options),
            batched=True,
            with_indices=True,
            remove_columns=sentences.column_names,
            num_proc=_count_processes(len(sentences), tagging.preprocessing_num_workers),
            features=_WINDOWS,
            new_fingerprint=make_key(key_of(sentences), _describe(tokenizer), labels, options),
            desc="tokenizing",
        )


def cut_off(
    sentences: datasets.Dataset, tokenizer: PreTrainedTokenizerFast, tagging: TaggingArguments
) -> datasets.Dataset:
    """The sentences without the words that begin behind the first `max_length` sub-words: as the paper cuts them.

    Args:
        sentences: the columns `tokens` and `tags`.
        tokenizer: as `load_tokenizer` returns it.
        tagging: how long a sentence may be, all its copies included.

    Raises:
        DataError: what is left cannot be kept.
    """
    length = copy_length(tagging.max_length, tagging.num_copies)
    with keeping("sentences"):
        return sentences.map(
            partial(_cut_off_batch, tokenizer=tokenizer, length=length),
            batched=True,
            new_fingerprint=make_key(key_of(sentences), _describe(tokenizer), "cut off", length),
            desc="cutting off",
        )


def _cut_off_batch(
    batch: dict[str, list[list[str]]], tokenizer: PreTrainedTokenizerFast, length: int
) -> dict[str, list[list[str]]]:
    encoded = tokenizer(batch["tokens"], is_split_into_words=True, truncation=True, max_length=length)
    ends = []
    for row, tokens in enumerate(batch["tokens"]):
        words = [word for word in encoded.word_ids(row) if word is not None]
        # Words without sub-words at the end of a sentence that is whole are not behind anything.
        ends.append(len(tokens) if len(encoded["input_ids"][row]) < length else max(words, default=-1) + 1)
    return {name: [row[:end] for row, end in zip(batch[name], ends, strict=True)] for name in ("tokens", "tags")}


def _describe(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """All that decides how it cuts."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    # What its last call left, and every call sets anew.
    del state["truncation"], state["padding"]
    return {
        **state,
        "split_special_tokens": tokenizer.split_special_tokens,
        "pad_token_id": tokenizer.pad_token_id,
        "transformers": transformers.__version__,
    }


def _cut_batch(
    batch: dict[str, Any],
    indices: list[int],
    tokenizer: PreTrainedTokenizerFast,
    label2id: dict[str, int],
    **options: Any,
) -> dict[str, Any]:
    tags = [[tag if tag in label2id else "O" for tag in tags] for tags in batch["tags"]]
    columns = align(batch["tokens"], tags, tokenizer, label2id, first_sentence_idx=indices[0], **options)
    return {
        **columns,
        "length": [len(ids) for ids in columns["input_ids"]],
        "num_labels": [sum(label != IGNORE_INDEX for label in row) for row in columns["labels"]],
    }


def _count_processes(num_sentences: int, wanted: int | None) -> int | None:
    """How many processes cut; None for this one alone, as where processes are not forked and scripts need a guard."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    count = wanted or min(available, num_sentences // _SENTENCES_OF_A_PROCESS)
    return count if count > 1 else None
