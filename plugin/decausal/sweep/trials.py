"""The trials of a study: which there are, and what has become of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from decausal.sweep.outcome import Outcome, Setting
from decausal.sweep.space import Space, name_setting

SETTING, OUTCOME, ERROR, LOG, WORKER = "setting", "outcome", "error", "log", "worker"
"""What a trial's `user_attrs` hold."""
INTERRUPTED, SURPLUS = "interrupted", "surplus"
_MOST_DEATHS = 3


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
ENDED: tuple[Kind, ...] = ("done", "pruned", "failed")


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


def last_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The last trial of each setting, surplus ones left out."""
    return [trials[-1] for trials in _by_setting(study).values()]


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
        again: queue those that failed, too.
    """
    found = _by_setting(study)
    for setting in settings:
        trials = found.get(name_setting(setting))
        if not trials or _is_left(trials) or (again and kind_of(trials[-1]) in ("failed", "died")):
            study.enqueue_trial(space.parameters(setting), user_attrs={SETTING: setting})


def twin_of(study: optuna.Study, number: int, setting: Setting) -> FrozenTrial | None:
    """The earlier trial of the same setting that was not left: two workers may queue, or draw, the same."""
    for trial in trials_of(study):
        is_alive = kind_of(trial) in ("done", "pruned", "running", "waiting")
        if is_alive and trial.number < number and _key(trial) == name_setting(setting):
            return trial
    return None


def _by_setting(study: optuna.Study) -> dict[str, list[FrozenTrial]]:
    """The trials of each setting in their order, surplus ones left out."""
    found: dict[str, list[FrozenTrial]] = {}
    for trial in trials_of(study):
        if kind_of(trial) != "surplus":
            found.setdefault(_key(trial), []).append(trial)
    return found


def _key(trial: FrozenTrial) -> str:
    return name_setting(trial.user_attrs[SETTING])


def _is_left(trials: Sequence[FrozenTrial]) -> bool:
    return kind_of(trials[-1]) in ("died", "interrupted") and not _is_given_up(trials)


def _is_given_up(trials: Sequence[FrozenTrial]) -> bool:
    return kind_of(trials[-1]) == "died" and sum(kind_of(trial) == "died" for trial in trials) >= _MOST_DEATHS
