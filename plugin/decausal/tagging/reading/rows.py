"""Records from the rows of a `datasets.Dataset`: on disk, in a Parquet file or by a loading name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import pyarrow.parquet

from decausal._errors import DataError
from decausal.tagging.reading.records import Record, find_keys
from decausal.tagging.reading.source import Lines, Source


def is_saved_dataset(path: Path) -> bool:
    """True for a directory that `save_to_disk` wrote."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def find_saved_files(path: Path) -> list[Path]:
    """All files below a directory that `save_to_disk` wrote; none for any other."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if is_saved_dataset(path) else []


def load_split(name: str, config_name: str | None, split: str | None) -> datasets.Dataset:
    """One split of a data set, from a directory that `save_to_disk` wrote or through `datasets.load_dataset`.

    Raises:
        DataError: If it cannot be loaded, or if `split` does not choose one of its splits.
    """
    names = split_names(name, config_name)
    if split is None and len(names) == 1:
        (split,) = names
    if split not in names:
        asked = f"split={split!r}" if split else "no split is chosen (dataset_name takes them all)"
        raise DataError(f"{name}: {asked}: expected one of {', '.join(names)}")
    with _loading(name):
        if not is_saved_dataset(Path(name)):
            return datasets.load_dataset(name, config_name, split=split)
        loaded = datasets.load_from_disk(name)
    return loaded[split] if isinstance(loaded, dict) else loaded


def split_names(name: str, config_name: str | None) -> list[str]:
    """The splits that a data set has; one that was saved without any is `train`.

    Raises:
        DataError: If it cannot be loaded.
    """
    with _loading(name):
        if not is_saved_dataset(Path(name)):
            return list(datasets.get_dataset_split_names(name, config_name))
        loaded = datasets.load_from_disk(name)
    return list(loaded) if isinstance(loaded, dict) else ["train"]


@contextmanager
def _loading(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{name}: cannot be loaded as a data set: {error}") from error


def read_parquet(file: Lines) -> datasets.Dataset:
    """A Parquet file as a data set in memory, in Arrow's own form.

    Raises:
        DataError: If it is no Parquet file.
    """
    try:
        table = pyarrow.parquet.read_table(file.path)
    except (OSError, ValueError) as error:
        raise DataError(f"{file.name}: cannot be read as Parquet: {error}") from error
    features = datasets.Features.from_arrow_schema(table.schema)
    return datasets.Dataset(datasets.table.InMemoryTable(table.cast(features.arrow_schema)))


def read_rows(dataset: datasets.Dataset, columns: str | None, source: Source) -> Iterator[tuple[int, Record]]:
    """Each row with its one-based number, reduced to the columns in use and with class labels as names.

    Raises:
        DataError: If the columns are not there, or a class label has no such number.
    """
    keys = find_keys(dataset.features, columns, 1, source)
    label = getattr(dataset.features[keys[1]], "feature", None)
    for number, row in enumerate(dataset.with_format(None).select_columns(list(keys)), 1):
        if isinstance(label, datasets.ClassLabel):
            try:
                row[keys[1]] = label.int2str(row[keys[1]])
            except (TypeError, ValueError) as error:
                raise source.error(number, f"{keys[1]}: {error}; its labels are {label.names}") from error
        yield number, row
