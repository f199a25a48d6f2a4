"""The numbers of a report as plain tables, for spreadsheets (CSV) and papers (LaTeX)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import pandas as pd

from decausal._pattern import format_layers
from decausal.sweep.analysis import Analysis
from decausal.sweep.grouping import Group
from decausal.sweep.significance import PAPER_ALPHA, confidence_interval

Row = dict[str, Any]


def tabulate_f1(analysis: Analysis) -> list[Row]:
    """For each pattern and split mean, standard deviation and 95 % confidence interval of F1 (0-100) over seeds."""
    group = analysis.group
    return [
        {
            "pattern": pattern,
            "layers": format_layers(group.layers(pattern)),
            "seeds": len(group.runs[pattern]),
            **{
                f"{split}_{name}": value
                for split in group.splits
                for name, value in _summarise(group.f1(pattern, split)).items()
            },
        }
        for pattern in group.patterns
    ]


def _summarise(scores: Sequence[float]) -> dict[str, float | None]:
    low, high = confidence_interval(scores) or (None, None)
    return {"f1": fmean(scores), "sd": stdev(scores) if len(scores) > 1 else None, "ci_low": low, "ci_high": high}


def tabulate_runs(analysis: Analysis) -> list[Row]:
    """For each run F1 (0-100) on each split, and what it took."""
    group = analysis.group
    return [
        {
            "pattern": pattern,
            "seed": seed,
            **{f"{split}_f1": run.scores[split]["f1"] for split in group.splits},
            "train_seconds": run.train_seconds,
            "seconds": run.seconds,
        }
        for pattern, runs in group.runs.items()
        for seed, run in runs.items()
    ]


def tabulate_significance(analysis: Analysis) -> list[Row]:
    """For each comparison of two patterns the difference in F1 (points of 100), and p-values with and without Holm."""
    return [
        {
            "split": analysis.group.split,
            "pattern": found.pattern,
            "baseline": found.baseline,
            "difference": found.gain,
            "seeds": len(found.seeds),
            "p_sentences": found.p_sentences,
            "p_sentences_holm": found.holm_sentences,
            "p_seeds": found.p_seeds,
            "p_seeds_holm": found.holm_seeds,
        }
        for found in analysis.comparisons
    ]


def tabulate_nested(analysis: Analysis) -> list[Row]:
    """The paper's t-test over nested pairs of patterns, on each split where it has something to test."""
    return [
        {
            "split": split,
            "pairs": len(test.pairs),
            "t": test.statistic,
            "p": test.p,
            f"significant_at_{PAPER_ALPHA}": test.rejects,
        }
        for split, test in analysis.nested.items()
        if test is not None
    ]


def tabulate_choice(analysis: Analysis) -> list[Row]:
    """What comes of choosing the pattern on validation data; without test data the choice alone."""
    group, choice = analysis.group, analysis.choice
    row: Row = {"chosen": group.chosen, "validation_f1": group.mean_f1(group.chosen, "validation")}
    if choice is not None:
        row |= {
            "test_f1": group.mean_f1(choice.chosen, "test"),
            "best_on_test": choice.best,
            "best_test_f1": group.mean_f1(choice.best, "test"),
            "regret": choice.regret,
            "spearman": choice.spearman,
            "p_spearman": choice.p,
        }
    return [row]


def tabulate_types(analysis: Analysis) -> list[Row]:
    """For each entity type its gold entities, and each pattern's mean F1 (0-100) over seeds; frequent types first.

    A type that a run has neither in gold nor predicted is left out of that pattern's mean.
    """
    group = analysis.group
    scores = {
        pattern: [run.scores[group.split]["types"] for run in runs.values()] for pattern, runs in group.runs.items()
    }
    support = {name: row["support"] for runs in scores.values() for run in runs for name, row in run.items()}
    means = {pattern: _mean_by_type(runs) for pattern, runs in scores.items()}
    return [
        {"type": name, "entities": entities, **{pattern: means[pattern].get(name) for pattern in group.patterns}}
        for name, entities in sorted(support.items(), key=lambda item: (-item[1], item[0]))
    ]


def _mean_by_type(runs: Sequence[dict[str, dict[str, float]]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, row in run.items():
            found.setdefault(name, []).append(row["f1"])
    return {name: fmean(scores) for name, scores in found.items()}


def tabulate_curves(analysis: Analysis) -> list[Row]:
    """For each pattern mean validation F1 (0-100) at the epochs at which all of its runs were evaluated."""
    rows: list[Row] = []
    for pattern, runs in analysis.group.runs.items():
        curves = [{point["epoch"]: point["f1"] for point in run.curve} for run in runs.values()]
        epochs = sorted(set.intersection(*map(set, curves)))
        rows += [
            {"pattern": pattern, "epoch": epoch, "validation_f1": fmean(curve[epoch] for curve in curves)}
            for epoch in epochs
        ]
    return rows


def tabulate_cost(analysis: Analysis) -> list[Row]:
    """For each pattern the mean seconds of training and of a whole run, and training's ratio to the causal pattern."""
    group = analysis.group
    train = {pattern: fmean(run.train_seconds for run in runs.values()) for pattern, runs in group.runs.items()}
    return [
        {
            "pattern": pattern,
            "runs": len(runs),
            "train_seconds": train[pattern],
            "seconds": fmean(run.seconds for run in runs.values()),
            "ratio_to_causal": train[pattern] / train[group.causal] if group.causal and train[group.causal] else None,
        }
        for pattern, runs in group.runs.items()
    ]


TABLES: Final[dict[str, Callable[[Analysis], list[Row]]]] = {
    "f1": tabulate_f1,
    "runs": tabulate_runs,
    "significance": tabulate_significance,
    "nested": tabulate_nested,
    "choice": tabulate_choice,
    "types": tabulate_types,
    "curves": tabulate_curves,
    "cost": tabulate_cost,
}
"""Every table by its name in `table_NAME.csv` and `table_NAME.tex`."""


def write_tables(analyses: Sequence[Analysis], directory: Path) -> list[Path]:
    """Write every table that has rows as CSV and as LaTeX (booktabs), all groups in one, told apart by their axes.

    CSV keeps all digits; whoever reads patterns of bits back keeps them text, as in
    `pandas.read_csv(path, dtype={"pattern": str})`.

    Args:
        analyses: one for each group.
        directory: where they are written.

    Returns:
        The files.
    """
    written: list[Path] = []
    for name, tabulate in TABLES.items():
        rows = [_axes(analysis.group) | row for analysis in analyses for row in tabulate(analysis)]
        if rows:
            table, path = pd.DataFrame(rows), directory / f"table_{name}"
            table.to_csv(path.with_suffix(".csv"), index=False)
            path.with_suffix(".tex").write_text(as_latex(table), encoding="utf-8")
            written += [path.with_suffix(".csv"), path.with_suffix(".tex")]
    return written


def as_latex(table: pd.DataFrame) -> str:
    """A `tabular` for the package booktabs: two decimals, four for p-values, a dash where nothing is known."""
    p_values = {column: "{:.4f}".format for column in table if str(column) == "p" or str(column).startswith("p_")}
    return str(table.to_latex(index=False, escape=True, na_rep="--", float_format="{:.2f}".format, formatters=p_values))


def _axes(group: Group) -> Row:
    return {name: str(value) for name, value in group.axes.items()}
