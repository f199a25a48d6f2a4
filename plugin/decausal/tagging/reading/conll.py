"""Sentences as lines of columns: CoNLL files, and CoNLL-U-like ones whose first column numbers the words."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import dropwhile, groupby

from decausal.tagging.reading.source import Sentence, Source
from decausal.tagging.tags import OUTSIDE, is_tag

_DOCSTART = "-DOCSTART-"
_BLANKS = " \t"
_ID = re.compile(r"\d+([-.]\d+)?(?=[ \t])")
_FIRST_ID = re.compile(r"(1|1-\d+|0\.1)(?=[ \t])")

Row = tuple[int, list[str]]
"""The one-based number of a line, and its fields."""


def parse_columns(columns: str) -> tuple[int, int]:
    """The word column and the tag column of `"0,-1"`, counted from zero, or from the end where negative."""
    try:
        word_column, tag_column = (int(part) for part in columns.split(","))
    except ValueError:
        raise ValueError(f"columns={columns!r}: expected two numbers, word and tag, such as 0,-1") from None
    return word_column, tag_column


def has_word_ids(lines: Iterable[str]) -> bool:
    """True if the file is CoNLL-U-like: the first word is number 1, and most lines begin with a number.

    Most lines, not all, so that one broken line is reported instead of turning the numbers into words.
    """
    data = (line for line in lines if line.strip(_BLANKS) and not line.startswith("#"))
    if _FIRST_ID.match(next(data, "")) is None:
        return False
    numbered = Counter(_ID.match(line) is not None for line in data)
    return numbered[True] + 1 > numbered[False]


def has_columns(lines: Iterable[str], *, with_ids: bool) -> bool:
    """True if the lines can hardly be sentences, so that taking one field of each loses no word of a text.

    Where tabs divide them, most must end in a tag, or hold a single word after the number. Where blanks do, all must
    end in a tag, with `O` and a `B-` or `I-` among them, most must have equally many fields, and two must be
    neighbours: sentences, too, may begin with numbers or end in "vitamin O".

    Args:
        lines: The text, to be looped over again and again.
        with_ids: As for `read_rows`.
    """
    separator = _find_separator(lines, with_ids)
    num_lines = num_tagged = num_single = longest_block = 0
    lengths: Counter[int] = Counter()
    has_outside = has_prefix = False
    for block in _blocks(lines, with_ids, Counter()):
        longest_block = max(longest_block, len(block))
        for _, line in block:
            fields = _split(line, separator)
            num_lines += 1
            lengths[len(fields)] += 1
            if len(fields) > 1:
                num_tagged += is_tag(fields[-1])
                num_single += " " not in fields[1].strip()
                has_outside = has_outside or fields[-1] == OUTSIDE
                has_prefix = has_prefix or (is_tag(fields[-1]) and fields[-1].startswith(("B-", "I-")))
    if separator:
        return 2 * (num_single if with_ids else num_tagged) > num_lines
    if not num_lines or num_tagged < num_lines:
        return False
    return has_outside and has_prefix and 2 * max(lengths.values()) > num_lines and longest_block > 1


def read_rows(source: Source, *, separator: str | None, with_ids: bool, skipped: Counter[str]) -> Iterator[list[Row]]:
    """The words of each sentence, as rows of equally many fields.

    Args:
        source: The file; blank lines and `-DOCSTART-` lines divide its sentences.
        separator: What divides the fields; by default a TAB if most lines hold one, otherwise any blanks.
        with_ids: Whether the first column numbers the words. Then lines of `#` before a sentence are
            comments, and multiword ranges (`1-2`) and empty nodes (`1.1`) are no words. Without ids `#` is a
            word like any other, unless every sentence opens with a line of `# ` and three or more fields, the
            last of them no tag.
        skipped: Counts what is passed over.

    Raises:
        DataError: If a line has more or fewer fields than the first one, or lacks its number.
    """
    separator = separator or _find_separator(source.lines, with_ids)
    first: Row | None = None
    for block in _blocks(source.lines, with_ids, skipped):
        rows: list[Row] = []
        for number, line in block:
            fields = _split(line, separator)
            first = first or (number, fields)
            if len(fields) != len(first[1]):
                raise source.error(
                    number, f"expected {len(first[1])} columns as in line {first[0]}, found {len(fields)}"
                )
            if with_ids and not fields[0].isdecimal():
                if not _ID.match(f"{fields[0]}\t"):
                    raise source.error(number, "expected the number of a word in the first column")
                skipped["multiword ranges and empty nodes"] += 1
                continue
            rows.append((number, fields))
        if rows:
            yield rows


def split_at_blanks(line: str) -> list[str]:
    """What stands between spaces and tabs; nothing in a blank line."""
    # str.split() would also divide at blanks that may stand inside a word, such as U+00A0 and U+3000.
    return re.findall(r"[^ \t]+", line)


def _split(line: str, separator: str | None) -> list[str]:
    return line.split(separator) if separator else split_at_blanks(line)


def _find_separator(lines: Iterable[str], with_ids: bool) -> str | None:
    has_tab = Counter("\t" in line for block in _blocks(lines, with_ids, Counter()) for _, line in block)
    return "\t" if has_tab[True] > has_tab[False] else None


def _blocks(lines: Iterable[str], with_ids: bool, skipped: Counter[str]) -> Iterator[list[tuple[int, str]]]:
    """The numbered lines of each sentence, without the comments before it."""
    have_comments = with_ids or all(_is_header(block[0][1]) for block in _paragraphs(lines, Counter()))
    for block in _paragraphs(lines, skipped):
        data = list(dropwhile(_is_comment, block)) if have_comments else block
        skipped["comment lines"] += len(block) - len(data)
        if data:
            yield data


def _paragraphs(lines: Iterable[str], skipped: Counter[str]) -> Iterator[list[tuple[int, str]]]:
    """The numbered lines between breaks."""
    for kind, numbered in groupby(enumerate(lines, 1), _kind):
        if kind == "words":
            yield list(numbered)
        else:
            skipped[f"{_DOCSTART} lines"] += sum(line.startswith(_DOCSTART) for _, line in numbered)


def _is_comment(numbered_line: tuple[int, str]) -> bool:
    return numbered_line[1].startswith("#")


def _kind(numbered_line: tuple[int, str]) -> str:
    _, line = numbered_line
    return "break" if not line.strip(_BLANKS) or line.startswith(_DOCSTART) else "words"


def _is_header(line: str) -> bool:
    fields = line.split()
    return line.startswith("# ") and len(fields) >= 3 and not is_tag(fields[-1])


def pick_words(rows: Sequence[Row], column: int, source: Source) -> list[str]:
    """One field of every row, none of them empty.

    Raises:
        DataError: If a row has no such column, or nothing in it.
    """
    picked = []
    for number, fields in rows:
        if not -len(fields) <= column < len(fields):
            raise source.error(number, f"expected a column {column}, found {len(fields)} columns counted from 0")
        if not fields[column]:
            raise source.error(number, f"column {column} is empty; expected a word or a tag")
        picked.append(fields[column])
    return picked


def to_sentence(rows: Sequence[Row], columns: tuple[int, int], source: Source) -> Sentence:
    """The word and the tag of every row.

    Raises:
        DataError: As `pick_words`, and if both columns are one and the same.
    """
    words, tags = (pick_words(rows, column, source) for column in columns)
    number, fields = rows[0]
    if columns[0] % len(fields) == columns[1] % len(fields):
        raise source.error(
            number, f"expected a word and a tag in columns {columns[0]} and {columns[1]}, found one column"
        )
    return Sentence(words, tags, source, [number for number, _ in rows])
