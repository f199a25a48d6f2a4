"""A text file that knows how to point at one of its lines, and the sentences read from it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from decausal._errors import DataError

_SHOWN = 80


@dataclass(frozen=True)
class Source:
    """Where sentences come from.

    Attributes:
        name: The path as the user gave it, or the name of a data set.
        lines: The text, one entry a line without its end; empty for a data set.
        unit: What stands between the name and the number of a line or row.
    """

    name: str
    lines: Sequence[str] = field(default=(), repr=False)
    unit: str = ":"

    @classmethod
    def read(cls, path: Path) -> "Source":
        """Read a UTF-8 file, with or without a byte order mark; `-` is the standard input.

        Raises:
            DataError: If the file is missing, empty, binary or in another encoding.
        """
        name = "standard input" if str(path) == "-" else str(path)
        try:
            content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        except OSError as error:
            raise DataError(f"{name}: cannot be read: {error.strerror}") from error
        if not content.strip():
            raise DataError(f"{name}: is empty; there are no words in it")
        if b"\0" in content:
            offset = content.index(b"\0")
            raise DataError(f"{name}: is binary or UTF-16 (a zero byte at offset {offset}); expected UTF-8 text")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"{name}:{line}: is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}; "
                "convert the file, for example with iconv -f latin1 -t utf-8"
            ) from error
        # str.splitlines would also break at characters that may stand inside a word, such as U+0085.
        return cls(name, [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")])

    def error(self, number: int, message: str) -> DataError:
        """An error at a one-based line or row, which shows that line."""
        shown = ""
        if self.lines:
            line = self.lines[number - 1]
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
