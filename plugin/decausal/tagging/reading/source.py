"""A text file that knows how to point at one of its lines, and the sentences read from it."""

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

from decausal._errors import DataError

_SHOWN = 80


class Lines(Iterable[str]):
    """The lines of a UTF-8 file without their ends, read anew by every loop: a file may be larger than memory.

    Args:
        path: Of the file.
        file: Kept open as long as this is, for a file that is deleted when it is closed.
    """

    def __init__(self, path: Path, file: IO[bytes] | None = None) -> None:
        self.path = path
        self.file = file

    def __iter__(self) -> Iterator[str]:
        # The text file would by default also end lines at a lone \r; str.splitlines even at U+0085, inside of words.
        with self.path.open(encoding="utf-8-sig", newline="\n") as file:
            for line in file:
                yield line.removesuffix("\n").removesuffix("\r")


@dataclass(frozen=True)
class Source:
    """Where sentences come from.

    Attributes:
        name: The path as the user gave it, or the name of a data set.
        lines: The text, one entry a line without its end, to be looped over again and again; empty for a data set.
        unit: What stands between the name and the number of a line or row.
    """

    name: str
    lines: Iterable[str] = field(default=(), repr=False)
    unit: str = ":"

    @classmethod
    def read(cls, path: Path) -> "Source":
        """Read a UTF-8 file, with or without a byte order mark; `-` is the standard input.

        Raises:
            DataError: If the file is missing, empty, binary or in another encoding.
        """
        name = "standard input" if str(path) == "-" else str(path)
        try:
            lines = _spool(sys.stdin.buffer) if str(path) == "-" else Lines(path)
            _check(name, lines.path)
        except OSError as error:
            raise DataError(f"{name}: cannot be read: {error.strerror}") from error
        return cls(name, lines)

    def error(self, number: int, message: str) -> DataError:
        """An error at a one-based line or row, which shows that line."""
        shown = ""
        for line in islice(self.lines, number - 1, number):
            shown = f"; the line is {line[:_SHOWN]!r}{'...' if len(line) > _SHOWN else ''}"
        return DataError(f"{self.name}{self.unit}{number}: {message}{shown}")


@dataclass(frozen=True)
class Sentence:
    """One sentence as its file has it.

    Attributes:
        words: The words.
        tags: One tag for each word, in the scheme of the file.
        source: The file.
        numbers: The one-based line or row of each word.
        dropped: A message for each span that tags cannot express; `None` where the file has tags, not spans.
    """

    words: list[str]
    tags: list[str]
    source: Source
    numbers: Sequence[int]
    dropped: list[str] | None = None

    @property
    def is_spans(self) -> bool:
        """Whether the file has spans, from which the tags were made, as IOB2."""
        return self.dropped is not None


def _spool(stream: IO[bytes]) -> Lines:
    """What can be read but once, as lines that can be looped over again."""
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 (deleted with the lines)
    shutil.copyfileobj(stream, file)
    file.flush()
    return Lines(Path(file.name), file)


def _check(name: str, path: Path) -> None:
    """Refuses what is no UTF-8 text.

    Raises:
        DataError: If the file is empty, binary or in another encoding, with the place.
        OSError: If it cannot be read.
    """
    offset, is_empty = 0, True
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if b"\0" in line:
                place = offset + line.index(b"\0")
                raise DataError(f"{name}: is binary or UTF-16 (a zero byte at offset {place}); expected UTF-8 text")
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{name}:{number}: is not UTF-8: byte 0x{line[error.start]:02x} at offset {offset + error.start}; "
                    "convert the file, for example with iconv -f latin1 -t utf-8"
                ) from error
            is_empty = is_empty and not line.strip()
            offset += len(line)
    if is_empty:
        raise DataError(f"{name}: is empty; there are no words in it")
