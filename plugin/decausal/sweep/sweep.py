"""`decausal sweep`: every setting run once, by as many workers as there are."""

import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from rich.console import Console

from decausal.sweep.prepare import Plan
from decausal.sweep.show import Screen, print_standing
from decausal.sweep.storage import HEARTBEAT_SECONDS, locate_study, open_study, without_password
from decausal.sweep.trials import failures_of, kind_of, last_trials, outcomes_of
from decausal.sweep.worker import Worker

SamplerName = Literal["grid", "tpe"]
PrunerName = Literal["none", "median", "hyperband"]

_PRUNERS: dict[PrunerName, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}


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
        heartbeat_seconds: as in `open_study`; the same for all workers.
        console: where progress is shown; by default the standard output.

    Returns:
        Whether no run failed.

    Raises:
        ValueError: an argument does not fit, the study or the directory holds other runs, or the database is lost.
        DataError: the data cannot be read.
        KeyboardInterrupt: SIGINT or SIGTERM; the run that was interrupted has saved a checkpoint.
    """
    if (sampler == "tpe") != (num_trials is not None):
        raise ValueError(
            f"sampler={sampler}, trials={num_trials}: trials says how many runs tpe chooses, grid runs all."
        )
    plan = Plan.of(
        arguments, patterns, seeds, axes, launch, draws=sampler == "tpe", prunes=pruner != "none",
        heartbeat_seconds=heartbeat_seconds,
    )  # fmt: skip
    directory = plan.runner.directory
    directory.mkdir(parents=True, exist_ok=True)
    storage, name = locate_study(directory, storage, name)
    study = open_study(
        storage,
        name,
        sampler=_sampler(num_trials),
        pruner=_PRUNERS[pruner](),
        heartbeat_seconds=heartbeat_seconds,
    )
    console = console or Console()
    settings = plan.space.settings()
    worker = Worker(study, plan.space, plan.runner, f"{socket.gethostname()}:{os.getpid()}", num_trials)
    try:
        plan.check(study)
        with Screen(study, settings[: num_trials or None], console) as screen, _stopping(worker):
            worker.notice, worker.say = screen.notice, partial(console.print, highlight=False)
            worker.work(retry_failed=retry_failed)
        failures = failures_of(study)
        print_standing(outcomes_of(study), failures, console)
        pruned = sum(kind_of(trial) == "pruned" for trial in last_trials(study))
    except StorageInternalError as error:
        raise ValueError(f"storage={without_password(storage)} does not answer any more: {error}") from error
    if pruned:
        console.print(f"stopped early: {pruned}")
    if worker.stopping:
        raise KeyboardInterrupt
    return not failures


def _sampler(num_trials: int | None) -> optuna.samplers.BaseSampler:
    if num_trials is None:
        return optuna.samplers.RandomSampler()  # draws nothing: every setting is queued
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # By default its first ten are random, which here would be most. No seed: two workers would draw the same.
        return optuna.samplers.TPESampler(n_startup_trials=max(2, num_trials // 3), constant_liar=True)


@contextmanager
def _stopping(worker: Worker) -> Iterator[None]:
    """SIGINT and SIGTERM let the run save a checkpoint; a second SIGINT does not wait for that."""

    def stop(number: int, _: Any) -> None:
        if worker.stopping and number == signal.SIGINT:
            raise KeyboardInterrupt
        worker.stopping = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
