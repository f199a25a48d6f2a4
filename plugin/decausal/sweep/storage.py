"""Where a study is kept: a file, or a database that many machines share."""

import time
import warnings
from pathlib import Path

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

STUDY_FILE = "study.db"
HEARTBEAT_SECONDS = 10
HEARTBEATS_MISSED = 6
"""After so many a worker is taken for dead."""
_TRIES = 5
_SQLITE_WAIT_SECONDS = 60


def open_study(
    storage: str,
    name: str,
    *,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    create: bool = True,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> optuna.Study:
    """The study of this name, made where there is none.

    Args:
        storage: a URL such as `sqlite:///outputs/ner/study.db` or `postgresql://user@host/database`.
        name: of the study.
        sampler: draws the settings that are not queued.
        pruner: decides which trials are stopped early.
        create: whether a missing study is made.
        heartbeat_seconds: between signs of life; a worker without any for six times as long is taken for dead.

    Raises:
        ValueError: the database cannot be reached, or the study is missing and not to be made.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    database = _open_storage(storage, heartbeat_seconds)
    if not create:
        try:
            return optuna.load_study(study_name=name, storage=database)
        except KeyError:
            there = ", ".join(optuna.get_all_study_names(database)) or "none"
            raise ValueError(
                f"study={name!r}: {without_password(storage)} has no such study; it has {there}."
            ) from None
    for _ in range(_TRIES):
        try:
            return optuna.create_study(
                storage=database,
                study_name=name,
                direction="maximize",
                sampler=sampler,
                pruner=pruner or optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
        except (DuplicatedStudyError, StorageInternalError):  # another worker has made it meanwhile
            time.sleep(1)
    raise ValueError(f"study={name!r} can neither be made nor opened in {without_password(storage)}.")


def locate_study(directory: Path, storage: str | None = None, name: str | None = None) -> tuple[str, str]:
    """The database of a sweep, as a URL, and the name of its study there.

    Args:
        directory: the `output_dir` of the sweep.
        storage: its database; by default a file in the directory.
        name: by default that of the directory, or of the only study in its file: the directory may have been renamed.

    Raises:
        ValueError: the file cannot be read.
    """
    path = directory / STUDY_FILE
    url = storage or f"sqlite:///{path}"
    if storage is None and name is None and path.is_file():
        names = optuna.get_all_study_names(_open_storage(url, HEARTBEAT_SECONDS))
        name = names[0] if len(names) == 1 else None
    return url, name or directory.name


def without_password(url: str) -> str:
    """A database's URL as it may be shown."""
    try:
        return make_url(url).render_as_string()
    except ArgumentError:
        return repr(url)


def _open_storage(url: str, heartbeat_seconds: int) -> RDBStorage:
    settings = {"connect_args": {"timeout": _SQLITE_WAIT_SECONDS}} if url.startswith("sqlite") else {}
    for attempt in range(_TRIES):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return RDBStorage(
                    url,
                    engine_kwargs={"pool_pre_ping": True, **settings},  # a database that was restarted is no error
                    heartbeat_interval=heartbeat_seconds,
                    grace_period=HEARTBEATS_MISSED * heartbeat_seconds,
                )
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise ValueError(f"storage={without_password(url)}: {str(error).splitlines()[0]}") from error
        except (SQLAlchemyError, StorageInternalError) as error:  # two workers may be making the tables at once
            if attempt == _TRIES - 1:
                raise ValueError(
                    f"storage={without_password(url)} cannot be used: {str(error).splitlines()[0]}"
                ) from error
            time.sleep(1)
    raise AssertionError
