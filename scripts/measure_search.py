"""Ways of finding the best pattern, held against a sweep that has tried all of them.

python scripts/measure_search.py SWEEP.json RESULTS.json OUTPUT_DIR RECIPE.yaml [--field value ...]

SWEEP.json is what scripts/save_sweep.py has written of a sweep with groups:4 on the same recipe. For each of its seeds:

- shared: one run with an adapter for all patterns, those of groups:4 or the nested ones, in batches of the recipe or
  of a quarter; `decausal search` takes the nested ones and a quarter; with budget 3, the best two are then run alone;
- short: each of the nested patterns on its own, for a fifth of the steps;
- epoch N: each pattern on its own, up to evaluation N, from the curves of the sweep itself;
- one seed: each pattern on its own to the end, with this seed alone.

Regret is what the pattern chosen lacks to the best one, both as means over the sweep's seeds, the runs that "one seed"
and "epoch N" choose by among them. Cost is in units of one run of the recipe, that with the pattern chosen included; a
sentence trained on counts three times one that is tagged (forward, and backward twice as dear). Test data and the start
of processes are left out. Stopped, it goes on.
"""

import argparse
import json
import math
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev, variance
from typing import Any

import pandas as pd
from scipy.stats import spearmanr
from statsmodels.stats.anova import AnovaRM

from decausal.sweep.prepare import Plan
from decausal.sweep.run import Runner
from decausal.sweep.shared_run import read_scores, share_adapter
from decausal.tagging.arguments import as_flags, parse_recipe
from decausal.tagging.results import environment

_FEWEST_RANKED = 3
GROUPS, NESTED = "groups:4", "suffixes:4"
Scores = dict[str, float]


@dataclass(frozen=True)
class Truth:
    """The runs of a sweep, and their mean scores over seeds."""

    runs: list[dict[str, Any]]

    def of_seed(self, seed: int) -> dict[str, dict[str, Any]]:
        """The run of each pattern."""
        return {run["setting"]["unmask"]: run for run in self.runs if run["setting"]["seed"] == seed}

    def f1(self, split: str) -> dict[str, list[float]]:
        """Of each pattern, one a seed."""
        found = defaultdict(list)
        for run in sorted(self.runs, key=lambda run: run["setting"]["seed"]):
            found[run["setting"]["unmask"]].append(float(run["scores"][split]["f1"]))
        return dict(found)

    def mean_f1(self, split: str) -> Scores:
        """Of each pattern, over seeds."""
        return {pattern: mean(values) for pattern, values in self.f1(split).items()}

    @property
    def seeds(self) -> list[int]:
        """Those of its runs."""
        return sorted({run["setting"]["seed"] for run in self.runs})

    def noise(self) -> float | None:
        """The standard deviation of a pattern's validation F1 over seeds, on average over patterns."""
        return mean(map(stdev, self.f1("validation").values())) if len(self.seeds) > 1 else None

    def standard_error(self, split: str = "validation") -> float | None:
        """Of the difference between two patterns' mean F1, seed by seed; the root mean square of pairs."""
        if len(self.seeds) < 2:
            return None
        pairs = combinations(self.f1(split).values(), 2)
        differences = ([a - b for a, b in zip(*pair, strict=True)] for pair in pairs)
        return math.sqrt(mean(map(variance, differences)) / len(self.seeds))

    def p_of_equality(self, split: str = "validation") -> float | None:
        """That patterns differ as much or more in F1 if none is better: an analysis of variance, seeds as blocks."""
        if len(self.seeds) < 2:
            return None
        facts = pd.DataFrame({**run["setting"], "f1": run["scores"][split]["f1"]} for run in self.runs)
        return float(AnovaRM(facts, "f1", "seed", within=["unmask"]).fit().anova_table["Pr > F"].item())


