"""`decausal sweep`: every setting run once, by as many workers as there are."""

import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from rich.console import Console

from decausal.sweep.outcome import Setting
from decausal.sweep.prepare import STUDY_FILE, Plan
from decausal.sweep.run import Evaluations, RunFailedError, Runner
from decausal.sweep.show import Screen, print_standing
from decausal.sweep.space import Space
from decausal.sweep.study import (
    ERROR,
    HEARTBEAT_SECONDS,
    INTERRUPTED,
    LOG,
    OUTCOME,
    SETTING,
    SURPLUS,
    WORKER,
    Kind,
    failures_of,
    give_up_dead,
    kind_of,
    name_worker,
    open_study,
    outcomes_of,
    queue,
    trials_of,
    twin_of,
)

_POLL_SECONDS = 2.0
_MOST_DRAWS = 10
SamplerName = Literal["grid", "tpe"]
PrunerName = Literal["none", "median", "hyperband"]


_PRUNERS: dict[PrunerName, type[optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}


@dataclass(frozen=True)
class Sweep:
    """A study with what is tried in it.

    Attributes:
        study: of Optuna.
        space: the settings.
        runner: runs one.
        num_trials: how many settings a sampler draws; None where all are run.
        notice: is called whenever something has changed, with what this worker runs.
    """

    study: optuna.Study
    space: Space
    runner: Runner
    num_trials: int | None = None
    notice: Callable[[Setting | None, Evaluations], None] = lambda setting, evaluations: None

    def work(self, *, retry_failed: bool = False) -> None:
        """Run trials until every setting is done, failed or pruned, whoever runs it.

        Args:
            retry_failed: run those again that failed before.
        """
        again = retry_failed
        while True:
            give_up_dead(self.study)
            queue(self.study, self.space, self._wanted(), again=again)
            again = False
            if self._is_over():
                return
            if self._is_anything_to_run():
                self._run_one()
            else:
                self.notice(None, [])
                time.sleep(_POLL_SECONDS)

    def _wanted(self) -> list[Setting]:
        """What must be run: all settings, or those that were drawn."""
        if self.num_trials is None:
            return self.space.settings()
        return [trial.user_attrs[SETTING] for trial in trials_of(self.study)]

    def _is_over(self) -> bool:
        kinds = [kind_of(trial) for trial in trials_of(self.study)]
        return not {"running", "waiting"} & {*kinds} and not self._may_draw(kinds)

    def _is_anything_to_run(self) -> bool:
        kinds = [kind_of(trial) for trial in trials_of(self.study)]
        return "waiting" in kinds or self._may_draw(kinds)

    def _may_draw(self, kinds: list[Kind]) -> bool:
        """Whether a sampler is to draw one more setting; those drawn before do not count, but not without end."""
        if self.num_trials is None:
            return False
        wanted = min(self.num_trials, len(self.space.settings()))
        begun = sum(kind in ("done", "pruned", "failed", "running") for kind in kinds)
        return begun < wanted and len(kinds) < _MOST_DRAWS * wanted

    def _run_one(self) -> None:
        taken: list[int] = []

        def objective(trial: optuna.Trial) -> float:
            taken.append(trial.number)
            return self._try(trial)

        try:
            self.study.optimize(objective, n_trials=1, catch=(RunFailedError,))
        except ValueError:
            # Taken for dead, by a pause of this machine, say, it may not tell what has become of its trial.
            if not taken or kind_of(self.study.trials[taken[0]]) != "died":
                raise

    def _try(self, trial: optuna.Trial) -> float:
        """One trial of Optuna: its validation F1."""
        queued = trial.user_attrs.get(SETTING)
        setting = self.space.suggest(trial, queued["seed"] if queued else self.space.seeds[0])
        trial.set_user_attr(WORKER, name_worker())
        trial.set_user_attr(SETTING, setting)
        if (twin := twin_of(self.study, trial.number, setting)) is not None:
            trial.set_user_attr(SURPLUS, True)
            if twin.value is None:
                raise optuna.TrialPruned
            return twin.value
        trial.set_user_attr(LOG, str(self.runner.log_of(setting)))

        told = 0

        def watch(evaluations: Evaluations) -> None:
            nonlocal told
            self.notice(setting, evaluations)
            for evaluation in evaluations[told:]:
                told += 1
                trial.report(evaluation["f1"], told)
                if trial.should_prune():
                    raise optuna.TrialPruned

        try:
            outcome = self.runner.run(setting, watch)
        except RunFailedError as error:
            trial.set_user_attr(ERROR, str(error))
            raise
        except KeyboardInterrupt:
            trial.set_user_attr(INTERRUPTED, True)
            raise
        except optuna.TrialPruned:
            self.runner.drop_checkpoints(setting)
            raise
        for evaluation in outcome.curve[told:]:
            told += 1
            trial.report(evaluation["f1"], told)
        trial.set_user_attr(OUTCOME, outcome.to_dict())
        return float(outcome.scores["validation"]["f1"])


def run_sweep(
    arguments: Sequence[str],
    *,
    patterns: str,
    seeds: str | None = None,
    axes: Sequence[str] = (),
    sampler: SamplerName = "grid",
    num_trials: int | None = None,
    pruner: PrunerName = "none",
    storage: str | None = None,
    name: str | None = None,
    launch: Path | None = None,
    retry_failed: bool = False,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
    console: Console | None = None,
) -> bool:
    """Run a sweep to its end, or help others who run it.

    Args:
        arguments: `RECIPE.yaml --field value ...`.
        patterns: as `parse_patterns` reads them.
        seeds: as `parse_seeds` reads them; by default the recipe's.
        axes: as `parse_axes` reads them.
        sampler: `grid` runs every setting; `tpe` has Optuna's tree-structured Parzen estimator choose.
        num_trials: how many settings `tpe` chooses.
        pruner: of Optuna; stops runs early whose validation F1 lies behind that of others after as many evaluations.
        storage: URL of a database; by default an SQLite file in the recipe's `output_dir`.
        name: of the study; by default that of `output_dir`.
        launch: a file of `accelerate config`.
        retry_failed: run those again that failed before.
        heartbeat_seconds: as in `open_study`.
        console: where progress is shown; by default the standard output.

    Returns:
        Whether no run failed.

    Raises:
        ValueError: an argument does not fit, or the study or the directory holds other runs.
        DataError: the data cannot be read.
    """
    if (sampler == "tpe") != (num_trials is not None):
        raise ValueError(
            f"sampler={sampler}, trials={num_trials}: trials says how many runs tpe chooses, grid runs all."
        )
    plan = Plan.of(arguments, patterns, seeds, axes, launch)
    if sampler == "tpe" and len(plan.space.seeds) > 1:
        raise ValueError(f"sampler=tpe with seeds={seeds}: it compares single runs; give one seed.")
    directory = plan.runner.directory
    directory.mkdir(parents=True, exist_ok=True)
    study = open_study(
        storage or f"sqlite:///{directory / STUDY_FILE}",
        name or directory.name,
        sampler=_sampler(sampler, plan.space),
        pruner=_PRUNERS[pruner](),
        heartbeat_seconds=heartbeat_seconds,
    )
    plan.check(study)
    total = min(num_trials or len(plan.space.settings()), len(plan.space.settings()))
    console = console or Console()
    with Screen(study, total, console) as screen, _stopping_on_sigterm():
        Sweep(study, plan.space, plan.runner, num_trials, screen.notice).work(retry_failed=retry_failed)
    failures = failures_of(study)
    print_standing(outcomes_of(study), failures, console)
    return not failures


def _sampler(name: SamplerName, space: Space) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(seed=space.seeds[0], constant_liar=True)
    return optuna.samplers.RandomSampler()  # draws nothing: every setting is queued


@contextmanager
def _stopping_on_sigterm() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does: the run saves a checkpoint, and its trial is taken up again."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
