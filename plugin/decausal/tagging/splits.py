"""The data of a recipe: each split's sentences, and the windows of sub-words made from them."""

from dataclasses import dataclass

import datasets
from transformers import PreTrainedTokenizerFast

from decausal.tagging.align import AlignReport, align
from decausal.tagging.arguments import TaggingArguments
from decausal.tagging.data import ReadReport, read_dataset, read_sentences


@dataclass(frozen=True)
class Corpus:
    """The sentences of every split that a recipe names.

    Attributes:
        sentences: for `train`, `validation` and `test`, the columns `tokens` and `tags`, IOB2.
        reports: what was found while reading each.
    """

    sentences: dict[str, datasets.Dataset]
    reports: dict[str, ReadReport]

    @classmethod
    def read(cls, tagging: TaggingArguments) -> "Corpus":
        """Every split that the recipe names.

        Raises:
            DataError: a split cannot be read, or is empty.
        """
        sentences, reports = {}, {}
        for name, source, limit in (
            ("train", tagging.train_file, tagging.max_train_samples),
            ("validation", tagging.validation_file, tagging.max_eval_samples),
            ("test", tagging.test_file, tagging.max_test_samples),
        ):
            if tagging.dataset_name is not None:
                found, reports[name] = read_dataset(
                    tagging.dataset_name,
                    config_name=tagging.dataset_config_name,
                    split=name,
                    columns=tagging.columns,
                    tag_scheme=tagging.tag_scheme,
                )
            elif source is not None:
                found, reports[name] = read_sentences(
                    source,
                    columns=tagging.columns,
                    tag_scheme=tagging.tag_scheme,
                    file_format=tagging.file_format,
                    separator=tagging.separator,
                )
            else:
                continue
            sentences[name] = found.select(range(min(limit, len(found)))) if limit else found
        return cls(sentences, reports)

    @property
    def labels(self) -> list[str]:
        """`O`, then `B-` and `I-` of each type in the training data, by name."""
        types = {tag[2:] for tags in self.sentences["train"]["tags"] for tag in tags if tag != "O"}
        return ["O", *(f"{prefix}-{kind}" for kind in sorted(types) for prefix in "BI")]

    def warnings(self) -> list[str]:
        """What is odd about the labels, in words: those that a split has and the training data lacks."""
        labels, found = set(self.labels), []
        for name, sentences in self.sentences.items():
            strange = [tag for tags in sentences["tags"] for tag in tags if tag not in labels]
            if strange:
                found.append(
                    f"{name} has {len(strange)} tags of {', '.join(sorted(set(strange)))}, which the training data "
                    f"lacks: they cannot be predicted, and count as missed."
                )
        return found


@dataclass(frozen=True)
class Split:
    """Sentences of one split, and the windows of sub-words made from them.

    Attributes:
        sentences: the columns `tokens` and `tags`, IOB2.
        windows: the columns that `align` makes.
    """

    sentences: datasets.Dataset
    windows: datasets.Dataset

    @classmethod
    def of(
        cls,
        sentences: datasets.Dataset,
        tokenizer: PreTrainedTokenizerFast,
        labels: list[str],
        tagging: TaggingArguments,
        sort: bool = False,
    ) -> "Split":
        """Cut the sentences into windows.

        Args:
            sentences: the columns `tokens` and `tags`, IOB2.
            tokenizer: as `load_tokenizer` returns it.
            labels: the label names, in the order of their ids. Another tag is learned as `O`, and still counts in the
                scores.
            tagging: how long windows are, and where labels sit.
            sort: longest window first, so that batches in this order are hardly padded.
        """
        label2id = {label: i for i, label in enumerate(labels)}
        columns = align(
            sentences["tokens"],
            [[tag if tag in label2id else "O" for tag in tags] for tags in sentences["tags"]],
            tokenizer,
            label2id,
            max_length=tagging.max_length,
            stride=tagging.stride,
            label_position=tagging.label_position,
        )
        windows = datasets.Dataset.from_dict(dict(columns))
        if sort:
            lengths = [len(ids) for ids in columns["input_ids"]]
            windows = windows.select(sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True))
        return cls(sentences, windows)

    @property
    def report(self) -> AlignReport:
        """The counts of the windows."""
        return AlignReport.of(self.windows)
