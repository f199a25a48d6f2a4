"""How runs are put beside each other."""

import pytest

from decausal.sweep.grouping import group


def test_runs_that_differ_in_pattern_and_seed_are_one_group(outcome):
    (found,) = group([outcome("0011", 121), outcome("0000", 120), outcome("0011", 120)])
    assert found.axes == {}
    assert {pattern: list(runs) for pattern, runs in found.runs.items()} == {"0000": [120], "0011": [120, 121]}


def test_every_combination_of_further_fields_is_a_group(outcome):
    runs = [outcome(seed=seed, axes={"learning_rate": rate}) for rate in (1e-4, 5e-4) for seed in (120, 121)]
    slow, fast = group(runs)
    assert (slow.axes, fast.axes) == ({"learning_rate": 1e-4}, {"learning_rate": 5e-4})
    assert slow.seeds == fast.seeds == [120, 121]


def test_fields_may_hold_lists(outcome):
    (found,) = group([outcome("0011", axes={"columns": ["a", "b"]}), outcome("0000", axes={"columns": ["a", "b"]})])
    assert found.patterns == ["0000", "0011"]


def test_patterns_of_bits_stand_in_the_order_of_their_numbers(outcome):
    (found,) = group([outcome("1000"), outcome("0001"), outcome("0000"), outcome("0110")])
    assert found.patterns == ["0000", "0001", "0110", "1000"]


def test_other_patterns_stand_in_the_order_of_their_layers(outcome):
    (found,) = group([outcome("2-3"), outcome("all"), outcome("none"), outcome("1-3")])
    assert found.patterns == ["none", "all", "1-3", "2-3"]
    assert found.causal == "none"


def test_a_run_without_a_seed_or_a_pattern_in_its_setting_has_its_place(outcome):
    run = outcome("0011", None)
    del run.setting["unmask"]
    (found,) = group([run])
    assert found.runs == {"2-3": {None: run}}


def test_the_pattern_of_the_highest_validation_f1_is_chosen_and_of_equal_ones_the_first(outcome):
    runs = [
        outcome("0000", validation={"f1": 60.0}, test={"f1": 90.0}),
        outcome("0011", validation={"f1": 70.0}, test={"f1": 65.0}),
        outcome("0111", validation={"f1": 70.0}, test={"f1": 66.0}),
    ]
    (found,) = group(runs)
    assert found.chosen == "0011"
    assert found.best("test") == "0000"


def test_seeds_that_others_have_are_missing(outcome):
    (found,) = group([outcome("0000", 120), outcome("0000", 121), outcome("0011", 121), outcome("0011", 122)])
    assert found.missing() == {"0000": [122], "0011": [120]}
    assert found.common_seeds(["0000", "0011"]) == [121]


def test_test_scores_count_only_where_every_run_has_them(outcome):
    (found,) = group([outcome("0000"), outcome("0011", counts={"validation": [(1, 1, 1)]})])
    assert found.splits == ["validation"]
    assert found.split == "validation"


def test_no_causal_pattern_is_found_where_none_was_run(outcome):
    (found,) = group([outcome("0011")])
    assert found.causal is None


def test_two_runs_of_one_setting_are_refused(outcome):
    with pytest.raises(ValueError, match=r"two runs have the setting {'unmask': '0011', 'seed': 120}"):
        group([outcome("0011"), outcome("0011")])


def test_runs_that_were_scored_on_other_sentences_are_refused(outcome):
    few, many = {"validation": [(1, 1, 2)]}, {"validation": [(0, 1, 1), (1, 1, 3)]}
    (found,) = group([outcome("0000", counts=few), outcome("0011", counts=many)])
    with pytest.raises(ValueError, match="other validation sentences: 2 with 4 entities, and 1 with 2"):
        found.counts("validation")


def test_counts_are_by_run_and_sentence(outcome):
    runs = [
        outcome("0011", counts={"validation": [(1, 1, 2), (0, 3, 0)]}),
        outcome(counts={"validation": [(0, 0, 2), (0, 1, 0)]}),
    ]
    (found,) = group(runs)
    assert found.counts("validation").tolist() == [[[0, 0, 2], [0, 1, 0]], [[1, 1, 2], [0, 3, 0]]]
