"""From words to sub-words and back, so that every word gets exactly one label and one prediction."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

import datasets
import numpy as np
from transformers import PreTrainedTokenizerFast

from decausal._errors import DataError
from decausal.tagging.copies import copy_length, find_room, repeat
from decausal.tagging.windows import NOT_READ, LabelPosition, place_words

IGNORE_INDEX = -100

_Value = TypeVar("_Value")


class Features(TypedDict):
    """Columns of windows, one row a window; lists named "parallel" have one entry a sub-word.

    Attributes:
        input_ids: Token ids with special tokens, at most `max_length`, never empty.
        attention_mask: Parallel; all 1.
        labels: Parallel; label id on the sub-word, of the last copy, that carries its word's label, else -100.
        word_idx: Parallel; index in the sentence of the word whose prediction is read here, else -1.
        sentence_idx: Number of the sentence the window belongs to.
        num_words: Words in that sentence.
        num_zero_token_words: Those of them without any sub-word (control characters, zero-width joiners).
    """

    input_ids: list[list[int]]
    attention_mask: list[list[int]]
    labels: list[list[int]]
    word_idx: list[list[int]]
    sentence_idx: list[int]
    num_words: list[int]
    num_zero_token_words: list[int]


@dataclass(frozen=True)
class AlignReport:
    """Counts of an alignment; nothing is cut away, but long sentences and empty words are worth knowing."""

    sentences: int
    words: int
    windows: int
    sentences_in_several_windows: int
    zero_token_words: int

    def __str__(self) -> str:
        """What a person wants to know."""
        text = f"{self.windows:,} windows"
        if self.sentences_in_several_windows:
            text += f", {self.sentences_in_several_windows:,} sentences in several"
        if self.zero_token_words:
            text += f", {self.zero_token_words:,} words that the tokenizer drops"
        return text

    @classmethod
    def of(cls, features: Features | Any) -> "AlignReport":
        """The counts of what `align` returned, or of a `datasets.Dataset` made with it, in any order."""
        windows_of = np.zeros(0, dtype=np.uint8)  # of each sentence: 0, 1, or 2 for several
        windows = words = zero_token_words = 0
        for part in read_columns(features, "sentence_idx", "num_words", "num_zero_token_words"):
            sentences, firsts, counts = np.unique(part["sentence_idx"], return_index=True, return_counts=True)
            windows_of = np.pad(windows_of, (0, max(0, sentences[-1] + 1 - len(windows_of))))
            new = firsts[windows_of[sentences] == 0]  # each window tells the words of its whole sentence
            windows_of[sentences] = np.minimum(windows_of[sentences] + counts, 2)
            windows += len(part["sentence_idx"])
            words += int(part["num_words"][new].sum())
            zero_token_words += int(part["num_zero_token_words"][new].sum())
        return cls(
            sentences=int((windows_of > 0).sum()),
            words=words,
            windows=windows,
            sentences_in_several_windows=int((windows_of > 1).sum()),
            zero_token_words=zero_token_words,
        )


def read_columns(features: Any, *names: str, batch_size: int = 100_000) -> Iterator[dict[str, np.ndarray]]:
    """Columns of numbers, one a window, some windows at a time, so that memory does not grow with them.

    Args:
        features: what `align` returned, or a `datasets.Dataset` made with it.
        *names: of the columns.
        batch_size: windows at a time.

    Yields:
        The columns of the next windows, int64.
    """
    if isinstance(features, datasets.Dataset):
        for table in features.select_columns(list(names)).with_format("arrow").iter(batch_size):
            yield {name: table[name].to_numpy() for name in names}
    else:
        for first in range(0, len(features[names[0]]), batch_size):
            yield {name: np.asarray(features[name][first : first + batch_size]) for name in names}


def read_column(features: datasets.Dataset, name: str) -> np.ndarray:
    """A column of counts, one a window, as int32 and not as objects of Python.

    Args:
        features: a `datasets.Dataset` made with `align`.
        name: of the column.
    """
    parts = (part[name].astype(np.int32) for part in read_columns(features, name))
    return np.concatenate([np.empty(0, dtype=np.int32), *parts])


def align(
    tokens_batch: Sequence[Sequence[str]],
    tags_batch: Sequence[Sequence[str]] | None,
    tokenizer: PreTrainedTokenizerFast,
    label2id: Mapping[str, int],
    *,
    max_length: int,
    stride: int,
    label_position: LabelPosition = "first",
    num_copies: int = 1,
    first_sentence_idx: int = 0,
) -> Features:
    """Windows of sub-words with labels, as columns: the body of a batched `datasets.map` function.

    In a `map` over several batches pass `first_sentence_idx` (`with_indices=True` gives it), and remove the
    old columns.

    Args:
        tokens_batch: The words of each sentence.
        tags_batch: A tag for each word, or None for text without tags (all labels are then -100).
        tokenizer: From `load_tokenizer` or `prepare_tokenizer`.
        label2id: The id of every tag.
        max_length: Most sub-words in a window, special tokens and copies included.
        stride: Sub-words that neighbouring windows share, below `max_length // num_copies` less the special tokens.
        label_position: Which sub-word of a word carries its label. `last` lets a causal layer see all of it.
        num_copies: How often a window's sub-words stand in its row; see `copies`.
        first_sentence_idx: Number of the first sentence of this batch.

    Raises:
        DataError: If a tag is not in `label2id`, or a sentence has not as many tags as words.
        ValueError: If `max_length`, `stride`, `num_copies`, `label_position` or the tokenizer's truncation side is
            unfit.
    """
    capacity = _check_arguments(tokenizer, max_length, stride, num_copies, label_position)
    columns = Features(
        input_ids=[],
        attention_mask=[],
        labels=[],
        word_idx=[],
        sentence_idx=[],
        num_words=[],
        num_zero_token_words=[],
    )
    if not len(tokens_batch):
        return columns
    encoded = tokenizer(
        [list(tokens) for tokens in tokens_batch],
        is_split_into_words=True,
        truncation=True,
        max_length=copy_length(max_length, num_copies),
        stride=stride,
        return_overflowing_tokens=True,
    )
    rows_of: list[list[int]] = [[] for _ in tokens_batch]
    for row, sample in enumerate(encoded["overflow_to_sample_mapping"]):
        rows_of[sample].append(row)
    for number, (tokens, rows) in enumerate(zip(tokens_batch, rows_of, strict=True)):
        sentence_idx = first_sentence_idx + number
        label_ids = None
        if tags_batch is not None:
            label_ids = _look_up(tags_batch[number], tokens, label2id, sentence_idx)
        word_idx = place_words([encoded.word_ids(row) for row in rows], capacity - stride, label_position)
        num_read = sum(word != NOT_READ for words in word_idx for word in words)
        for row, words in zip(rows, word_idx, strict=True):
            # A model needs a token to look at; without special tokens, an empty sentence would have none.
            input_ids = encoded["input_ids"][row] or [tokenizer.pad_token_id]
            input_ids, words = repeat(input_ids, words or [NOT_READ], num_copies)
            columns["input_ids"].append(input_ids)
            columns["attention_mask"].append([1] * len(input_ids))
            columns["labels"].append(
                [IGNORE_INDEX if label_ids is None or word == NOT_READ else label_ids[word] for word in words]
            )
            columns["word_idx"].append(words)
            columns["sentence_idx"].append(sentence_idx)
            columns["num_words"].append(len(tokens))
            columns["num_zero_token_words"].append(len(tokens) - num_read)
    return columns


def merge_predictions(features: Features | Any, predictions: Sequence[Sequence[str]]) -> list[list[str]]:
    """The tag of every word, sentence by sentence, in the order of `sentence_idx`.

    A word without sub-words, which no model can see, continues the entity around it (`I-X` between an `X` tag
    and `I-X`) or else is `O`.

    Args:
        features: What `align` returned, or a `datasets.Dataset` made with it; all windows, in any order.
        predictions: One row of tags a window, parallel to its `input_ids`; padding may follow on the right.
    """
    return [_fill_gaps(tags) for tags in merge_scores(features, predictions)]


def merge_scores(features: Features | Any, scores: Sequence[Sequence[_Value]]) -> list[list[_Value | None]]:
    """As `merge_predictions`, for any value a word is to get: None for a word without sub-words."""
    word_idx, sentence_idx = list(features["word_idx"]), list(features["sentence_idx"])
    sizes = dict(_sentence_sizes(features))
    assert len(scores) == len(word_idx), f"{len(scores)} rows of predictions for {len(word_idx)} windows"
    assert set(sizes) == set(range(min(sizes, default=0), max(sizes, default=-1) + 1)), "sentences are missing"
    merged: dict[int, list[_Value | None]] = {s: [None] * sizes[s][0] for s in sorted(sizes)}
    reads = Counter[tuple[int, int]]()
    for sentence, words, row in zip(sentence_idx, word_idx, scores, strict=True):
        for position, word in enumerate(words):
            if word != NOT_READ:
                merged[sentence][word] = row[position]
                reads[sentence, word] += 1
    num_readable = sum(num_words - num_zero for num_words, num_zero in sizes.values())
    assert reads.total() == len(reads) == num_readable, (
        f"{num_readable} words have sub-words, but {len(reads)} were read, {reads.total()} times in all"
    )
    return list(merged.values())


def _check_arguments(
    tokenizer: PreTrainedTokenizerFast, max_length: int, stride: int, num_copies: int, label_position: str
) -> int:
    """Sub-words of a sentence that fit one copy of a window."""
    capacity = find_room(max_length, stride, num_copies, tokenizer.num_special_tokens_to_add())
    if label_position not in {"first", "last"}:
        raise ValueError(f'label_position={label_position!r} must be "first" or "last" (sub-word of a word)')
    if tokenizer.truncation_side != "right":
        raise ValueError(
            f"tokenizer.truncation_side={tokenizer.truncation_side!r}: windows are laid from the left, which "
            'needs "right" (`prepare_tokenizer` sets it)'
        )
    return capacity


def _look_up(tags: Sequence[str], tokens: Sequence[str], label2id: Mapping[str, int], sentence_idx: int) -> list[int]:
    if len(tags) != len(tokens):
        raise DataError(
            f"sentence {sentence_idx} (from 0) has {len(tokens)} words but {len(tags)} tags, and every word "
            f"needs exactly one: {' '.join(tokens[:20])!r}"
        )
    for tag, token in zip(tags, tokens, strict=True):
        if tag not in label2id:
            raise DataError(
                f"sentence {sentence_idx} (from 0) tags the word {token!r} as {tag!r}, which is none of the "
                f"{len(label2id)} known labels ({', '.join(label2id)}): correct the tag, or train on data "
                "that has it"
            )
    return [label2id[tag] for tag in tags]


def _sentence_sizes(features: Features | Any) -> Iterable[tuple[int, tuple[int, int]]]:
    """(sentence, (words, words without sub-words)) of each window."""
    sizes = zip(features["num_words"], features["num_zero_token_words"], strict=True)
    return zip(features["sentence_idx"], sizes, strict=True)


def _fill_gaps(tags: Sequence[str | None]) -> list[str]:
    filled: list[str] = []
    for i, tag in enumerate(tags):
        if tag is None:
            following = next((later for later in tags[i:] if later is not None), "O")
            inside = following.startswith("I-") and filled and filled[-1][1:] == following[1:]
            tag = following if inside else "O"
        filled.append(tag)
    return filled
