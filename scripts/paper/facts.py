"""What decides a run, kept beside it, so that another run is not taken for it."""

import json
from pathlib import Path

from decausal._errors import DataError
from decausal.tagging.reading.cache import hash_file
from decausal.tagging.reading.files import find_files
from paper.scale import Fields

FILES = ("train_file", "validation_file", "test_file")


def hold(path: Path, facts: Fields, is_begun: bool) -> None:
    """Hold facts against those that a file has of when the run began; write them where it is not begun.

    Args:
        path: of the file.
        facts: fields; of files that they name not the paths but the content is compared.
        is_begun: whether there is something of the run yet.

    Raises:
        ValueError: the two differ.
    """
    files = [file for name in FILES if name in facts for file in find_files(str(facts[name]))]
    kept = {name: value for name, value in facts.items() if name not in FILES}
    kept |= {"files (SHA-256)": [hash_file(file) for file in files]}
    found = json.loads(json.dumps(kept, default=str))
    saved = json.loads(path.read_text(encoding="utf-8")) if is_begun and path.is_file() else found
    for name in {**saved, **found}:
        if saved.get(name) != found.get(name):
            raise ValueError(
                f"{path}: this was begun with {name}={saved.get(name)}, and now it is {found.get(name)}: give another "
                f"--output_dir."
            )
    write(path, found)


def write(path: Path, facts: Fields) -> None:
    """Write facts as JSON, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(json.dumps(facts, indent=1, default=str) + "\n", encoding="utf-8")
    unfinished.replace(path)


def within(directory: Path, fields: Fields) -> Fields:
    """Fields whose files are in a directory."""
    return {name: str(directory / value) if name in FILES else value for name, value in fields.items()}


def check_files(place: str, fields: Fields) -> None:
    """Look whether there is what fields name.

    Raises:
        ValueError: a file is not there.
    """
    for file in (str(fields[name]) for name in FILES if name in fields):
        try:
            is_there = all(path.exists() for path in find_files(file))
        except DataError:
            is_there = False
        if not is_there:
            raise ValueError(f"{place}: {file} is not there; the scale's YAML says what data holds.")
