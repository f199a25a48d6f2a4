"""How strategies are judged: made-up sweeps of two patterns and two seeds."""

import pytest

import measure_search
from measure_search import Ranking, Run, Truth, judge, rank_by_curves, rank_finalists, try_strategies

F1 = {("00", 1): 50.0, ("00", 2): 54.0, ("01", 1): 60.0, ("01", 2): 50.0, ("11", 1): 40.0, ("11", 2): 44.0}


@pytest.fixture
def truth() -> Truth:
    """Means 52, 55 and 42 on validation, ten less on test data; early on the order is the other way round."""
    runs = []
    for (pattern, seed), f1 in F1.items():
        scores = {"validation": {"f1": f1}, "test": {"f1": f1 - 10}}
        curve = [{"epoch": 1.0, "f1": 100 - f1}, {"epoch": 2.0, "f1": f1}]
        runs.append({"setting": {"unmask": pattern, "seed": seed}, "scores": scores, "curve": curve})
    return Truth(runs)


@pytest.fixture
def one_run() -> Run:
    return Run(trained_on=100, validated_on=20, num_evaluations=2)


def test_a_run_costs_three_passes_a_sentence_and_its_evaluations(one_run):
    assert one_run.passes == 300 + 3 * 20


def test_noise_is_the_deviation_over_seeds(truth):
    assert truth.noise() == pytest.approx((8**0.5 + 50**0.5 + 8**0.5) / 3)
    assert Truth([run for run in truth.runs if run["setting"]["seed"] == 1]).noise() is None


def test_the_error_of_a_difference_is_that_of_pairs_seed_by_seed(truth):
    variances = 98, 0, 98  # of the differences -10 and 4, 10 and 10, 20 and 6
    assert truth.standard_error() == pytest.approx((sum(variances) / 3 / 2) ** 0.5)
    assert Truth(truth.runs[:2] + truth.runs[2:4][::-1] + truth.runs[4:]).standard_error() == truth.standard_error()
    assert Truth([run for run in truth.runs if run["setting"]["seed"] == 1]).standard_error() is None


def test_the_p_of_equality_is_that_of_an_analysis_of_variance_with_seeds_as_blocks(truth):
    between, within = 185 + 1 / 3, 65 + 1 / 3  # sums of squares, of two degrees of freedom each
    assert truth.p_of_equality() == pytest.approx(1 / (1 + between / within))
    assert truth.p_of_equality("test") == pytest.approx(truth.p_of_equality())
    assert Truth([run for run in truth.runs if run["setting"]["seed"] == 1]).p_of_equality() is None


def test_regret_is_what_the_chosen_pattern_lacks_to_the_best_mean(truth, one_run):
    verdict = judge(Ranking("made up", 1, {"00": 3.0, "01": 2.0, "11": 1.0}, passes=180.0), truth, one_run)
    assert (verdict.chosen, verdict.validation_regret, verdict.test_regret) == ("00", 3.0, 3.0)
    assert verdict.rank_correlation == pytest.approx(0.5)
    assert verdict.cost == pytest.approx(1.5)


def test_a_ranking_of_some_patterns_is_held_against_all(truth, one_run):
    verdict = judge(Ranking("made up", 1, {"00": 1.0, "11": 2.0}, passes=0.0), truth, one_run)
    assert (verdict.chosen, verdict.validation_regret, verdict.rank_correlation) == ("11", 13.0, None)


def test_the_runs_of_a_seed_rank_at_their_end_and_on_the_way(truth, one_run):
    whole, early = (judge(ranking, truth, one_run) for ranking in rank_by_curves(truth, 2, one_run))
    assert (whole.strategy, whole.chosen, whole.cost) == ("one seed", "00", pytest.approx(3.0))
    assert (early.strategy, early.chosen) == ("epoch 1 of 2", "11")
    assert early.cost == pytest.approx((3 * (150 + 20) + 360) / 360)


def test_a_larger_budget_chooses_by_the_own_runs_of_the_best_two(truth, one_run):
    found = rank_finalists(Ranking("shared", 2, {"00": 2.0, "01": 3.0, "11": 1.0}, passes=540.0), truth, one_run)
    assert (found.strategy, found.scores) == ("shared, budget 3", {"00": 54.0, "01": 50.0})
    verdict = judge(found, truth, one_run)
    assert (verdict.chosen, verdict.validation_regret, verdict.cost) == ("00", 3.0, pytest.approx(540 / 360 + 2))


def test_what_is_known_is_told_before_the_next_run_begins(truth, one_run, monkeypatch):
    begun = []

    def rank_shared(plan, patterns, divisor, seed, one_run):
        begun.append((patterns, divisor))
        return Ranking("shared", seed, {"00": 1.0}, 0.0)

    monkeypatch.setattr(measure_search, "rank_shared", rank_shared)
    shared = [("nested", 4), ("nested", 1), ("all", 4), ("all", 1)]
    rankings = try_strategies({"nested": None, "all": None}, truth, 1, one_run, shared, short=False)
    assert [next(rankings).strategy, next(rankings).strategy, begun] == ["one seed", "epoch 1 of 2", []]
    assert [next(rankings).strategy, begun] == ["shared", [("nested", 4)]]
    assert [ranking.strategy for ranking in rankings][::2] == ["shared, budget 3"] * 4
    assert begun == shared
