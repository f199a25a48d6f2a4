"""Heads of words, from files that have them in a column beside the tags."""

from collections import Counter
from collections.abc import Iterator, Sequence

from decausal._errors import DataError
from decausal.tagging.reading import conll
from decausal.tagging.reading.files import FileFormat, PathLike, detect_format, find_files
from decausal.tagging.reading.source import Lines, Source

_IN_COLUMNS = (FileFormat.CONLL, FileFormat.CONLLU)


def read_heads(
    source: PathLike | Sequence[PathLike],
    column: int,
    *,
    file_format: str | None = None,
    separator: str | None = None,
) -> Iterator[list[int | None]]:
    """The heads of each sentence, in the order in which `read_sentences` reads the sentences.

    Args:
        source: As for `read_sentences`.
        column: Where the heads are, from 0 (6 in CoNLL-U) or from the end: words by their number in the sentence,
            from 1, and 0 for a root.
        file_format: As for `read_sentences`.
        separator: As for `read_sentences`.

    Yields:
        For each word the index of its head, from 0; None for a root.

    Raises:
        DataError: If a file has no columns, or a field of the column is no such number, naming the line.
    """
    chosen = FileFormat(file_format) if file_format else None
    for path in find_files(source):
        text = Source.read(Lines(path))
        found_format = chosen or detect_format(text)
        if found_format not in _IN_COLUMNS:
            raise DataError(f"{text.name}: heads are read from columns, and this is {found_format.value}; parse it")
        with_ids = found_format is FileFormat.CONLLU
        for rows in conll.read_rows(text, separator=separator, with_ids=with_ids, skipped=Counter()):
            if with_ids:
                _check_ids(rows, text)
            yield _to_heads(rows, column, text)


def _check_ids(rows: Sequence[conll.Row], source: Source) -> None:
    """Heads name words by their numbers, which must thus be those that the words have by their order."""
    for expected, (number, fields) in enumerate(rows, 1):
        if int(fields[0]) != expected:
            raise source.error(number, f"expected the word with the number {expected}, which heads refer to")


def _to_heads(rows: Sequence[conll.Row], column: int, source: Source) -> list[int | None]:
    heads: list[int | None] = []
    fields = conll.pick_words(rows, column, source)
    for own, (field, (number, _)) in enumerate(zip(fields, rows, strict=True), 1):
        if not field.isdecimal() or int(field) > len(rows) or int(field) == own:
            expected = f"0 for a root or the number of another of the {len(rows)} words"
            raise source.error(
                number, f"expected in column {column} the head of word {own}, {expected}, found {field!r}"
            )
        heads.append(int(field) - 1 if int(field) else None)
    return heads