@dataclass(frozen=True)
class Run:
    """What a run of the recipe takes: sentences trained on, over all epochs, and those of an evaluation."""

    trained_on: float
    validated_on: int
    num_evaluations: int

    @classmethod
    def of(cls, plan: Plan, truth: Truth) -> "Run":
        """As the recipe says; the number of evaluations is that of the runs themselves."""
        _, _, training = parse_recipe([str(plan.runner.recipe), *plan.runner.overrides])
        num_evaluations = min(len(run["curve"]) for run in truth.runs)
        sizes = plan.num_sentences
        return cls(training.num_train_epochs * sizes["train"], sizes["validation"], num_evaluations)

    @property
    def passes(self) -> float:
        """Forward passes, a backward pass being two, without the test data."""
        return 3 * self.trained_on + (self.num_evaluations + 1) * self.validated_on


@dataclass(frozen=True)
class Ranking:
    """What one strategy has said with one seed."""

    strategy: str
    seed: int
    scores: Scores  # the larger, the better
    passes: float  # what it took, before the run with the pattern chosen


@dataclass(frozen=True)
class Verdict:
    """A ranking against the truth: Spearman's correlation, F1 lost by following it, and what it cost, in runs."""

    strategy: str
    seed: int
    chosen: str
    rank_correlation: float | None  # of two patterns none: it could be 1 or -1 alone
    validation_regret: float
    test_regret: float
    cost: float
    scores: Scores


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("sweep", "results", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--divisors", type=int, nargs="+", default=[4, 1], help="of the batch of shared runs")
    parser.add_argument("--patterns", nargs="+", default=[NESTED, GROUPS], help="that share an adapter")
    parser.add_argument("--short", action=argparse.BooleanOptionalAction, default=True)
    arguments, recipe = parser.parse_known_args()
    saved = json.loads(arguments.sweep.read_text(encoding="utf-8"))
    truth = Truth(saved["runs"])
    names = dict.fromkeys([*arguments.patterns, NESTED, GROUPS])
    plans = {name: Plan.of([*recipe, "--output_dir", str(arguments.output)], name) for name in names}
    plans[GROUPS].check_directory()
    for name in set(saved["common"]) & set(plans[GROUPS].common) - {"test data (SHA-256)"}:
        if saved["common"][name] != plans[GROUPS].common[name]:
            parser.error(f"{arguments.sweep}: {name} is {saved['common'][name]}, and here {plans[GROUPS].common[name]}")
    verdicts: list[Verdict] = []
    one_run = Run.of(plans[GROUPS], truth)
    shared = [(patterns, divisor) for patterns in arguments.patterns for divisor in arguments.divisors]
    for seed in truth.seeds:
        for ranking in try_strategies(plans, truth, seed, one_run, shared, short=arguments.short):
            verdicts.append(judge(ranking, truth, one_run))
            print(describe(verdicts[-1]), flush=True)
            save(arguments.results, arguments.sweep, truth, verdicts)


def try_strategies(
    plans: dict[str, Plan], truth: Truth, seed: int, one_run: Run, shared: Sequence[tuple[str, int]], *, short: bool
) -> Iterator[Ranking]:
    """All strategies with one seed, one after another; shared ones by their patterns and what divides the batch."""
    yield from rank_by_curves(truth, seed, one_run)
    for patterns, divisor in shared:
        ranking = rank_shared(plans[patterns], patterns, divisor, seed, one_run)
        yield ranking
        yield rank_finalists(ranking, truth, one_run)
    if short:
        yield rank_short(plans[NESTED], seed, one_run)


def rank_by_curves(truth: Truth, seed: int, one_run: Run) -> list[Ranking]:
    """By the evaluations of the sweep's own runs, and by their end."""
    runs = truth.of_seed(seed)
    rankings = [Ranking("one seed", seed, final_f1(runs), (len(runs) - 1) * one_run.passes)]  # the one chosen is there
    for number in range(1, one_run.num_evaluations):
        scores = {pattern: run["curve"][number - 1]["f1"] for pattern, run in runs.items()}
        part = number / one_run.num_evaluations
        passes = len(runs) * (3 * part * one_run.trained_on + number * one_run.validated_on)
        rankings.append(Ranking(f"epoch {number} of {one_run.num_evaluations}", seed, scores, passes))
    return rankings


def final_f1(runs: dict[str, dict[str, Any]]) -> Scores:
    return {pattern: run["scores"]["validation"]["f1"] for pattern, run in runs.items()}


def rank_shared(plan: Plan, patterns: str, divisor: int, seed: int, one_run: Run) -> Ranking:
    """As `decausal search`, or with other patterns and batches."""
    runner = share_adapter(plan, patterns, divisor)
    runner = replace(runner, directory=runner.directory / f"{patterns},batch=1_{divisor}")
    runner.run({"seed": seed})
    found = read_scores(runner, {"seed": seed})
    scores = {pattern: facts["f1"] - 1e-6 * facts["loss"] for pattern, facts in found.items()}  # the loss where F1 ties
    passes = 3 * one_run.trained_on + (len(found) + 1) * num_scored(runner)
    return Ranking(f"shared {patterns}, batch / {divisor}", seed, scores, passes)


def rank_finalists(ranking: Ranking, truth: Truth, one_run: Run) -> Ranking:
    """What `--budget 3` comes to: the best two of a ranking by their own runs with its seed."""
    alone = final_f1(truth.of_seed(ranking.seed))
    best = sorted(ranking.scores, key=ranking.scores.__getitem__)[-2:]
    scores = {pattern: alone[pattern] for pattern in best}
    return Ranking(f"{ranking.strategy}, budget 3", ranking.seed, scores, ranking.passes + one_run.passes)


def rank_short(plan: Plan, seed: int, one_run: Run) -> Ranking:
    """By short runs of each pattern alone, scored on as many sentences as those of a shared run."""
    sentences = num_scored(share_adapter(plan, NESTED))
    _, _, training = parse_recipe([str(plan.runner.recipe), *plan.runner.overrides])
    fields = {
        "num_train_epochs": training.num_train_epochs / len(plan.space.patterns),
        "max_eval_samples": sentences,
        "max_test_samples": 1,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": "false",
    }
    flags = as_flags(fields)
    directory = plan.runner.directory / "short"
    runner = replace(plan.runner, overrides=(*plan.runner.overrides, *flags), directory=directory)
    runs = {pattern: runner.run({"unmask": pattern, "seed": seed}) for pattern in plan.space.patterns}
    scores = {pattern: float(run.scores["validation"]["f1"]) for pattern, run in runs.items()}
    return Ranking("short suffixes:4", seed, scores, 3 * one_run.trained_on + len(runs) * sentences)


def num_scored(runner: Runner) -> int:
    """Validation sentences that a shared run scores patterns on."""
    tagging, _, _ = parse_recipe([str(runner.recipe), *runner.overrides])
    assert tagging.max_eval_samples is not None
    return tagging.max_eval_samples


def judge(ranking: Ranking, truth: Truth, one_run: Run) -> Verdict:
    """Hold a ranking against the truth."""
    validation, test = truth.mean_f1("validation"), truth.mean_f1("test")
    chosen = max(ranking.scores, key=ranking.scores.__getitem__)
    best = max(validation, key=validation.__getitem__)
    patterns = sorted(ranking.scores)
    found = spearmanr([ranking.scores[name] for name in patterns], [validation[name] for name in patterns])
    return Verdict(
        ranking.strategy,
        ranking.seed,
        chosen,
        float(found.statistic) if len(patterns) >= _FEWEST_RANKED else None,
        validation[best] - validation[chosen],
        test[best] - test[chosen],
        (ranking.passes + one_run.passes) / one_run.passes,
        ranking.scores,
    )


def describe(verdict: Verdict) -> str:
    correlation = "" if verdict.rank_correlation is None else f"rank correlation {verdict.rank_correlation:.2f}, "
    return (
        f"{verdict.strategy}, seed {verdict.seed}: {verdict.chosen}, regret {verdict.validation_regret:.2f} (test "
        f"{verdict.test_regret:.2f}), {correlation}cost {verdict.cost:.1f} runs"
    )


def save(path: Path, sweep: Path, truth: Truth, verdicts: list[Verdict]) -> None:
    facts = {
        **environment(),
        "sweep": sweep.name,
        "standard deviation of validation F1 over seeds": truth.noise(),
        "standard error of the difference of two patterns' mean validation F1": truth.standard_error(),
        "p of the patterns' differences in validation F1 if none is better": truth.p_of_equality(),
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
    path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what it has started must not outlive it
    main()
