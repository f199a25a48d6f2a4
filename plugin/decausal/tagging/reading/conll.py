"""Sentences as lines of columns: CoNLL files, and CoNLL-U-like ones whose first column numbers the words."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from decausal.tagging.reading.source import Sentence, Source
from decausal.tagging.tags import is_tag

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


def has_word_ids(lines: Sequence[str]) -> bool:
    """True if the file is CoNLL-U-like: the first word is number 1, and most lines begin with a number.

    Most lines, not all, so that one broken line is reported instead of turning the numbers into words.
    """
    data = [line for line in lines if line.strip(_BLANKS) and not line.startswith("#")]
    numbered = sum(_ID.match(line) is not None for line in data)
    return bool(data) and _FIRST_ID.match(data[0]) is not None and 2 * numbered > len(data)


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
    blocks = [list(block) for kind, block in groupby(enumerate(source.lines, 1), _kind) if kind == "words"]
    skipped[f"{_DOCSTART} lines"] += sum(line.startswith(_DOCSTART) for line in source.lines)
    num_tabbed = sum("\t" in line for block in blocks for _, line in block)
    if separator is None and 2 * num_tabbed > sum(map(len, blocks)):
        separator = "\t"
    with_comments = with_ids or all(_is_header(block[0][1]) for block in blocks)
    first: Row | None = None
    for block in blocks:
        rows: list[Row] = []
        for number, line in block:
            if with_comments and not rows and line.startswith("#"):
                skipped["comment lines"] += 1
                continue
            # str.split() would also divide at blanks that may stand inside a word, such as U+00A0 and U+3000.
            fields = line.split(separator) if separator else re.split(r"[ \t]+", line.strip(_BLANKS))
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
