"""The sentences of one or many files as one corpus in one scheme, with an account of what that took."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import datasets

from decausal._errors import DataError
from decausal.tagging.reading.source import Sentence
from decausal.tagging.tags import TagError, TagScheme, detect_scheme, to_iob2

logger = logging.getLogger(__name__)

_FEATURES = datasets.Features(
    {"tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(datasets.Value("string"))}
)
_NUM_DROPPED_SHOWN = 3


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


def assemble(
    sentences: list[Sentence], name: str, file_format: str, tag_scheme: str, skipped: Counter[str]
) -> tuple[datasets.Dataset, ReadReport]:
    """All sentences with IOB2 tags as one data set, and the account of it.

    Raises:
        DataError: If there are none, or a tag does not fit the scheme of the others.
    """
    filled = [sentence for sentence in sentences if sentence.words]
    skipped["empty sentences"] += len(sentences) - len(filled)
    if not filled:
        raise DataError(f"{name}: holds no sentence; expected annotated text")
    dropped = [f"{where}: {message}" for where, message in _dropped_spans(sentences)]
    if dropped:
        shown = "\n  ".join(dropped[:_NUM_DROPPED_SHOWN])
        logger.warning("%d spans dropped, the first of them:\n  %s", len(dropped), shown)
    tagged = [sentence for sentence in filled if sentence.dropped is None]
    try:
        scheme = detect_scheme(sentence.tags for sentence in tagged) if tag_scheme == "auto" else TagScheme(tag_scheme)
        read = [to_iob2(s.tags, scheme if s.dropped is None else TagScheme.IOB2) for s in filled]
    except TagError as error:
        raise _locate(error, tagged) from error
    dataset = datasets.Dataset.from_dict(
        {"tokens": [sentence.words for sentence in filled], "tags": [sentence.tags for sentence in read]},
        features=_FEATURES,
    )
    report = ReadReport(
        source=name,
        format=file_format,
        scheme=scheme.value if tagged else "spans",
        sentences=len(filled),
        tokens=sum(len(sentence.words) for sentence in filled),
        entities=sum(tag.startswith("B-") for sentence in read for tag in sentence.tags),
        converted_tags=sum(sentence.num_converted for sentence in read),
        repaired_tags=sum(sentence.num_repaired for sentence in read),
        dropped_spans=len(dropped),
        skipped={kind: count for kind, count in skipped.items() if count},
    )
    return dataset, report


def _dropped_spans(sentences: list[Sentence]) -> Iterator[tuple[str, str]]:
    for sentence in sentences:
        for message in sentence.dropped or ():
            number = sentence.numbers[0] if sentence.numbers else 0
            yield f"{sentence.source.name}{sentence.source.unit}{number}", message


def _locate(error: TagError, sentences: list[Sentence]) -> DataError:
    """The same error at the first place where its tag stands."""
    for sentence in sentences:
        if error.tag in sentence.tags:
            return sentence.source.error(sentence.numbers[sentence.tags.index(error.tag)], str(error))
    raise AssertionError(f"{error.tag!r} is in no sentence")
