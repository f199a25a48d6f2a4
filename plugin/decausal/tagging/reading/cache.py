"""What was read once, kept where `datasets` keeps its caches, until the data, the request or this code changes."""

import hashlib
import json
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import datasets
import tokenizers
from datasets.fingerprint import Hasher, get_temporary_cache_files_directory

from decausal._errors import DataError
from decausal.tagging.reading.corpus import ReadReport

_PACKAGE = Path(__file__).parents[2]
_SENTENCES, _REPORT = "sentences.arrow", "report.json"


def fingerprint(*parts: object) -> str:
    """The name of what the present code makes of these parts; what other code or other parts make has another."""
    return str(Hasher.hash((_digest_code(), datasets.__version__, tokenizers.__version__, parts)))


def digest(path: Path) -> str:
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


def read_once(name: str, key: str, write: Callable[[Path], ReadReport]) -> tuple[datasets.Dataset, ReadReport]:
    """Sentences that lie on disk as Arrow, and the account of them.

    Where the caches of `datasets` are disabled, they are read anew, and deleted when the program ends.

    Args:
        name: The source, as the account is to name it.
        key: From `fingerprint`.
        write: Reads the sentences into a new file, if none has that key.

    Raises:
        DataError: What `write` raises, or if the cache cannot be written.
    """
    root = Path(datasets.config.HF_DATASETS_CACHE, "decausal")
    if not datasets.is_caching_enabled():
        root, key = Path(get_temporary_cache_files_directory()), uuid.uuid4().hex
    entry = root / key
    if not entry.is_dir():
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as directory:
                made = Path(directory, key)
                made.mkdir()
                report = write(made / _SENTENCES)
                (made / _REPORT).write_text(json.dumps(asdict(report)), encoding="utf-8")
                _publish(made, entry)
        except OSError as error:
            raise DataError(
                f"{name}: cannot be kept in {root}: {error.strerror}; set HF_DATASETS_CACHE to another directory"
            ) from error
    report = ReadReport(**json.loads((entry / _REPORT).read_text(encoding="utf-8")))
    return datasets.Dataset.from_file(str(entry / _SENTENCES)), replace(report, source=name)


def _publish(made: Path, entry: Path) -> None:
    """Moves a directory at once, so that no other process finds half of it; one that was faster has made the same."""
    try:
        made.rename(entry)
    except OSError:
        if not entry.is_dir():
            raise


@cache
def _digest_code() -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py")))).hexdigest()
