"""What was read once, kept where `datasets` keeps its caches, until the data, the request or this code changes."""

import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import datasets
import regex
import tokenizers
from datasets.fingerprint import Hasher, get_temporary_cache_files_directory

from decausal._errors import DataError
from decausal.tagging.reading.corpus import ReadReport

_PACKAGE = Path(__file__).parents[2]
_SENTENCES, _REPORT = "sentences.arrow", "report.json"


def make_key(*parts: object) -> str:
    """The name of what the present code makes of these parts; what other code or other parts make has another."""
    return str(Hasher.hash((_hash_code(), datasets.__version__, regex.__version__, tokenizers.__version__, parts)))


def key_of(dataset: datasets.Dataset) -> str:
    """What tells a data set from all others, as `datasets` itself sees it."""
    return str(dataset._fingerprint)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        DataError: If it cannot be read.
    """
    sha256 = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return sha256.hexdigest()


@contextmanager
def keeping(name: str) -> Iterator[None]:
    """Names the way out where what is kept cannot be written.

    Raises:
        DataError: If the work inside fails for want of room, rights or a process.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # a process of `datasets` that is killed raises a RuntimeError
        raise DataError(
            f"{name}: cannot be kept in {datasets.config.HF_DATASETS_CACHE}: {error}; if the place is to blame, set "
            f"HF_DATASETS_CACHE to another directory"
        ) from error


def read_once(name: str, key: str, write: Callable[[Path], ReadReport]) -> tuple[datasets.Dataset, ReadReport]:
    """Sentences that lie on disk as Arrow, and the account of them.

    Where the caches of `datasets` are disabled, they are read anew, and deleted when the program ends.

    Args:
        name: The source, as the account is to name it.
        key: From `make_key`.
        write: Reads the sentences into a new file, if none has that key.

    Raises:
        DataError: What `write` raises, or if the cache cannot be written.
    """
    root = Path(datasets.config.HF_DATASETS_CACHE, "decausal")
    if not datasets.is_caching_enabled():
        root, key = Path(get_temporary_cache_files_directory()), uuid.uuid4().hex
    entry = root / key
    if not _is_whole(entry):
        with keeping(name):
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as directory:
                made = Path(directory, key)
                made.mkdir()
                report = write(made / _SENTENCES)
                (made / _REPORT).write_text(json.dumps(asdict(report)), encoding="utf-8")
                _publish(made, entry)
    report = ReadReport(**json.loads((entry / _REPORT).read_text(encoding="utf-8")))
    return datasets.Dataset.from_file(str(entry / _SENTENCES)), replace(report, source=name)


def _is_whole(entry: Path) -> bool:
    return (entry / _SENTENCES).is_file() and (entry / _REPORT).is_file()


def _publish(made: Path, entry: Path) -> None:
    """Moves a directory at once, so that no other process finds half of it; one that was faster has made the same."""
    if entry.is_dir() and not _is_whole(entry):  # somebody has cleaned up, and left a part
        shutil.rmtree(entry)
    try:
        made.rename(entry)
    except OSError:
        if not _is_whole(entry):
            raise


@cache
def _hash_code() -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py")))).hexdigest()
