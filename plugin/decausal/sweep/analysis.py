"""What a group of runs shows: the pattern to choose, what it gains, and how sure that is."""

from dataclasses import dataclass, replace
from statistics import fmean

from decausal.sweep.grouping import Group, Seed
from decausal.sweep.significance import NestedTest, holm, rank_correlation, seed_test, swap_test

_FEWEST_RANKED = 3  # two patterns are always ranked alike or the other way round


@dataclass(frozen=True)
class Comparison:
    """How far a pattern's F1 lies above another's.

    Attributes:
        pattern: the one.
        baseline: the other.
        gain: mean F1 of the first less that of the second, over the seeds that both have.
        seeds: these.
        p_sentences: of approximate randomisation over sentences; see `swap_test`.
        p_seeds: of the paired t-test over seeds; None where it cannot be told.
        holm_sentences: `p_sentences` after Holm's correction over all comparisons of the group.
        holm_seeds: the same of `p_seeds`.
    """

    pattern: str
    baseline: str
    gain: float
    seeds: tuple[Seed, ...]
    p_sentences: float
    p_seeds: float | None
    holm_sentences: float
    holm_seeds: float | None

    def mirrored(self) -> "Comparison":
        """The same seen from the other pattern."""
        return replace(self, pattern=self.baseline, baseline=self.pattern, gain=-self.gain)


@dataclass(frozen=True)
class Choice:
    """What comes of choosing the pattern on validation data.

    Attributes:
        chosen: the best on validation.
        best: the best on test.
        regret: how much test F1 the choice costs against the best on test.
        spearman: rank correlation of patterns' mean F1 on validation and on test; None with fewer than three patterns,
            or where all score the same.
        p: its p-value, two-sided.
    """

    chosen: str
    best: str
    regret: float
    spearman: float | None
    p: float | None


@dataclass(frozen=True)
class Analysis:
    """All that is computed from a group.

    Attributes:
        group: the runs.
        comparisons: every pattern against the causal one, and against the chosen one, on `group.split`. Those without a
            seed in common are left out.
        choice: None where there are no test data, or only one pattern.
        nested: for each split the paper's test, on the seeds that all patterns have; None where it has nothing to test.
    """

    group: Group
    comparisons: tuple[Comparison, ...]
    choice: Choice | None
    nested: dict[str, NestedTest | None]

    def compare(self, pattern: str, baseline: str | None) -> Comparison | None:
        """The comparison of two patterns, whichever was the baseline."""
        for comparison in self.comparisons:
            if (comparison.pattern, comparison.baseline) == (pattern, baseline):
                return comparison
            if (comparison.baseline, comparison.pattern) == (pattern, baseline):
                return comparison.mirrored()
        return None


def analyse(group: Group) -> Analysis:
    """All that the report tells of a group.

    Raises:
        ValueError: the runs were not scored on the same sentences.
    """
    nested = {split: _test_nested(group, split) for split in group.splits}
    return Analysis(group, tuple(_compare(group)), _choose(group), nested)


def _compare(group: Group) -> list[Comparison]:
    pairs = _pairs(group)
    if not pairs or len(group.outcomes[0].counts[group.split]) < 2:
        return []
    seeds = [tuple(group.common_seeds(pair)) for pair in pairs]
    p_sentences = _swap(group, pairs, seeds)
    scores = [
        (group.f1(pattern, group.split, common), group.f1(baseline, group.split, common))
        for (pattern, baseline), common in zip(pairs, seeds, strict=True)
    ]
    p_seeds = [seed_test(*each) for each in scores]
    gains = [fmean(first) - fmean(second) for first, second in scores]
    columns = zip(gains, seeds, p_sentences, p_seeds, holm(p_sentences), holm(p_seeds), strict=True)
    return [Comparison(*pair, *facts) for pair, facts in zip(pairs, columns, strict=True)]


def _pairs(group: Group) -> list[tuple[str, str]]:
    """Every pattern with the causal one, then with the chosen one, each two once and only where they share a seed."""
    baselines = [pattern for pattern in (group.causal, group.chosen) if pattern is not None]
    pairs = {
        frozenset((pattern, baseline)): (pattern, baseline)
        for baseline in reversed(baselines)  # so that the causal pattern is the baseline of the chosen one
        for pattern in group.patterns
        if pattern != baseline and group.common_seeds((pattern, baseline))
    }
    return list(pairs.values())


def _swap(group: Group, pairs: list[tuple[str, str]], seeds: list[tuple[Seed, ...]]) -> list[float]:
    runs = [(pattern, seed) for pattern, of_pattern in group.runs.items() for seed in of_pattern]
    places = {run: place for place, run in enumerate(runs)}
    chosen = [
        ([places[pattern, seed] for seed in common], [places[baseline, seed] for seed in common])
        for (pattern, baseline), common in zip(pairs, seeds, strict=True)
    ]
    found: list[float] = swap_test(group.counts(group.split), chosen).tolist()
    return found


def _choose(group: Group) -> Choice | None:
    if "test" not in group.splits or len(group.patterns) == 1:
        return None
    best = group.best("test")
    regret = group.mean_f1(best, "test") - group.mean_f1(group.chosen, "test")
    means = [[group.mean_f1(pattern, split) for pattern in group.patterns] for split in group.splits]
    if len(group.patterns) < _FEWEST_RANKED or any(min(each) == max(each) for each in means):
        return Choice(group.chosen, best, regret, None, None)
    return Choice(group.chosen, best, regret, *rank_correlation(*means))


def _test_nested(group: Group, split: str) -> NestedTest | None:
    seeds = group.common_seeds(group.patterns)
    if not seeds:
        return None
    return NestedTest.of({pattern: group.mean_f1(pattern, split, seeds) for pattern in group.patterns})
