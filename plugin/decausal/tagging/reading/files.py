"""Which files a source names, and what format each is in."""

import glob
import re
from collections.abc import Sequence
from enum import Enum
from itertools import islice
from pathlib import Path

from decausal._errors import DataError
from decausal.tagging.reading.conll import has_columns, has_word_ids
from decausal.tagging.reading.maven import is_document
from decausal.tagging.reading.source import Source

PathLike = str | Path

_ARRAY = re.compile(r"\s*\[\s*\{")
_JSON = re.compile(r'\s*\{\s*"')
_XML = re.compile(r"\s*<(\?xml|sentences)\b")
_COLUMN_SUFFIXES = {".conll", ".conllu", ".iob", ".iob2", ".bio", ".tsv"}


class FileFormat(str, Enum):
    """How a file lays out its sentences."""

    CONLL = "conll"
    """One word a line in columns, a blank line after every sentence."""
    CONLLU = "conllu"
    """The same with a first column that numbers the words, and comments."""
    JSONL = "jsonl"
    """One JSON object a line."""
    SEMEVAL = "semeval"
    """SemEval-2014 aspect XML."""
    ACE = "ace"
    """ACE 2005 as preprocessed by nlpcl-lab/ace2005-preprocessing: a JSON array."""
    MAVEN = "maven"
    """MAVEN: one JSON object a line, each a document."""
    PARQUET = "parquet"
    """Rows as `datasets` writes them."""
    WORDS = "words"
    """One sentence a line, blanks between its words; for prediction only."""
    TEXT = "text"
    """One sentence a line, still to be cut into words; for prediction only."""

    @classmethod
    def _missing_(cls, value: object) -> "FileFormat":
        raise ValueError(f"file_format={value!r}: expected one of {', '.join(known.value for known in cls)}")


def find_files(source: PathLike | Sequence[PathLike]) -> list[Path]:
    """The files of a path, a directory, a pattern such as `data/*.tsv`, or several of these, sorted in each.

    Of a directory, hidden files, READMEs and licences are left out, and so are its subdirectories.

    Raises:
        DataError: If there is no such file.
    """
    if not isinstance(source, str | Path):
        return [path for part in source for path in find_files(part)]
    path = Path(source)
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.is_file() and _is_data(entry.name))
    elif glob.has_magic(str(source)) and not path.exists():
        files = sorted(Path(name) for name in glob.glob(str(source), recursive=True) if Path(name).is_file())
    else:
        return [path]
    if not files:
        raise DataError(f"{source}: holds no file of annotated text")
    return files


def _is_data(name: str) -> bool:
    return not name.startswith(".") and not name.upper().startswith(("README", "LICENSE", "LICENCE"))


def detect_format(source: Source) -> FileFormat:
    """The format of an annotated file, from its suffix or else from its content."""
    suffix = Path(source.name).suffix.lower()
    first = list(islice((line for line in source.lines if line.strip()), 2))
    opening = first[0] if first else ""
    if _ARRAY.match("".join(first)) or (suffix == ".json" and opening.lstrip().startswith("[")):
        return FileFormat.ACE
    if suffix in {".jsonl", ".ndjson", ".json"} or _JSON.match(opening):
        return FileFormat.MAVEN if is_document(opening) else FileFormat.JSONL
    if suffix == ".xml" or _XML.match(opening):
        return FileFormat.SEMEVAL
    return FileFormat.CONLLU if has_word_ids(source.lines) else FileFormat.CONLL


def detect_input_format(source: Source) -> FileFormat:
    """The format of a file to predict on: as `detect_format`, but one sentence a line unless it must be columns."""
    file_format = detect_format(source)
    if file_format not in (FileFormat.CONLL, FileFormat.CONLLU):
        return file_format
    in_columns = Path(source.name).suffix.lower() in _COLUMN_SUFFIXES or has_columns(
        source.lines, with_ids=file_format is FileFormat.CONLLU
    )
    return file_format if in_columns else FileFormat.WORDS
