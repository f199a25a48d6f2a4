"""Candidates measured in turn, so that a ratio is that of one moment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Candidate = Callable[[], float]


@dataclass(frozen=True)
class Table:
    """What is measured against what.

    Attributes:
        figure: what a candidate returns, in words.
        candidates: return a figure each.
        baselines: for each candidate the one whose figure it is divided by.
        facts: what else is known.
        multiples: further figures by their names: for each candidate the number that its figure is multiplied by.
    """

    figure: str
    candidates: dict[str, Candidate]
    baselines: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    multiples: dict[str, dict[str, float]] = field(default_factory=dict)

    def measure(self) -> Iterator[dict[str, Any]]:
        """Runs every candidate once a repetition, without end.

        Yields:
            After each repetition all that is known of every candidate: see `compare`; and its multiples.
        """
        found: dict[str, list[float]] = {name: [] for name in self.candidates}
        for run in self.candidates.values():
            run()  # warms up
        while True:
            for name, run in self.candidates.items():
                found[name].append(run())
            yield {
                name: compare(figures, found[self.baselines[name]])
                | {
                    unit: summarise([figure * factors[name] for figure in figures])
                    for unit, factors in self.multiples.items()
                }
                for name, figures in found.items()
            }


def compare(figures: Sequence[float], baseline: Sequence[float]) -> dict[str, Any]:
    """Median and extremes of figures, and of their ratios to those that a baseline had in the same repetitions."""
    ratios = [figure / base for figure, base in zip(figures, baseline, strict=True)]
    return {"figure": summarise(figures), "ratio": summarise(ratios)}


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """Median and extremes of all repetitions."""
    return {"median": median(values), "min": min(values), "max": max(values), "all": list(values)}
