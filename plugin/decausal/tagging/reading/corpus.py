"""The sentences of one or many files as one corpus in one scheme, with an account of what that took."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import datasets
import pyarrow

from decausal._errors import DataError
from decausal.tagging.reading.source import Sentence
from decausal.tagging.tags import Iob2Tags, TagError, TagScheme, detect_scheme, to_iob2

_FEATURES = datasets.Features(
    {"tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(datasets.Value("string"))}
)
_NUM_DROPPED_SHOWN = 3
_BATCH = 1000

ReadSentences = Callable[[Counter[str]], Iterator[Sentence]]
"""Reads sentences from the first one on, each time that it is called, and counts what it passes over, by kind."""


@dataclass(frozen=True)
class ReadReport:
    """What was read, and everything that is not as it stood in the file.

    Attributes:
        source: The path or the name as given.
        format: A value of `FileFormat`, or `dataset`.
        scheme: A value of `TagScheme`, or `spans` where there were offsets instead of tags.
        sentences: Number of sentences.
        tokens: Number of words.
        entities: Number of entities, which is that of the `B-` tags.
        converted_tags: Tags spelt differently in their own scheme.
        repaired_tags: Tags that broke the rules of their scheme.
        dropped_spans: Spans that overlap another, or begin or end inside a word.
        skipped: Number of lines, records or entries passed over, by kind.
        first_dropped: Where some dropped spans are, and why they were dropped.
    """

    source: str
    format: str
    scheme: str
    sentences: int
    tokens: int
    entities: int
    converted_tags: int
    repaired_tags: int
    dropped_spans: int
    skipped: Mapping[str, int]
    first_dropped: Sequence[str] = ()

    @property
    def has_bare_tags(self) -> bool:
        """Whether tags are types without a prefix, so that only `scheme` says which neighbours are one entity.

        With `tag_scheme="auto"` that is guessed from how often equal tags meet, and the files of one task may be
        guessed differently: read the others with the `scheme` of the first.
        """
        return self.scheme in (TagScheme.BARE_RUNS.value, TagScheme.BARE_WORDS.value)

    def __str__(self) -> str:
        """One line with all that is not zero."""
        changes = {
            f"tags converted from {self.scheme}": self.converted_tags,
            "tags repaired": self.repaired_tags,
            "spans dropped": self.dropped_spans,
            **{f"{kind} skipped": count for kind, count in self.skipped.items()},
        }
        size = f"{self.sentences:,} sentences, {self.tokens:,} words, {self.entities:,} entities"
        notes = [f"{kind}: {count:,}" for kind, count in changes.items() if count]
        return "; ".join([f"{self.source} ({self.format}, {self.scheme}): {size}", *notes])


def assemble(read: ReadSentences, path: Path, *, name: str, file_format: str, tag_scheme: str) -> ReadReport:
    """Writes all sentences with IOB2 tags to an Arrow file, and gives the account of them.

    Neither the sentences nor their words are ever in memory all together. Where the scheme is to be found, they are
    read twice.

    Args:
        read: Reads the sentences, and counts what it passes over.
        path: Of the new file, for `datasets.Dataset.from_file`.
        name: What messages and the account call the source.
        file_format: As in `ReadReport`.
        tag_scheme: A value of `TagScheme`, or `"auto"` to find it from all tags together.

    Raises:
        DataError: If there are no sentences, or a tag does not fit the scheme of the others.
    """
    scheme = _detect_scheme(read) if tag_scheme == "auto" else TagScheme(tag_scheme)
    counts, skipped, dropped = Counter[str](), Counter[str](), list[str]()
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, _FEATURES.arrow_schema) as writer:
        sentences = read(skipped)
        while batch := list(islice(sentences, _BATCH)):
            filled = [sentence for sentence in batch if sentence.words]
            skipped["empty sentences"] += len(batch) - len(filled)
            found = [_convert(sentence, scheme) for sentence in filled]
            columns = [[sentence.words for sentence in filled], [converted.tags for converted in found]]
            writer.write_batch(pyarrow.record_batch(columns, schema=_FEATURES.arrow_schema))
            counts["sentences"] += len(filled)
            counts["tokens"] += sum(len(sentence.words) for sentence in filled)
            counts["tagged"] += sum(not sentence.is_spans for sentence in filled)
            counts["entities"] += sum(tag.startswith("B-") for converted in found for tag in converted.tags)
            counts["converted"] += sum(converted.num_converted for converted in found)
            counts["repaired"] += sum(converted.num_repaired for converted in found)
            for where, message in _dropped_spans(batch):
                counts["dropped"] += 1
                if len(dropped) < _NUM_DROPPED_SHOWN:
                    dropped.append(f"{where}: {message}")
    if not counts["sentences"]:
        raise DataError(f"{name}: holds no sentence; expected annotated text")
    return ReadReport(
        source=name,
        format=file_format,
        scheme=scheme.value if counts["tagged"] else "spans",
        sentences=counts["sentences"],
        tokens=counts["tokens"],
        entities=counts["entities"],
        converted_tags=counts["converted"],
        repaired_tags=counts["repaired"],
        dropped_spans=counts["dropped"],
        first_dropped=dropped,
        skipped={kind: count for kind, count in skipped.items() if count},
    )


def _detect_scheme(read: ReadSentences) -> TagScheme:
    try:
        return detect_scheme(sentence.tags for sentence in read(Counter()) if sentence.words and not sentence.is_spans)
    except TagError as error:
        first = next(sentence for sentence in read(Counter()) if not sentence.is_spans and error.tag in sentence.tags)
        raise _locate(error, first) from error


def _convert(sentence: Sentence, scheme: TagScheme) -> Iob2Tags:
    try:
        return to_iob2(sentence.tags, TagScheme.IOB2 if sentence.is_spans else scheme)
    except TagError as error:
        raise _locate(error, sentence) from error


def _dropped_spans(sentences: list[Sentence]) -> Iterator[tuple[str, str]]:
    for sentence in sentences:
        for message in sentence.dropped or ():
            number = sentence.numbers[0] if sentence.numbers else 0
            yield f"{sentence.source.name}{sentence.source.unit}{number}", message


def _locate(error: TagError, sentence: Sentence) -> DataError:
    """The same error at the place where its tag stands."""
    return sentence.source.error(sentence.numbers[sentence.tags.index(error.tag)], str(error))
