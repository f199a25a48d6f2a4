"""Words of a plain text, and tags for the spans marked in it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import regex

from decausal.tagging.tags import OUTSIDE

# Han and kana are written without blanks: there a character is a word, or no span would ever fit.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Letters with their marks: vowel signs of Hindi and Thai, accents that stand apart. Python's `re` does not know marks.
_WORD = regex.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[\p{{L}}\p{{M}}\p{{N}}_\u200c\u200d])+|\S")

FindWords = Callable[[str], list[tuple[int, int]]]
"""Where the words of a text begin and end, in order; `text[start:end]` is a word."""


@dataclass(frozen=True)
class Span:
    """`text[start:end]` is an entity of type `label`; offsets in characters."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class TaggedText:
    """A text cut into words.

    Attributes:
        words: The words, in order.
        tags: An IOB2 tag for each word.
        dropped: The spans that no tags can express, each with the reason.
    """

    words: list[str]
    tags: list[str]
    dropped: list[tuple[Span, str]]


def split_words(text: str) -> list[str]:
    """The words of a text: runs of letters, digits and underscores, and each other visible character.

    A Han or kana character is a word of its own.
    """
    return [text[start:end] for start, end in find_words(text)]


def find_words(text: str) -> list[tuple[int, int]]:
    """Where the words of `split_words` begin and end."""
    return [match.span() for match in _WORD.finditer(text)]


def tag_spans(text: str, spans: Iterable[Span], find_words: FindWords = find_words) -> TaggedText:
    """Cut a text into words and tag those inside a span.

    Blanks at either end of a span do not count. A span that begins or ends inside a word is dropped, and so
    is one that overlaps a span kept before it, where earlier and longer spans go first.

    Args:
        text: The text the offsets refer to.
        spans: In any order, `0 <= start < end <= len(text)`.
        find_words: What cuts the text.
    """
    places = find_words(text)
    starts = {start: idx for idx, (start, _) in enumerate(places)}
    ends = {end: idx for idx, (_, end) in enumerate(places)}
    tags = [OUTSIDE] * len(places)
    dropped: list[tuple[Span, str]] = []
    num_covered = 0
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        inside = text[span.start : span.end]
        first = starts.get(span.end - len(inside.lstrip()))
        last = ends.get(span.start + len(inside.rstrip()))
        if first is None or last is None or last < first:
            dropped.append((span, "does not begin and end where words do"))
        elif first < num_covered:
            dropped.append((span, "overlaps another"))
        else:
            tags[first : last + 1] = [f"B-{span.label}"] + [f"I-{span.label}"] * (last - first)
            num_covered = last + 1
    return TaggedText([text[start:end] for start, end in places], tags, dropped)
