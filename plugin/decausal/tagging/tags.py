"""Tagging schemes, and the way from each of them to IOB2."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

OUTSIDE = "O"

_PREFIXED = re.compile(r"[BIESLU](-.*)?")
_OTHERWISE_PREFIXED = re.compile(r"[BIESLU][_:./|].*|.*[-_:./|][BIESLU]")

# Where bare tags mark spans, many adjoin a word of the same span. Where they mark single words, such as event
# triggers, two of them meet only by chance: 80 of the 7,849 in LitBank.
_ADJACENT_BY_CHANCE = 0.05


class TagScheme(str, Enum):
    """How the tags of a file mark where an entity begins and ends."""

    IOB1 = "IOB1"
    """`I-` throughout; `B-` only where an entity follows another of its type."""
    IOB2 = "IOB2"
    """`B-` on the first word of every entity, `I-` on the others."""
    BIOES = "BIOES"
    """IOB2 with `E-` on the last word of an entity and `S-` on an entity of one word."""
    BILOU = "BILOU"
    """BIOES spelt with `L-` (last) and `U-` (unit)."""
    IO = "IO"
    """`I-` alone: neighbours of one type are one entity."""
    BARE_RUNS = "bare-runs"
    """Types without a prefix: neighbours of one type are one entity."""
    BARE_WORDS = "bare-words"
    """Types without a prefix: every tagged word is an entity."""

    @classmethod
    def _missing_(cls, value: object) -> "TagScheme":
        for scheme in cls:
            if scheme.value.lower() == str(value).lower():
                return scheme
        choices = ", ".join(scheme.value for scheme in cls)
        raise ValueError(f"tag_scheme={value!r}: expected auto or one of {choices}")

    @property
    def prefixes(self) -> str:
        """The prefix letters this scheme allows, `""` where its tags are bare types."""
        return _PREFIXES[self]


_PREFIXES = {
    TagScheme.IOB1: "BI",
    TagScheme.IOB2: "BI",
    TagScheme.BIOES: "BIES",
    TagScheme.BILOU: "BILU",
    TagScheme.IO: "I",
    TagScheme.BARE_RUNS: "",
    TagScheme.BARE_WORDS: "",
}
_REPAIRING = {TagScheme.IOB2, TagScheme.BIOES, TagScheme.BILOU}


class TagError(ValueError):
    """A tag that its scheme does not allow; `tag` is the tag, which the reader finds in its file."""

    def __init__(self, tag: str, message: str) -> None:
        super().__init__(message)
        self.tag = tag


@dataclass(frozen=True)
class Iob2Tags:
    """One sentence in IOB2.

    Attributes:
        tags: One `O`, `B-TYPE` or `I-TYPE` for each word.
        num_converted: Tags spelt differently in the scheme they came from.
        num_repaired: Tags that broke the rules of their scheme, such as an IOB2 `I-PER` after `O`, read as
            `B-PER`.
    """

    tags: list[str]
    num_converted: int
    num_repaired: int


def is_tag(text: str) -> bool:
    """True for `O` and for a prefix with a type, such as `B-PER`."""
    return text == OUTSIDE or (len(text) > 2 and _PREFIXED.fullmatch(text) is not None)


def detect_scheme(sentences: Iterable[Sequence[str]]) -> TagScheme:
    """The scheme of a whole corpus, from the tags of its sentences.

    Whether tags are IOB1, IOB2 or IO decides which ones count as repaired, never which entities are read.

    Raises:
        TagError: If most tags have no prefix, and `O` is not the commonest or some spell a prefix otherwise.
    """
    counts: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    num_adjacent = 0
    for tags in sentences:
        counts.update(tags)
        previous = OUTSIDE
        for tag in tags:
            if tag != OUTSIDE:
                num_adjacent += tag == previous
                # A new type or the word after an O: here IOB1 writes I- and IOB2 writes B-.
                begun[tag[:1]] += previous == OUTSIDE or previous[1:] != tag[1:]
            previous = tag
    letters = {tag[0] for tag in counts if tag != OUTSIDE and _PREFIXED.fullmatch(tag)}
    num_prefixed = sum(count for tag, count in counts.items() if _PREFIXED.fullmatch(tag))
    num_bare = counts.total() - num_prefixed - counts[OUTSIDE]
    if num_bare > num_prefixed:
        _check_bare(counts)
        return TagScheme.BARE_RUNS if num_adjacent > _ADJACENT_BY_CHANCE * num_bare else TagScheme.BARE_WORDS
    if letters & set("ES"):
        return TagScheme.BIOES
    if letters & set("LU"):
        return TagScheme.BILOU
    if letters == {"I"}:
        return TagScheme.IO
    return TagScheme.IOB1 if begun["I"] > begun["B"] else TagScheme.IOB2


def _check_bare(counts: Counter[str]) -> None:
    for tag in counts:
        if _PREFIXED.fullmatch(tag) or _OTHERWISE_PREFIXED.fullmatch(tag):
            raise TagError(tag, f"tag {tag!r} has no prefix as in B-TYPE; rewrite it, or set tag_scheme")
    commonest, count = counts.most_common(1)[0]
    if counts[OUTSIDE] < count:
        raise TagError(
            commonest,
            f"{commonest!r} is the commonest tag ({count:,} times, O {counts[OUTSIDE]:,} times), so these "
            "are hardly entities; choose the tags with columns, or set tag_scheme to bare-runs or bare-words",
        )


def to_iob2(tags: Sequence[str], scheme: TagScheme) -> Iob2Tags:
    """One sentence's tags in IOB2; an entity never crosses a sentence.

    Raises:
        TagError: If a tag has no type, or a prefix that `scheme` does not have.
    """
    result: list[str] = []
    num_converted = num_repaired = 0
    open_type: str | None = None
    for tag in tags:
        prefix, entity_type = _split(tag, scheme)
        if prefix == OUTSIDE:
            open_type = None
            result.append(OUTSIDE)
            continue
        begins = prefix in "BSU" or entity_type != open_type
        new = ("B-" if begins else "I-") + entity_type
        if begins and prefix not in "BSU" and scheme in _REPAIRING:
            num_repaired += 1
        else:
            num_converted += new != tag
        open_type = None if prefix in "ESLU" else entity_type
        result.append(new)
    return Iob2Tags(result, num_converted, num_repaired)


def _split(tag: str, scheme: TagScheme) -> tuple[str, str]:
    """The prefix and the type of a tag; a bare type is an `I` where runs count and an `S` where words do."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if tag and not scheme.prefixes:
        return "I" if scheme is TagScheme.BARE_RUNS else "S", tag
    prefix, _, entity_type = tag.partition("-")
    if len(prefix) != 1 or prefix not in scheme.prefixes:
        allowed = ", ".join(f"{letter}-TYPE" for letter in scheme.prefixes) or "TYPE"
        raise TagError(tag, f"tag {tag!r} is not {scheme.value}: expected O, {allowed}")
    if not entity_type:
        raise TagError(tag, f"tag {tag!r} has no type: expected {prefix}-TYPE")
    return prefix, entity_type
