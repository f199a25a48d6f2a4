"""Outcomes of runs that never ran: single ones as a test needs them, and a whole sweep that looks like a real one."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from decausal import LayerPattern
from decausal.sweep.outcome import Outcome

MACHINE = {"architecture": "x86_64", "cpu_capability": "AVX512", "threads": 2, "cuda": None}
TYPES = {"LOC": 0.31, "ORG": 0.29, "PER": 0.28, "MISC": 0.12}
SKILL = {"LOC": 0.05, "ORG": -0.08, "PER": 0.09, "MISC": -0.15}
GROUP_GAINS = (0.07, 0.05, 0.04, 0.02)  # what unmasking a quarter adds to the share of entities that are found


def _f1(right: float, predicted: float, gold: float) -> float:
    return 200 * right / (predicted + gold) if predicted + gold else 0.0


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    """Builds an outcome of a four-layer model from what a test cares for.

    By default every split has as many counts as the F1 needs, one gold entity a sentence.
    """

    def build(unmask: str = "0000", seed: int | None = 120, **facts: Any) -> Outcome:
        counts = facts.pop("counts", {"validation": [(1, 1, 1)] * 4, "test": [(1, 1, 1)] * 4})
        types = facts.pop("types", {})
        scores = {
            split: {"f1": _f1(*np.sum(np.reshape(rows, (-1, 3)), axis=0)), "types": types} | facts.pop(split, {})
            for split, rows in counts.items()
        }
        setting = {"unmask": unmask, "seed": seed} | facts.pop("axes", {})
        plain = {
            "setting": {name: value for name, value in setting.items() if value is not None},
            "layers": LayerPattern.parse(unmask).layers(4),
            "num_layers": 4,
            "scores": scores,
            "counts": counts,
            "curve": [{"epoch": 1.0, "f1": 50.0}, {"epoch": 2.0, "f1": 60.0}],
            "train_seconds": 60.0,
            "seconds": 90.0,
            "machine": MACHINE,
        }
        return Outcome(**(plain | facts))

    return build


@pytest.fixture(scope="session")
def sweep() -> Callable[..., list[Outcome]]:
    """Builds the outcomes of a sweep of bit patterns: NER of a 30-layer model, the input side helping most."""
    return make_sweep


def make_sweep(
    patterns: list[str] | None = None,
    seeds: tuple[int, ...] = (120, 121, 122),
    num_sentences: int = 400,
    lift: float = 0.0,
    **axes: Any,
) -> list[Outcome]:
    patterns = patterns or ["".join(bits) for bits in product("01", repeat=4)]
    rng = np.random.default_rng(7)
    gold = {split: _draw_gold(rng, num_sentences) for split in ("validation", "test")}
    hardness = {split: rng.normal(0, 0.22, (num_sentences, 1)) for split in gold}
    return [_run(pattern, seed, gold, hardness, lift, axes) for pattern in patterns for seed in seeds]


def _draw_gold(rng: np.random.Generator, num_sentences: int) -> np.ndarray:
    return rng.poisson(1.7 * np.array([*TYPES.values()]), (num_sentences, len(TYPES)))


def _run(pattern: str, seed: int, gold: Any, hardness: Any, lift: float, axes: dict[str, Any]) -> Outcome:
    layers = LayerPattern.parse(pattern).layers(30)
    quarters = np.bincount(np.array(layers, dtype=int) * 4 // 30, minlength=4) / 7.5
    rng = np.random.default_rng([seed, *pattern.encode()])
    share = 0.64 + lift + float(quarters @ GROUP_GAINS) - 0.03 * quarters[3] * quarters[0] + rng.normal(0, 0.005)
    scores: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    for split, entities in gold.items():
        chance = np.clip(share + np.array([*SKILL.values()]) + hardness[split], 0, 1)
        right = rng.binomial(entities, chance)
        predicted = right + rng.binomial(entities, (1 - chance) * 0.8)
        counts[split] = [
            tuple(int(kind[sentence].sum()) for kind in (right, predicted, entities))
            for sentence in range(len(entities))
        ]
        sums = [kind.sum(axis=0) for kind in (right, predicted, entities)]
        types = {
            name: {"f1": _f1(*(kind[place] for kind in sums)), "support": int(sums[2][place])}
            for place, name in enumerate(TYPES)
        }
        scores[split] = {"f1": _f1(*(kind.sum() for kind in sums)), "types": types}
    final = scores["validation"]["f1"]
    curve = [{"epoch": float(epoch), "f1": final * (1 - 0.34 * np.exp(-0.9 * epoch))} for epoch in range(1, 6)]
    seconds = 470 * (1 + 0.02 * len(layers) / 30) + rng.normal(0, 6)
    setting = {"unmask": pattern, "seed": seed} | axes
    return Outcome(setting, layers, 30, scores, counts, curve, seconds, seconds + 210, MACHINE)
