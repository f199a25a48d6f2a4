"""Print what strategies lose on several sweeps, beside patterns that nobody has searched.

    python scripts/compare_searches.py stories260k-chunking stories260k-ner ...

Of each name it reads benchmarks/results/patterns-NAME.json, by scripts/save_sweep.py, and search-NAME.json, by
scripts/measure_search.py. Told is the regret on validation and on test, as there: F1, means over seeds; then that of a
pattern drawn at random, and in the last column the mean of all names. Last, of both splits, what seeds leave open: the
standard error of the difference between two patterns, and the p-value of all their differences if none is better.
"""

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from measure_search import NESTED, Truth

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
SHARED = f"shared {NESTED}, batch / 4"
STRATEGIES = {"one seed": "one seed", f"{SHARED}, budget 3": "search, budget 3", SHARED: "search"}
Regret = tuple[float, float]


def main(arguments: list[str] | None = None) -> None:
    """Print as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    truths = [Truth(read(options.results / f"patterns-{name}.json")["runs"]) for name in options.names]
    searches = [read(options.results / f"search-{name}.json") for name in options.names]
    columns = [regrets(*pair) for pair in zip(truths, searches, strict=True)]
    table = Table("", *options.names, "mean")
    for strategy in columns[0]:
        found = [column[strategy] for column in columns]
        table.add_row(strategy, *map(describe, found), describe((mean(x for x, _ in found), mean(x for _, x in found))))
    for title, measure in {"standard error": Truth.standard_error, "p if none is better": Truth.p_of_equality}.items():
        table.add_row(title, *(describe((measure(truth, "validation"), measure(truth, "test"))) for truth in truths))
    Console(width=200).print(table)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def regrets(truth: Truth, search: dict[str, Any]) -> dict[str, Regret]:
    """Of each strategy, of always taking one pattern, and of one at random: what it loses on validation and test."""
    validation, test = truth.mean_f1("validation"), truth.mean_f1("test")
    best = max(validation, key=validation.__getitem__)
    found: dict[str, Regret] = {}
    for strategy, title in STRATEGIES.items():
        verdicts = [verdict for verdict in search["verdicts"] if verdict["strategy"] == strategy]
        found[title] = (
            mean(verdict["validation_regret"] for verdict in verdicts),
            mean(verdict["test_regret"] for verdict in verdicts),
        )
    for pattern in sorted(validation):
        found[f"always {pattern}"] = validation[best] - validation[pattern], test[best] - test[pattern]
    found["at random"] = validation[best] - mean(validation.values()), test[best] - mean(test.values())
    return found


def describe(pair: tuple[float | None, float | None]) -> str:
    return ", ".join("-" if value is None else f"{value:.2f}" for value in pair)


if __name__ == "__main__":
    main()
