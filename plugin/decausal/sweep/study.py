"""The study of a sweep: which trials there are, who runs them, and what has become of each."""

import os
import socket
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from decausal.sweep.outcome import Outcome, Setting
from decausal.sweep.space import Space, name_setting

SETTING, OUTCOME, ERROR, LOG, WORKER = "setting", "outcome", "error", "log", "worker"
"""What a trial's `user_attrs` hold."""
INTERRUPTED, SURPLUS = "interrupted", "surplus"
HEARTBEAT_SECONDS = 10
_HEARTBEATS_MISSED = 6
"""After so many a worker is taken for dead."""
_MOST_DEATHS = 3
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
    pruner = pruner or optuna.pruners.NopPruner()
    if not create:
        try:
            return optuna.load_study(study_name=name, storage=database)
        except KeyError:
            there = ", ".join(optuna.get_all_study_names(database)) or "none"
            raise ValueError(
                f"study={name!r}: {_without_password(storage)} has no such study; it has {there}."
            ) from None
    for _ in range(_TRIES):
        try:
            return optuna.create_study(
                storage=database, study_name=name, direction="maximize", sampler=sampler, pruner=pruner,
                load_if_exists=True,
            )  # fmt: skip
        except (DuplicatedStudyError, SQLAlchemyError):  # another worker has made it meanwhile
            time.sleep(1)
    return optuna.load_study(study_name=name, storage=database, sampler=sampler, pruner=pruner)


def _open_storage(url: str, heartbeat_seconds: int) -> RDBStorage:
    arguments = {"connect_args": {"timeout": _SQLITE_WAIT_SECONDS}} if url.startswith("sqlite") else {}
    for attempt in range(_TRIES):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return RDBStorage(
                    url,
                    engine_kwargs=arguments,
                    heartbeat_interval=heartbeat_seconds,
                    grace_period=_HEARTBEATS_MISSED * heartbeat_seconds,
                )
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise ValueError(f"storage={_without_password(url)}: {str(error).splitlines()[0]}") from error
        except SQLAlchemyError as error:  # two workers may be making the tables at once
            if attempt == _TRIES - 1:
                raise ValueError(
                    f"storage={_without_password(url)} cannot be used: {str(error).splitlines()[0]}"
                ) from error
            time.sleep(1)
    raise AssertionError


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string()
    except ArgumentError:
        return repr(url)


def name_worker() -> str:
    """This process among all that work on a study."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True)
class Failure:
    """A trial that ended with an error.

    Attributes:
        setting: what tells it from others.
        error: what the run said.
        log: the file with everything that it printed.
    """

    setting: Setting
    error: str
    log: str


Kind = Literal["done", "pruned", "failed", "running", "waiting", "died", "interrupted", "surplus"]


def kind_of(trial: FrozenTrial) -> Kind:
    """What has become of a trial.

    A trial that failed without an error was left by a worker that died, or that was interrupted.
    """
    if SURPLUS in trial.user_attrs:
        return "surplus"
    if trial.state == TrialState.FAIL:
        return "failed" if ERROR in trial.user_attrs else "interrupted" if INTERRUPTED in trial.user_attrs else "died"
    names: dict[TrialState, Kind] = {
        TrialState.COMPLETE: "done",
        TrialState.PRUNED: "pruned",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }
    return names[trial.state]


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """All trials that know their setting, in their order."""
    return [trial for trial in study.get_trials(deepcopy=False) if SETTING in trial.user_attrs]


def outcomes_of(study: optuna.Study) -> list[Outcome]:
    """The outcomes of all finished trials, one a setting."""
    done = {_key(trial): trial.user_attrs[OUTCOME] for trial in trials_of(study) if kind_of(trial) == "done"}
    return [Outcome.of(facts) for facts in done.values()]


def failures_of(study: optuna.Study) -> list[Failure]:
    """The settings whose last trial failed, or was left by too many workers that died."""
    failed = []
    for trials in _by_setting(study).values():
        last = trials[-1]
        facts = last.user_attrs
        if kind_of(last) == "failed":
            failed.append(Failure(facts[SETTING], facts[ERROR], facts.get(LOG, "")))
        elif _is_given_up(trials):
            error = f"{_MOST_DEATHS} workers died while they ran it, the last one {facts.get(WORKER, 'unknown')}"
            failed.append(Failure(facts[SETTING], error, facts.get(LOG, "")))
    return failed


def queue(study: optuna.Study, space: Space, settings: Iterable[Setting], *, again: bool = False) -> None:
    """Queue every setting that is neither done, nor pruned, failed, running or queued.

    That includes those that a worker has left, by dying or being interrupted.

    Args:
        study: of the sweep.
        space: knows a setting as parameters.
        settings: those that are wanted.
        again: queue those that failed as well.
    """
    found = _by_setting(study)
    for setting in settings:
        trials = found.get(name_setting(setting), [])
        last = kind_of(trials[-1]) if trials else "interrupted"
        if last == "interrupted" or (last == "died" and not _is_given_up(trials)) or (last == "failed" and again):
            study.enqueue_trial(space.parameters(setting), user_attrs={SETTING: setting})


def twin_of(study: optuna.Study, number: int, setting: Setting) -> FrozenTrial | None:
    """The earlier trial of the same setting that was not left: two workers may queue, or draw, the same."""
    for trial in trials_of(study):
        is_alive = kind_of(trial) in ("done", "pruned", "running", "waiting")
        if is_alive and trial.number < number and _key(trial) == name_setting(setting):
            return trial
    return None


def give_up_dead(study: optuna.Study) -> None:
    """End the trials of workers that give no sign of life any more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    # A worker that died between taking a trial and its first heartbeat has none that could be old.
    long_ago = datetime.now() - timedelta(seconds=2 * _HEARTBEATS_MISSED * HEARTBEAT_SECONDS)
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if WORKER not in trial.user_attrs and trial.datetime_start is not None and trial.datetime_start < long_ago:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _by_setting(study: optuna.Study) -> dict[str, list[FrozenTrial]]:
    """The trials of each setting in their order, surplus ones left out."""
    found: dict[str, list[FrozenTrial]] = {}
    for trial in trials_of(study):
        if kind_of(trial) != "surplus":
            found.setdefault(_key(trial), []).append(trial)
    return found


def _key(trial: FrozenTrial) -> str:
    return name_setting(trial.user_attrs[SETTING])


def _is_given_up(trials: Sequence[FrozenTrial]) -> bool:
    return kind_of(trials[-1]) == "died" and sum(kind_of(trial) == "died" for trial in trials) >= _MOST_DEATHS
