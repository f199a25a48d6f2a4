"""A sweep on the screen: what is done, what runs, what is best so far, and the time that is left."""

import time
from collections.abc import Sequence
from datetime import timedelta
from statistics import mean, stdev
from types import TracebackType

import optuna
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

from decausal._pattern import format_layers
from decausal.sweep.outcome import Outcome, Setting
from decausal.sweep.run import Evaluations
from decausal.sweep.space import name_setting
from decausal.sweep.trials import ENDED, ERROR, LOG, OUTCOME, SETTING, Failure, kind_of, last_trials, trials_of

_SECONDS_BETWEEN = 2.0


class Screen:
    """Shows a study while workers are at it: a line for every trial that ends, and a bar where there is a terminal.

    Args:
        study: of the sweep.
        settings: those that this worker helps to run, or as many.
        console: where to.
    """

    def __init__(self, study: optuna.Study, settings: Sequence[Setting], console: Console) -> None:
        self._study = study
        self._total = len(settings)
        self._console = console
        self._shown = {trial.number for trial in trials_of(study) if kind_of(trial) in ENDED}
        self._next = 0.0
        self._bar = Progress(
            TextColumn(study.study_name), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
            console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=self._total)

    def __enter__(self) -> "Screen":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._next = 0.0
        self.notice(None, [])
        self._bar.stop()

    def notice(self, setting: Setting | None, evaluations: Evaluations) -> None:
        """Show what has changed.

        Args:
            setting: what this worker runs.
            evaluations: those of that run so far.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _SECONDS_BETWEEN
        trials = trials_of(self._study)
        for trial in trials:
            if kind_of(trial) in ENDED and trial.number not in self._shown:
                self._shown.add(trial.number)
                self._bar.console.print(describe_trial(trial), markup=False, highlight=False, soft_wrap=True)
        trials = last_trials(self._study)
        ended = sum(kind_of(trial) in ENDED for trial in trials)
        total = max(self._total, ended)  # others may run further settings
        self._bar.update(
            self._task, completed=ended, total=total, description=self._describe(trials, setting, evaluations)
        )

    def _describe(self, trials: Sequence[FrozenTrial], setting: Setting | None, evaluations: Evaluations) -> str:
        kinds = [kind_of(trial) for trial in trials]
        parts = [f"{kinds.count('running')} running"]
        if "failed" in kinds:
            parts.append(f"{kinds.count('failed')} failed")
        done = [trial for trial in trials if kind_of(trial) == "done"]
        if done:
            best = max(done, key=lambda trial: trial.value or 0.0)
            parts.append(f"best {best.value:.2f} ({name_setting(best.user_attrs[SETTING])})")
            seconds = mean(trial.user_attrs[OUTCOME]["seconds"] for trial in done)
            left = max(self._total - sum(kind in ENDED for kind in kinds), 0)
            remaining = timedelta(seconds=round(seconds * left / max(kinds.count("running"), 1)))
            parts.append(f"about {remaining} left")
        if setting is not None:
            last = f" (epoch {evaluations[-1]['epoch']:g}: {evaluations[-1]['f1']:.2f})" if evaluations else ""
            parts.append(f"here {name_setting(setting)}{last}")
        return ", ".join(parts)


def describe_trial(trial: FrozenTrial) -> str:
    """An ended trial in a line; one that failed with what its run said."""
    facts = trial.user_attrs
    name = name_setting(facts[SETTING])
    if kind_of(trial) == "failed":
        return f"{name}: failed, {facts[ERROR]}\n  everything it printed: {facts.get(LOG)}"
    if kind_of(trial) == "pruned":
        return f"{name}: stopped early" + (f" at validation F1 {trial.value:.2f}" if trial.value is not None else "")
    outcome = Outcome.of(facts[OUTCOME])
    scores = ", ".join(f"{split} F1 {value['f1']:.2f}" for split, value in outcome.scores.items())
    return f"{name}: {scores} ({outcome.seconds:.0f} s)"


def print_standing(outcomes: Sequence[Outcome], failures: Sequence[Failure], console: Console) -> None:
    """The settings of a sweep, all seeds together, the best validation F1 first; and what failed."""
    rows: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        setting = {name: value for name, value in outcome.setting.items() if name != "seed"}
        rows.setdefault(name_setting(setting), []).append(outcome)
    splits = list(outcomes[0].scores) if outcomes else []
    columns = ("unmasked layers", "seeds", *(f"{split} F1" for split in splits))
    table = Table(Column("setting", overflow="fold"), *columns, box=None)
    for name, runs in sorted(rows.items(), key=lambda row: -_mean(row[1], "validation")):
        figures = [_describe_scores(runs, split) for split in splits]
        table.add_row(name, format_layers(runs[0].layers), str(len(runs)), *figures)
    console.print(table)
    for failure in failures:
        console.print(
            f"failed: {name_setting(failure.setting)}: {failure.error} ({failure.log})", markup=False, highlight=False
        )


def _mean(runs: Sequence[Outcome], split: str) -> float:
    return mean(float(run.scores[split]["f1"]) for run in runs)


def _describe_scores(runs: Sequence[Outcome], split: str) -> str:
    values = [run.scores[split]["f1"] for run in runs]
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
