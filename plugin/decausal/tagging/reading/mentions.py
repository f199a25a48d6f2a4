"""Tags for the words that event corpora mark as mentions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from decausal.tagging.reading.source import Source
from decausal.tagging.tags import OUTSIDE


@dataclass(frozen=True)
class Mention:
    """`words[start:end]` is a mention of type `label`; offsets in words."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class TaggedMentions:
    """The tags of a sentence.

    Attributes:
        tags: An IOB2 tag for each word.
        dropped: A message for each mention that a later one overwrites.
        num_repeated: How many mentions have the words and the type of one before them, and so the same tags.
    """

    tags: list[str]
    dropped: list[str]
    num_repeated: int


def tag_mentions(words: Sequence[str], mentions: Iterable[Mention]) -> TaggedMentions:
    """Tag the words of mentions; one that overlaps a later one of other words or type is dropped, all of it.

        words     He  was  shot  dead
        mentions           1---------   conflict:attack
                                 2---   life:die
        tags      O   O    O     B-life:die

    Args:
        words: Of the sentence.
        mentions: In the order of the file, `0 <= start < end <= len(words)`.
    """
    kept: list[Mention] = []
    dropped: list[str] = []
    num_repeated = 0
    for mention in mentions:
        if mention in kept:
            num_repeated += 1
            continue
        overwritten = [other for other in kept if other.start < mention.end and mention.start < other.end]
        dropped += [f"{_show(other, words)} is overwritten by {_show(mention, words)}" for other in overwritten]
        kept = [other for other in kept if other not in overwritten] + [mention]
    tags = [OUTSIDE] * len(words)
    for mention in kept:
        inside = [f"I-{mention.label}"] * (mention.end - mention.start - 1)
        tags[mention.start : mention.end] = [f"B-{mention.label}", *inside]
    return TaggedMentions(tags, dropped, num_repeated)


def check_mention(
    start: object, end: object, label: object, num_words: int, place: str, number: int, source: Source
) -> Mention:
    """A mention whose offsets lie within its sentence.

    Args:
        start: Of its first word.
        end: Of the word behind its last one.
        label: Its type.
        num_words: Of the sentence.
        place: Where in the record it is, such as `events[0]`.
        number: The line of the record.
        source: Where the record is from.

    Raises:
        DataError: If they do not, or if it has no type.
    """
    match start, end, label:
        case int(), int(), str() if label and 0 <= start < end <= num_words:
            return Mention(start, end, label)
    raise source.error(
        number,
        f"expected in {place} a type, and 0 <= start < end <= {num_words}, the number of words, "
        f"found the type {label!r} and {start!r} to {end!r}",
    )


def _show(mention: Mention, words: Sequence[str]) -> str:
    return f"{' '.join(words[mention.start : mention.end])!r} ({mention.label})"
