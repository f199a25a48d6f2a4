"""A text file that knows how to point at one of its lines, and the sentences read from it."""

import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from decausal._errors import DataError

_SHOWN = 80


class Lines(Iterable[str]):
    """The lines of a UTF-8 file without their ends, read anew by every loop: a file may be larger than memory.

    Args:
        path: Of the file; `-` is the standard input. What can be read but once, such as a pipe, is copied, and the copy
            is deleted with this object.

    Attributes:
        name: What messages call the file.
        path: What is read.

    Raises:
        DataError: If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.name = "standard input" if str(path) == "-" else str(path)
        self.path = path
        if path.is_file():
            return
        directory = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self.path = Path(directory, "copy")
        try:
            stream = nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb")
            with stream as source, self.path.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read: {error.strerror}") from error

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
    def read(cls, lines: Lines) -> "Source":
        """A UTF-8 file, with or without a byte order mark.

        Raises:
            DataError: If the file is empty, binary or in another encoding.
        """
        _check(lines)
        return cls(lines.name, lines)

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


def _check(lines: Lines) -> None:
    """Refuses what is no UTF-8 text, with the place."""
    name, offset, is_empty = lines.name, 0, True
    with lines.path.open("rb") as file:
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
