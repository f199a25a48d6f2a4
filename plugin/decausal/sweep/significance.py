"""How sure a difference in F1 is: over sentences, over seeds, and over nested patterns as the paper tests it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from decausal._pattern import LayerPattern

Floats = NDArray[np.float64]
Runs = Sequence[int]
"""Numbers of runs, one for each seed."""

ALPHA: Final = 0.05
"""Below this a difference is called significant."""
PAPER_ALPHA: Final = 0.01
"""The same in Dukić & Šnajder (ACL Findings 2024, arXiv 2401.14556)."""
_FEWEST_RESAMPLES: Final = 9_999
_MOST_IN_ALL_ORDERS: Final = 7  # 5,040 orders
_BATCH: Final = 500  # resamples at a time: 30 MB for 3,500 sentences


def micro_f1(sums: Floats) -> Floats:
    """Entity-level micro F1, 0-100; 0 where nothing is predicted and nothing is to be found.

    Args:
        sums: (..., 3): entities that are right, predicted, and in gold.
    """
    right, predicted, gold = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    both = predicted + gold
    f1: Floats = np.divide(200 * right, both, out=np.zeros_like(both), where=both > 0)
    return f1


def num_resamples(num_comparisons: int) -> int:
    """How often sentences are swapped at random: often enough that p can be below 0.01 after Holm's correction."""
    return max(_FEWEST_RESAMPLES, 200 * num_comparisons - 1)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Spearman's ρ of two lists, and its p-value, two-sided: of few values over all orders, twice the smaller tail.

    Args:
        first: three values or more, not all the same.
        second: as many.
    """
    found: Any = stats.spearmanr(first, second)
    if len(first) > _MOST_IN_ALL_ORDERS:
        return float(found.statistic), float(found.pvalue)
    exact: Any = stats.permutation_test(
        (first,), lambda order: stats.spearmanr(order, second).statistic, permutation_type="pairings"
    )
    return float(found.statistic), float(exact.pvalue)


def swap_test(counts: Floats, pairs: Sequence[tuple[Runs, Runs]], seed: int = 0) -> Floats:
    """Approximate randomisation, paired by sentence: p-values of differences in mean F1 over seeds, two-sided.

    If a pattern makes no difference, each sentence could as well have got its predictions from the other one. So
    sentences are swapped between the two at random, each in all seeds together, and p is the share of swappings in
    which the mean F1 differs by as much as in truth. Few sentences are swapped in every way there is, which is exact.

    What it says: given these trained runs, whether the difference would last on other sentences of this kind. What it
    does not say: whether it would last if the models were trained anew, with other seeds.

    Args:
        counts: (runs, sentences, 3): entities of every sentence that are right, predicted, and in gold.
        pairs: for each comparison the runs of one pattern, and as many of the other, seed by seed.
        seed: decides which sentences are swapped.

    Returns:
        (comparisons,): p-values, not corrected for their number.

    Raises:
        ValueError: there are fewer than two sentences.
    """
    num_runs, num_sentences, _ = counts.shape
    if num_sentences < 2:
        raise ValueError(f"{num_sentences} sentences: sentences are swapped from two on")
    by_sentence = np.moveaxis(counts, 1, 0).reshape(num_sentences, -1).astype(np.float64)
    totals = by_sentence.sum(axis=0).reshape(num_runs, 3)

    def differences(swapped: Floats, _: Floats, axis: int) -> Floats:
        assert axis == -1
        taken = (swapped @ by_sentence).reshape(*swapped.shape[:-1], num_runs, 3)
        kept = totals - taken
        gains = [
            micro_f1(kept[..., first, :] + taken[..., second, :])
            - micro_f1(kept[..., second, :] + taken[..., first, :])
            for first, second in pairs
        ]
        return np.stack([np.abs(gain.mean(axis=-1)) for gain in gains], axis=-1)

    # What scipy swaps are marks: 1 in the first sample says that the sentence has changed sides. So one product of
    # matrices gives the sums of all runs, and one series of swappings serves all comparisons.
    found = stats.permutation_test(
        (np.zeros(num_sentences), np.ones(num_sentences)),
        differences,
        permutation_type="samples",
        vectorized=True,
        alternative="greater",
        n_resamples=num_resamples(len(pairs)),
        batch=_BATCH,
        rng=np.random.default_rng(seed),
    )
    return np.asarray(found.pvalue, dtype=np.float64)


def seed_test(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Student's t-test, paired by seed: the two-sided p-value of a difference in mean F1.

    It says whether the difference would last with other seeds, on these same sentences. Few seeds show it little.

    Args:
        first: F1 by seed.
        second: F1 of the same seeds.

    Returns:
        None where it cannot be told: with fewer than two seeds, or where all differ by the same.
    """
    if len(first) < 2 or _is_constant(first, second):
        return None
    return float(stats.ttest_rel(first, second).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values after Holm's correction over all of those that are there."""
    there = [place for place, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    for place, p in zip(there, multipletests([p_values[place] for place in there], method="holm")[1], strict=True):
        corrected[place] = float(p)
    return corrected


def confidence_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's confidence interval of a mean F1, within 0-100; None where there are fewer than two values."""
    if len(values) < 2:
        return None
    mean, half = float(np.mean(values)), stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return max(0.0, mean - float(half)), min(100.0, mean + float(half))


def nested_pairs(patterns: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs of bit patterns that the paper compares: from its last 1 on, the second opens what the first does not.

    Layers nearer the output are opened in addition, and the pattern without any opened layer takes no part: 17 pairs
    of the 16 patterns of four bits.
    """
    bits = [pattern for pattern in patterns if LayerPattern.parse(pattern).is_bits]
    return [
        (pattern, wider)
        for pattern, wider in permutations(bits, 2)
        if len(pattern) == len(wider) and "1" in pattern and wider.startswith(pattern[: pattern.rindex("1") + 1])
    ]


@dataclass(frozen=True)
class NestedTest:
    """The paper's test of whether opening more layers nearer the output helps.

    Attributes:
        pairs: the pattern before and after.
        statistic: Student's t, negative where F1 grows.
        p: one-sided.
    """

    pairs: tuple[tuple[str, str], ...]
    statistic: float
    p: float

    @property
    def rejects(self) -> bool:
        """Whether the paper would call the growth significant."""
        return self.p < PAPER_ALPHA

    @classmethod
    def of(cls, means: Mapping[str, float]) -> "NestedTest | None":
        """The test on patterns' mean F1 over seeds; None with fewer than two pairs, or where all grow by the same.

        Pairs overlap, so they are not independent as the test takes them to be, and neither seeds nor sentences play a
        part: p is no measure of either.
        """
        pairs = tuple(nested_pairs(means))
        before, after = [means[first] for first, _ in pairs], [means[second] for _, second in pairs]
        if len(pairs) < 2 or _is_constant(before, after):
            return None
        found: Any = stats.ttest_rel(before, after, alternative="less")
        return cls(pairs, float(found.statistic), float(found.pvalue))


def _is_constant(first: Sequence[float], second: Sequence[float]) -> bool:
    difference = np.subtract(first, second)
    return bool(np.allclose(difference, difference[0], rtol=1e-9, atol=1e-9))
