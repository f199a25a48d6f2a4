"""What a group of runs shows."""

import pytest

from decausal.sweep.analysis import Choice, analyse
from decausal.sweep.grouping import group

RIGHT, WRONG = (1, 1, 1), (0, 1, 1)


def both(*rows):
    return {"validation": [*rows], "test": [*rows]}


@pytest.fixture
def three(outcome):
    """0000 finds nothing, 0011 three of four, 1111 all."""
    (found,) = group(
        [
            outcome("0000", counts=both(WRONG, WRONG, WRONG, WRONG)),
            outcome("0011", counts=both(RIGHT, RIGHT, RIGHT, WRONG)),
            outcome("1111", counts=both(RIGHT, RIGHT, RIGHT, RIGHT)),
        ]
    )
    return analyse(found)


def test_every_pattern_is_compared_with_the_causal_and_with_the_chosen_one_each_pair_once(three):
    pairs = [(found.pattern, found.baseline) for found in three.comparisons]
    assert sorted(pairs) == [("0011", "0000"), ("0011", "1111"), ("1111", "0000")]


def test_differences_are_of_f1_with_p_values_over_sentences_corrected_for_all_comparisons(three):
    found = three.compare("1111", "0000")
    assert (found.gain, found.seeds, found.p_sentences) == (100, (120,), 2 / 16)
    assert found.holm_sentences == pytest.approx(3 * 2 / 16)
    assert (found.p_seeds, found.holm_seeds) == (None, None)


def test_a_comparison_can_be_seen_from_either_pattern(three):
    assert three.compare("0011", "1111").gain == -25
    assert three.compare("1111", "0011").gain == 25
    assert three.compare("0011", "0011") is None
    assert three.compare("0011", None) is None


def test_patterns_are_compared_over_the_seeds_that_both_have(outcome):
    runs = [
        outcome("0000", 120, counts=both(WRONG, WRONG)),
        outcome("0011", 120, counts=both(RIGHT, WRONG)),
        outcome("0011", 121, counts=both(RIGHT, RIGHT)),
    ]
    found = analyse(group(runs)[0]).compare("0011", "0000")
    assert (found.gain, found.seeds) == (50, (120,))


def test_patterns_without_a_seed_in_common_are_not_compared(outcome):
    found = analyse(group([outcome("0000", 120), outcome("0011", 121)])[0])
    assert found.comparisons == ()
    assert found.compare("0011", "0000") is None


def test_seeds_are_tested_where_there_are_several(outcome):
    scores = {("0000", 120): 68.0, ("0000", 121): 71.0, ("0000", 122): 71.0}
    scores |= {("0011", 120): 70.0, ("0011", 121): 72.0, ("0011", 122): 75.0}
    runs = [outcome(*run, test={"f1": f1}, validation={"f1": f1}) for run, f1 in scores.items()]
    assert analyse(group(runs)[0]).compare("0011", "0000").p_seeds == pytest.approx(1 - 7**0.5 / 3)


def test_without_a_causal_pattern_the_chosen_one_is_the_only_baseline(outcome):
    runs = [outcome("0011", counts=both(RIGHT, WRONG)), outcome("1111", counts=both(RIGHT, RIGHT))]
    found = analyse(group(runs)[0])
    assert [(each.pattern, each.baseline) for each in found.comparisons] == [("0011", "1111")]


def test_choosing_on_validation_is_measured_on_test(outcome):
    runs = [
        outcome("0000", validation={"f1": 60.0}, test={"f1": 61.0}),
        outcome("0011", validation={"f1": 70.0}, test={"f1": 72.5}),
        outcome("1111", validation={"f1": 71.0}, test={"f1": 70.0}),
    ]
    choice = analyse(group(runs)[0]).choice
    # Ranks 1 2 3 and 1 3 2: rho is 1 - 6 * (0 + 1 + 1) / (3 * 8).
    assert choice == Choice("1111", "0011", 2.5, pytest.approx(0.5), pytest.approx(1.0))


def test_two_patterns_and_equal_scores_have_no_rank_correlation(outcome):
    two = analyse(group([outcome("0000", test={"f1": 1.0}), outcome("0011")])[0]).choice
    equal = analyse(group([outcome("0000"), outcome("0011"), outcome("1111")])[0]).choice
    assert two.spearman is two.p is equal.spearman is equal.p is None


def test_nothing_was_chosen_without_test_data_or_another_pattern(outcome):
    validation = {"validation": [RIGHT, WRONG]}
    assert analyse(group([outcome("0000", counts=validation), outcome("0011", counts=validation)])[0]).choice is None
    assert analyse(group([outcome("0011")])[0]).choice is None


def test_the_papers_test_takes_the_means_of_the_seeds_that_all_patterns_have(outcome):
    means = {"0000": 50.0, "0010": 58.0, "0011": 60.0, "1000": 60.0, "1010": 63.0}
    runs = [outcome(pattern, 120, validation={"f1": f1}) for pattern, f1 in means.items()]
    complete = analyse(group(runs)[0]).nested
    extra = analyse(group([*runs, outcome("1000", 121, validation={"f1": 99.0})])[0]).nested
    # Pairs grow by 2 and by 3: t is -2.5 / 0.5, and p with one degree of freedom is atan(1 / 5) / pi.
    assert complete["validation"].statistic == extra["validation"].statistic == pytest.approx(-5)
    assert complete["validation"].p == pytest.approx(0.0628330)
    assert complete["test"] is None


def test_one_sentence_is_not_tested(outcome):
    runs = [outcome("0000", counts=both(WRONG)), outcome("0011", counts=both(RIGHT))]
    assert analyse(group(runs)[0]).comparisons == ()
