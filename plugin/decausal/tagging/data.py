"""Annotated text in any of the known formats, as one `datasets.Dataset` of words and IOB2 tags."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import datasets
import pyarrow.compute

from decausal._errors import DataError
from decausal.tagging.reading import rows
from decausal.tagging.reading.cache import hash_file, key_of, make_key, read_once
from decausal.tagging.reading.corpus import ReadReport, assemble
from decausal.tagging.reading.files import FileFormat, PathLike, find_files
from decausal.tagging.reading.readers import ReadWords, annotated_sentences, dataset_sentences, plain_sentences
from decausal.tagging.reading.rows import split_names
from decausal.tagging.reading.source import Lines, Sentence

logger = logging.getLogger(__name__)

__all__ = [
    "PlainSentences",
    "ReadReport",
    "count_tags",
    "describe_unknown_tags",
    "read_dataset",
    "read_sentences",
    "read_words",
    "split_names",
]


@dataclass(frozen=True)
class PlainSentences(Iterable[list[str]]):
    """The words of each sentence, read anew by every loop: there may be more of them than fit into memory.

    Attributes:
        files: What reads each file.
    """

    files: Sequence[ReadWords]

    def __iter__(self) -> Iterator[list[str]]:
        return chain.from_iterable(read_file() for read_file in self.files)


def read_sentences(
    source: PathLike | Sequence[PathLike],
    *,
    columns: str | None = None,
    tag_scheme: str = "auto",
    file_format: str | None = None,
    separator: str | None = None,
    split: str | None = None,
) -> tuple[datasets.Dataset, ReadReport]:
    """Annotated sentences from files.

    Args:
        source: A file, a directory, a pattern such as `data/*.tsv`, or several of these, read as one; or a
            directory that `Dataset.save_to_disk` wrote.
        columns: Where the words and the tags are: column numbers from 0, negative ones from the end (by
            default `"0,-1"`, and `"1,2"` where the first column numbers the words), or keys such as
            `"tokens,ner_tags"`.
        tag_scheme: A value of `TagScheme`, or `"auto"` to find it from all tags together.
        file_format: A value of `FileFormat`; by default each file's is found from its suffix and content.
        separator: What divides columns; by default a TAB if most lines hold one, otherwise any blanks.
        split: Which split of a saved `DatasetDict`.

    Returns:
        A data set with the columns `tokens` (the words of a sentence) and `tags` (as many IOB2 tags), and an
        account of what was read.

    Raises:
        DataError: If a file cannot be read as asked, naming the file and the line.
    """
    if isinstance(source, str | Path) and rows.is_saved_dataset(Path(source)):
        return read_dataset(str(source), split=split, columns=columns, tag_scheme=tag_scheme)
    chosen = FileFormat(file_format) if file_format else None
    name = ", ".join(map(str, [source] if isinstance(source, str | Path) else source))
    texts = [Lines(path) for path in find_files(source)]
    contents = [(text.name, hash_file(text.path)) for text in texts]

    def write(arrow_file: Path) -> ReadReport:
        files = [annotated_sentences(text, chosen, columns, separator) for text in texts]
        formats = dict.fromkeys(found_format.value for found_format, _ in files)

        def read(skipped: Counter[str]) -> Iterator[Sentence]:
            return chain.from_iterable(read_file(skipped) for _, read_file in files)

        report = assemble(read, arrow_file, name=name, file_format="+".join(formats), tag_scheme=tag_scheme)
        for text, (_, content) in zip(texts, contents, strict=True):
            if hash_file(text.path) != content:
                raise DataError(f"{text.name}: has changed while it was read; begin again when it is written")
        return report

    return _told(*read_once(name, make_key(contents, columns, tag_scheme, file_format, separator), write))


def read_dataset(
    name: str,
    *,
    config_name: str | None = None,
    split: str | None = None,
    columns: str | None = None,
    tag_scheme: str = "auto",
) -> tuple[datasets.Dataset, ReadReport]:
    """Annotated sentences from a data set that `datasets` can load.

    Args:
        name: A name on the hub, or a directory, also one that `save_to_disk` wrote.
        config_name: Which configuration of it.
        split: Which split, such as `"train"`; may be left out where there is but one.
        columns: The keys of the words and the tags, by default `tokens` or `words`, and `ner_tags` or `tags`.
        tag_scheme: As for `read_sentences`.

    Returns:
        As `read_sentences`.

    Raises:
        DataError: If the data set cannot be loaded, or a row of it cannot be read, naming the row.
    """
    dataset = rows.load_split(name, config_name, split)
    shown = f"{name} ({split})" if split else name

    def write(arrow_file: Path) -> ReadReport:
        return assemble(
            lambda _: dataset_sentences(dataset, shown, columns),
            arrow_file,
            name=shown,
            file_format="dataset",
            tag_scheme=tag_scheme,
        )

    saved = rows.find_saved_files(Path(name))
    contents: list[object] = [(str(path), hash_file(path)) for path in saved]
    contents = contents or [key_of(dataset), str(dataset.features)]
    return _told(*read_once(shown, make_key(contents, split, columns, tag_scheme), write))


def read_words(
    source: PathLike | Sequence[PathLike],
    *,
    columns: str | None = None,
    file_format: str | None = None,
    separator: str | None = None,
) -> tuple[PlainSentences, str]:
    """The words of sentences that need no tags, for prediction.

    Args:
        source: As for `read_sentences`, or `"-"` for the standard input.
        columns: As for `read_sentences`; the tag column is ignored.
        file_format: A value of `FileFormat`; by default found from suffix and content. Lines that need not be columns
            are then sentences whose words stand between blanks (`words`); `text` cuts running text into words.
        separator: As for `read_sentences`.

    Returns:
        The words of each sentence, none for a blank line of `words` or `text` and for an empty record; and the format
        that they are read in, several joined by `+`.

    Raises:
        DataError: If a file holds no words, or, here or in a loop over the sentences, cannot be read as asked.
    """
    chosen = FileFormat(file_format) if file_format else None
    files = [plain_sentences(Lines(path), chosen, columns, separator) for path in find_files(source)]
    sentences = PlainSentences([read_file for _, read_file in files])
    if not any(sentences):
        raise DataError(f"{'standard input' if str(source) == '-' else source}: holds no words")
    return sentences, "+".join(dict.fromkeys(found_format.value for found_format, _ in files))


def _told(sentences: datasets.Dataset, report: ReadReport) -> tuple[datasets.Dataset, ReadReport]:
    """Both as they are, after a warning with the first spans that were dropped, whenever that was."""
    if report.dropped_spans:
        logger.warning(
            "%d spans dropped, the first of them:\n  %s", report.dropped_spans, "\n  ".join(report.first_dropped)
        )
    return sentences, report


def count_tags(sentences: datasets.Dataset) -> Counter[str]:
    """How often each tag stands in the column `tags`."""
    counts: Counter[str] = Counter()
    for batch in sentences.with_format("arrow").select_columns("tags").iter(batch_size=10_000):
        for found in pyarrow.compute.value_counts(pyarrow.compute.list_flatten(batch["tags"])):
            counts[found["values"].as_py()] += found["counts"].as_py()
    return counts


def describe_unknown_tags(name: str, sentences: datasets.Dataset, labels: Collection[str], known_to: str) -> str | None:
    """A warning for the tags that cannot be predicted, with their number; None where there are none.

    Args:
        name: What the warning calls the sentences.
        sentences: With the column `tags`, IOB2.
        labels: All tags that can be predicted.
        known_to: What the warning says that lacks the others, such as `"the model"`.
    """
    unknown = Counter({tag: count for tag, count in count_tags(sentences).items() if tag not in labels})
    if not unknown:
        return None
    return (
        f"{name} has {unknown.total():,} tags of {', '.join(sorted(unknown))}, which {known_to} lacks: they cannot be "
        f"predicted, and count as missed."
    )
