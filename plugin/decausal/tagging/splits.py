"""The data of a recipe: each split's sentences, and the windows of sub-words made from them."""

from dataclasses import dataclass, replace
from functools import cached_property

import datasets
from transformers import PreTrainedTokenizerFast

from decausal._errors import DataError
from decausal.tagging.align import AlignReport, read_column
from decausal.tagging.arguments import TaggingArguments
from decausal.tagging.copies import copy_length
from decausal.tagging.cutting import cut, cut_off
from decausal.tagging.data import (
    ReadReport,
    count_tags,
    describe_unknown_tags,
    read_dataset,
    read_sentences,
    split_names,
)
from decausal.tagging.processes import say


@dataclass(frozen=True)
class Corpus:
    """The sentences of every split that a recipe names.

    Attributes:
        sentences: for `train`, `validation` and `test`, the columns `tokens` and `tags`, IOB2.
        reports: what was found while reading each.
        tag_scheme: the recipe's; where that is `"auto"` and the tags are bare types, the one that was guessed.
    """

    sentences: dict[str, datasets.Dataset]
    reports: dict[str, ReadReport]
    tag_scheme: str

    @classmethod
    def read(cls, tagging: TaggingArguments) -> "Corpus":
        """Every split that the recipe names, or that its data set has.

        Raises:
            DataError: a split cannot be read, or is empty.
        """
        sentences, reports = {}, {}
        found_names = split_names(tagging.dataset_name, tagging.dataset_config_name) if tagging.dataset_name else []
        tag_scheme = tagging.tag_scheme
        for name, source, limit in (
            ("train", tagging.train_file, tagging.max_train_samples),
            ("validation", tagging.validation_file, tagging.max_eval_samples),
            ("test", tagging.test_file, tagging.max_test_samples),
        ):
            if tagging.dataset_name is not None:
                if name not in found_names and name != "train":
                    continue
                found, reports[name] = read_dataset(
                    tagging.dataset_name,
                    config_name=tagging.dataset_config_name,
                    split=name,
                    columns=tagging.columns,
                    tag_scheme=tag_scheme,
                )
            elif source is not None:
                found, reports[name] = read_sentences(
                    source,
                    columns=tagging.columns,
                    tag_scheme=tag_scheme,
                    file_format=tagging.file_format,
                    separator=tagging.separator,
                )
            else:
                continue
            if tag_scheme == "auto" and reports[name].has_bare_tags:
                tag_scheme = reports[name].scheme  # a guess, and it must be the same for every split
            sentences[name] = found.select(range(min(limit, len(found)))) if limit else found
        corpus = cls(sentences, reports, tag_scheme)
        if corpus.labels == ["O"]:
            raise DataError(
                f"{reports['train'].source}: none of its {reports['train'].tokens:,} words is tagged as anything "
                f"but O; is it the right column?"
            )
        return corpus

    @cached_property
    def labels(self) -> list[str]:
        """`O`, then `B-` and `I-` of each type in the training data, by name."""
        types = {tag[2:] for tag in count_tags(self.sentences["train"]) if tag != "O"}
        return ["O", *(f"{prefix}-{kind}" for kind in sorted(types) for prefix in "BI")]

    def warnings(self) -> list[str]:
        """What is odd about the labels, in words: those that a split has and the training data lacks."""
        found = (
            describe_unknown_tags(name, sentences, self.labels, known_to="the training data")
            for name, sentences in self.sentences.items()
        )
        return [text for text in found if text]


@dataclass(frozen=True)
class Split:
    """Sentences of one split, and the windows of sub-words made from them.

    Attributes:
        sentences: the columns `tokens` and `tags`, IOB2.
        windows: the columns that `cut` makes.
        num_left_out: windows in which no word is labelled, left out of training.
        num_cut_off: words that the recipe's `as_published` takes away; they are not in `sentences`.
    """

    sentences: datasets.Dataset
    windows: datasets.Dataset
    num_left_out: int = 0
    num_cut_off: int = 0

    @classmethod
    def of(
        cls,
        sentences: datasets.Dataset,
        tokenizer: PreTrainedTokenizerFast,
        labels: list[str],
        tagging: TaggingArguments,
        training: bool = False,
    ) -> "Split":
        """Cut the sentences into windows, or find those that were cut before.

        Args:
            sentences: the columns `tokens` and `tags`, IOB2.
            tokenizer: as `load_tokenizer` returns it.
            labels: the label names, in the order of their ids. Another tag is learned as `O`, and still counts in the
                scores.
            tagging: how long windows are, how often each is given, where labels sit, and how many processes cut.
            training: leave out windows in which no word is labelled, from which nothing can be learned. Otherwise all
                are kept, longest first, so that batches in this order are hardly padded.

        Raises:
            DataError: no window has a labelled word, or windows cannot be kept.
        """
        num_cut_off = 0
        if tagging.as_published:
            whole, sentences = sentences, cut_off(sentences, tokenizer, tagging)
            num_cut_off = _count_words(whole) - _count_words(sentences)
            tagging = replace(tagging, stride=0)  # what is behind the first window is the rest of its last word
        windows = cut(sentences, tokenizer, labels, tagging)
        if training:
            is_labelled = read_column(windows, "num_labels") > 0
            if not is_labelled.any():
                raise DataError("no word of the training data has a sub-word: does the tokenizer know its characters?")
            labelled = windows if is_labelled.all() else windows.select(is_labelled.nonzero()[0])
            return cls(sentences, labelled, len(windows) - len(labelled), num_cut_off)
        longest_first = (-read_column(windows, "length")).argsort(kind="stable")
        return cls(sentences, windows.select(longest_first), num_cut_off=num_cut_off)

    @property
    def report(self) -> AlignReport:
        """The counts of the windows."""
        return AlignReport.of(self.windows)

    def __str__(self) -> str:
        left_out = f", {self.num_left_out:,} without a labelled word left out" if self.num_left_out else ""
        cut_off = f", {self.num_cut_off:,} words cut off" if self.num_cut_off else ""
        return f"{self.report}{left_out}{cut_off}"


def _count_words(sentences: datasets.Dataset) -> int:
    return sum(len(words) for batch in sentences.select_columns("tokens").iter(1000) for words in batch["tokens"])


def fit_windows(tagging: TaggingArguments, limit: int) -> TaggingArguments:
    """The arguments with windows that the model can take.

    Args:
        tagging: how long windows are, all their copies included.
        limit: the most sub-words that the model takes.
    """
    if tagging.max_length <= limit:
        return tagging
    length = copy_length(limit, tagging.num_copies)
    copies = f", in {tagging.num_copies} copies of {length}" if tagging.num_copies > 1 else ""
    say(
        f"max_length={tagging.max_length} is more than the {limit} positions of the model: windows are of "
        f"{limit}{copies}"
    )
    return replace(tagging, max_length=limit, stride=min(tagging.stride or 0, length // 4))
