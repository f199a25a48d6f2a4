"""One worker of a sweep: takes a trial, runs it, tells what came of it, until there is nothing left to do."""

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import TrialState

from decausal.sweep.outcome import Setting
from decausal.sweep.run import Evaluations, RunFailedError, Runner, holding
from decausal.sweep.space import Space
from decausal.sweep.storage import HEARTBEATS_MISSED
from decausal.sweep.trials import (
    ENDED,
    ERROR,
    INTERRUPTED,
    LOG,
    OUTCOME,
    SETTING,
    SURPLUS,
    WORKER,
    kind_of,
    last_trials,
    queue,
    trials_of,
    twin_of,
)

_POLL_SECONDS = 2.0
_SECONDS_OF_PATIENCE = (1, 5, 15, 30, 60)
_MOST_DRAWS = 10
_T = TypeVar("_T")


class StoppedError(Exception):
    """This worker was asked to stop."""


@dataclass
class Worker:
    """Runs the trials of a study.

    Optuna's own loop is not used: it counts on a thread for signs of life, which one failed write ends for good, and
    cannot tell an interruption from an error.

    Attributes:
        study: of Optuna.
        space: the settings.
        runner: runs one.
        name: tells this worker from others.
        num_trials: how many settings a sampler draws; None where all are run.
        notice: is called whenever something may have changed, with what this worker runs.
        say: is given what is to be told at once.
        stopping: set to have the run save a checkpoint and `work` return.
    """

    study: optuna.Study
    space: Space
    runner: Runner
    name: str
    num_trials: int | None = None
    notice: Callable[[Setting | None, Evaluations], None] = lambda setting, evaluations: None
    say: Callable[[str], None] = lambda text: None
    stopping: bool = False
    _retry_failed: bool = False
    _next_beat: float = 0.0
    _first_seen: dict[int, float] = field(default_factory=dict)

    def work(self, *, retry_failed: bool = False) -> None:
        """Run trials until every setting is done, failed or pruned, whoever runs it, or until asked to stop.

        Args:
            retry_failed: run those again that failed before.
        """
        self._retry_failed = retry_failed
        while not self.stopping and not self._patiently(self._is_over):
            taken = self._patiently(self._take)
            if taken is not None:
                self._run(*taken)
            else:
                self._patiently(lambda: self.notice(None, []))
                time.sleep(_POLL_SECONDS)

    def _is_over(self) -> bool:
        """Queues what is to be run, and says whether nothing is and nobody runs anything."""
        self._give_up_dead()
        drawn = [trial.user_attrs[SETTING] for trial in trials_of(self.study)]
        wanted = self.space.settings() if self.num_trials is None else drawn
        queue(self.study, self.space, wanted, again=self._retry_failed)
        self._retry_failed = False
        kinds = {kind_of(trial) for trial in trials_of(self.study)}
        return not {"running", "waiting"} & kinds and not self._may_draw()

    def _may_draw(self) -> bool:
        """Whether a sampler is to draw one more setting; those drawn before do not count, but not without end."""
        if self.num_trials is None:
            return False
        wanted = min(self.num_trials, len(self.space.settings()))
        begun = sum(kind_of(trial) in (*ENDED, "running") for trial in last_trials(self.study))
        return begun < wanted and len(trials_of(self.study)) < _MOST_DRAWS * wanted

    def _take(self) -> tuple[optuna.Trial, Setting] | None:
        """A trial that is to be run, and its setting; None where there is none."""
        while (trial := self._claim()) is not None:
            queued = trial.user_attrs.get(SETTING)
            if queued is None and self.num_trials is None:
                # On another machine the last one was taken meanwhile, and Optuna has made a new one.
                self.study.tell(trial, state=TrialState.FAIL)
                continue
            setting = self.space.suggest(trial, queued["seed"] if queued else self.space.seeds[0])
            trial.set_user_attr(SETTING, setting)
            if (twin := twin_of(self.study, trial.number, setting)) is None:
                trial.set_user_attr(LOG, str(self.runner.log_of(setting)))
                return trial, setting
            trial.set_user_attr(SURPLUS, True)
            # A sampler learns nothing from a failure.
            self.study.tell(trial, twin.value, TrialState.FAIL if twin.value is None else TrialState.COMPLETE)
        return None

    def _claim(self) -> optuna.Trial | None:
        """A trial for this worker alone, if any is queued or may be drawn."""
        with holding(self.runner.directory / "study.lock"):  # SQLite gives one trial to two who ask at once
            is_queued = any(kind_of(trial) == "waiting" for trial in trials_of(self.study))
            if not is_queued and not self._may_draw():
                return None
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used", UserWarning)
                trial = self.study.ask()
            self._heart.record_heartbeat(trial._trial_id)
            trial.set_user_attr(WORKER, self.name)
        return trial

    def _run(self, trial: optuna.Trial, setting: Setting) -> None:
        told = 0

        def watch(evaluations: Evaluations) -> None:
            nonlocal told
            if self.stopping:
                with suppress(OSError):  # nobody may be looking any more
                    self.say("stopping; the run saves a checkpoint first, for which a second Ctrl-C does not wait")
                raise StoppedError
            with suppress(StorageInternalError):  # no run is ended because its database is away for a while
                self._beat(trial)
                self.notice(setting, evaluations)
                for evaluation in evaluations[told:]:
                    trial.report(evaluation["f1"], told + 1)
                    told += 1
                    if trial.should_prune():
                        raise optuna.TrialPruned

        try:
            outcome = self.runner.run(setting, watch)
            f1 = float(outcome.scores["validation"]["f1"])
            watch(outcome.curve)
        except StoppedError:
            self._end(trial, TrialState.FAIL, {INTERRUPTED: True})
        except optuna.TrialPruned:
            self.runner.drop_checkpoints(setting)
            self._end(trial, TrialState.PRUNED, {})
        except UpdateFinishedTrialError:
            pass  # taken for dead, as after a pause of this machine: another takes the run up where it is
        except RunFailedError as error:
            self._end(trial, TrialState.FAIL, {ERROR: str(error)})
        except (ValueError, OSError, KeyError) as error:  # of files that a run has left
            self._end(trial, TrialState.FAIL, {ERROR: f"{type(error).__name__}: {error}"})
        else:
            self._end(trial, TrialState.COMPLETE, {OUTCOME: outcome.to_dict()}, f1)

    def _end(self, trial: optuna.Trial, state: TrialState, facts: dict[str, Any], value: float | None = None) -> None:
        def tell() -> None:
            for name, fact in facts.items():
                trial.set_user_attr(name, fact)
            self.study.tell(trial, value, state, skip_if_finished=True)

        with suppress(UpdateFinishedTrialError):
            self._patiently(tell)
        self._patiently(lambda: self.notice(None, []))

    def _beat(self, trial: optuna.Trial) -> None:
        """Give a sign of life, and look who gives none."""
        if time.monotonic() >= self._next_beat:
            self._heart.record_heartbeat(trial._trial_id)
            self._next_beat = time.monotonic() + self._seconds_between_beats
            self._give_up_dead()

    def _give_up_dead(self) -> None:
        """End the trials of workers that give no sign of life any more."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        # A worker that died between taking a trial and its first sign of life has none that could be old.
        grace = 2 * HEARTBEATS_MISSED * self._seconds_between_beats
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            first_seen = self._first_seen.setdefault(trial.number, time.monotonic())
            if WORKER not in trial.user_attrs and time.monotonic() - first_seen > grace:
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    @property
    def _heart(self) -> BaseHeartbeat:
        """What of the database keeps signs of life."""
        database = self.study._storage
        assert isinstance(database, BaseHeartbeat)
        return database

    @property
    def _seconds_between_beats(self) -> int:
        return self._heart.get_heartbeat_interval() or 0

    def _patiently(self, act: Callable[[], _T]) -> _T:
        """What an act comes to, tried again for two minutes while the database is away."""
        for seconds in _SECONDS_OF_PATIENCE:
            try:
                return act()
            except StorageInternalError:
                time.sleep(seconds)
        return act()
