"""Runs put beside each other: those that differ in nothing but pattern and seed are one group."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from decausal._pattern import LayerPattern, format_layers
from decausal.sweep.outcome import Outcome

SPLITS: Final = ("validation", "test")
Seed = int | None


@dataclass(frozen=True)
class Group:
    """Runs that differ in pattern and seed alone.

    Attributes:
        axes: what they have in common of the fields in which the sweep varies, by name; empty where it varies no other.
        runs: by pattern and seed. Patterns of as many bits stand in the order of their numbers, others in that of their
            layers, those without any first; seeds ascend.
    """

    axes: dict[str, Any]
    runs: dict[str, dict[Seed, Outcome]]

    @property
    def patterns(self) -> list[str]:
        """All patterns that were tried."""
        return list(self.runs)

    @property
    def seeds(self) -> list[Seed]:
        """The seeds of any pattern, ascending."""
        return _ascending({seed for runs in self.runs.values() for seed in runs})

    @property
    def outcomes(self) -> list[Outcome]:
        """All runs, pattern by pattern."""
        return [outcome for runs in self.runs.values() for outcome in runs.values()]

    @property
    def splits(self) -> list[str]:
        """`validation`, and `test` where every run has it."""
        return [split for split in SPLITS if all(split in outcome.scores for outcome in self.outcomes)]

    @property
    def split(self) -> str:
        """The split whose scores are to be reported: the test data where there are any."""
        return self.splits[-1]

    @property
    def causal(self) -> str | None:
        """The pattern that opens no layer."""
        return next((pattern for pattern in self.patterns if not self.layers(pattern)), None)

    @property
    def chosen(self) -> str:
        """The pattern of the highest mean F1 on validation data; of equal ones the first."""
        return self.best("validation")

    def best(self, split: str) -> str:
        """The pattern of the highest mean F1; of equal ones the first."""
        return max(self.patterns, key=lambda pattern: self.mean_f1(pattern, split))

    def f1(self, pattern: str, split: str, seeds: Sequence[Seed] | None = None) -> list[float]:
        """F1 (0-100) by seed; of all its seeds by default."""
        runs = self.runs[pattern]
        return [runs[seed].scores[split]["f1"] for seed in (runs if seeds is None else seeds)]

    def mean_f1(self, pattern: str, split: str, seeds: Sequence[Seed] | None = None) -> float:
        """Mean F1 (0-100) over seeds."""
        return fmean(self.f1(pattern, split, seeds))

    def layers(self, pattern: str) -> tuple[int, ...]:
        """The layers that a pattern opens, zero-based from the embedding side."""
        return self._first(pattern).layers

    def num_layers(self, pattern: str) -> int:
        """How many decoder layers the model has."""
        return self._first(pattern).num_layers

    def common_seeds(self, patterns: Iterable[str]) -> list[Seed]:
        """The seeds that all of the patterns have, ascending."""
        return _ascending(set.intersection(*({*self.runs[pattern]} for pattern in patterns)))

    def missing(self) -> dict[str, list[Seed]]:
        """For each pattern that lacks some, the seeds that only others have."""
        gaps = {pattern: [seed for seed in self.seeds if seed not in self.runs[pattern]] for pattern in self.runs}
        return {pattern: seeds for pattern, seeds in gaps.items() if seeds}

    def counts(self, split: str) -> NDArray[np.float64]:
        """Of all `outcomes` what each sentence adds to the scores.

        Returns:
            (runs, sentences, 3): entities that are right, predicted, and in gold.

        Raises:
            ValueError: the runs were not scored on the same sentences.
        """
        first, *others = self.outcomes
        gold = [row[2] for row in first.counts[split]]
        for other in others:
            if [row[2] for row in other.counts[split]] != gold:
                raise ValueError(
                    f"{other.setting} and {first.setting} were scored on other {split} sentences: "
                    f"{len(other.counts[split])} with {sum(row[2] for row in other.counts[split])} entities, and "
                    f"{len(gold)} with {sum(gold)}; report them as sweeps of their own."
                )
        counts = [outcome.counts[split] for outcome in self.outcomes]
        return np.array(counts, dtype=np.float64).reshape(len(counts), len(gold), 3)

    def _first(self, pattern: str) -> Outcome:
        return next(iter(self.runs[pattern].values()))


def group(outcomes: Sequence[Outcome]) -> list[Group]:
    """One group for each combination of values of the fields beside `unmask` and `seed`, in the order of the runs.

    Raises:
        ValueError: two runs have the same setting.
    """
    axes: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[str, dict[Seed, Outcome]]] = {}
    for outcome in outcomes:
        others = {name: value for name, value in outcome.setting.items() if name not in ("unmask", "seed")}
        key = json.dumps(others, sort_keys=True, default=str)
        axes.setdefault(key, others)
        runs = found.setdefault(key, {}).setdefault(_pattern(outcome), {})
        if runs.setdefault(outcome.setting.get("seed"), outcome) is not outcome:
            raise ValueError(f"two runs have the setting {outcome.setting}: keep one of them")
    return [Group(axes[key], _in_order(runs)) for key, runs in found.items()]


def _pattern(outcome: Outcome) -> str:
    return str(outcome.setting.get("unmask", format_layers(outcome.layers)))


def _in_order(runs: dict[str, dict[Seed, Outcome]]) -> dict[str, dict[Seed, Outcome]]:
    all_bits = all(LayerPattern.parse(pattern).is_bits for pattern in runs)
    layers = {pattern: next(iter(seeds.values())).layers for pattern, seeds in runs.items()}
    ordered = sorted(runs, key=lambda pattern: (len(pattern), pattern) if all_bits else layers[pattern])
    return {pattern: {seed: runs[pattern][seed] for seed in _ascending(runs[pattern])} for pattern in ordered}


def _ascending(seeds: Iterable[Seed]) -> list[Seed]:
    return sorted(seeds, key=lambda seed: -1 if seed is None else seed)
