"""The findings in plain sentences."""

from dataclasses import replace

import pytest

from decausal.sweep.analysis import Analysis, Comparison, analyse
from decausal.sweep.answer import describe_layers, name_choice, say_duration, say_p, tell, warn
from decausal.sweep.grouping import group

RIGHT, WRONG = (1, 1, 1), (0, 1, 1)
FOUND = Comparison("0011", "0000", 12.345, (120, 121), 0.001, 0.02, 0.004, 0.04)


@pytest.fixture
def two(outcome):
    """The causal pattern and 0011, which is better, with two seeds each."""
    f1 = {("0000", 120): 60.0, ("0000", 121): 62.0, ("0011", 120): 71.0, ("0011", 121): 73.0}
    (found,) = group([outcome(*run, validation={"f1": 70.0 + (run[0] == "0011")}, test={"f1": f1[run]}) for run in f1])
    return found


@pytest.fixture
def telling(two):
    """The sentences where the comparison of the two comes out as given."""

    def build(**facts):
        return tell(Analysis(two, (replace(FOUND, **facts),), None, {}))

    return build


def test_what_to_do_names_the_pattern_and_its_layers(two):
    assert name_choice(two) == "Unmask 0011: layers 2-3 of 4"


@pytest.mark.parametrize(
    ("unmask", "headline"),
    [
        ("2-3", "Unmask layers 2-3 of 4"),
        ("-1", "Unmask -1: layer 3 of 4"),
        ("all", "Unmask all: layers 0-3 of 4"),
        ("0000", "Leave every layer causal (0000)"),
        ("none", "Leave every layer causal (none)"),
    ],
)
def test_what_to_do_fits_every_form_of_pattern(outcome, unmask, headline):
    assert name_choice(group([outcome(unmask)])[0]) == headline


def test_layers_of_a_causal_pattern_are_none(two):
    assert describe_layers(two, "0000") == "none of 4 layers"


def test_the_score_is_told_with_its_interval_and_the_gain_with_both_tests(telling):
    # 12.7062 is the 97.5th percentile of t with one degree of freedom, and the standard error is 1.
    assert telling() == [
        "On validation data it is the best of 2 patterns, with a mean F1 of 71.00; on test data it scores 72.00 "
        "(95 % confidence interval 59.29 to 84.71 over 2 seeds).",
        "That is 12.35 above the causal pattern 0000, which is significant over sentences (p = 0.004) and over seeds "
        "(p = 0.040).",
    ]


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"holm_seeds": 0.3}, "significant over sentences (p = 0.004) but not significant over seeds (p = 0.300)."),
        (
            {"holm_sentences": 0.05},
            "not significant over sentences (p = 0.050) but significant over seeds (p = 0.040).",
        ),
        (
            {"holm_sentences": 0.2, "holm_seeds": 0.3},
            "not significant over sentences (p = 0.200) and over seeds (p = 0.300).",
        ),
        (
            {"holm_seeds": None, "seeds": (120,)},
            "significant over sentences (p = 0.004); one seed cannot tell it over seeds.",
        ),
        (
            {"holm_seeds": None},
            "significant over sentences (p = 0.004); seeds that all differ by the same cannot tell it over seeds.",
        ),
    ],
    ids=["sentences alone", "seeds alone", "neither", "one seed", "seeds without spread"],
)
def test_the_verdict_keeps_sentences_and_seeds_apart(telling, facts, verdict):
    assert telling(**facts)[1].endswith(f"which is {verdict}")


def test_a_test_score_below_the_causal_one_is_told_as_such(telling):
    assert telling(gain=-1.5)[1].startswith("That is 1.50 below the causal pattern 0000")


def test_the_number_of_comparisons_is_told_where_p_was_corrected(two):
    other = replace(FOUND, pattern="0111")
    sentences = tell(Analysis(two, (FOUND, other), None, {}))
    assert sentences[1].endswith("over seeds (p = 0.040), Holm-corrected over 2 comparisons.")


def test_patterns_that_cannot_be_told_from_the_chosen_one_are_named(outcome):
    counts = {"0000": [WRONG] * 8, "0011": [RIGHT] * 8, "1111": [RIGHT] * 7 + [WRONG]}
    runs = [outcome(unmask, counts={"validation": rows}) for unmask, rows in counts.items()]
    assert tell(analyse(group(runs)[0]))[2:] == ["On these sentences 1 other pattern (1111) cannot be told from it."]


def test_without_test_data_or_causal_pattern_this_is_said(outcome):
    assert tell(analyse(group([outcome("0011", counts={"validation": [RIGHT]})])[0])) == [
        "On validation data it is the only pattern that was tried, with a mean F1 of 100.00 (one seed, so no "
        "confidence interval). There are no test data to check it on.",
        "No causal run is among them, so what unmasking gains is not known.",
    ]


def test_a_causal_choice_gains_nothing(outcome):
    runs = [outcome("0000", validation={"f1": 70.0}), outcome("0011", validation={"f1": 60.0})]
    assert tell(analyse(group(runs)[0]))[1] == "No unmasked pattern did better."


def test_patterns_without_a_seed_in_common_are_said_not_to_be_compared(outcome):
    runs = [outcome("0000", 120, validation={"f1": 7.0}), outcome("0011", 121)]
    assert tell(analyse(group(runs)[0]))[1:] == [
        "It has no seed in common with the causal pattern 0000, so the two are not compared."
    ]


def test_nothing_is_warned_of_a_complete_sweep(two):
    assert warn(two) == []


def test_missing_runs_are_warned_of(outcome):
    (found,) = group([outcome("0000", 120), outcome("0000", 121), outcome("0011", 121), outcome("0011", 122)])
    assert warn(found) == [
        "Runs are missing (0000 of seed 122; 0011 of seed 120). Two patterns are compared over the seeds that both "
        "have, but means are over those that a pattern has."
    ]


def test_one_seed_and_scores_of_0_are_warned_of(outcome):
    (found,) = group([outcome("0000"), outcome("0011", counts={"validation": [RIGHT], "test": [WRONG]})])
    assert warn(found) == [
        "There is one seed: no confidence intervals, and no test over seeds.",
        "Every F1 on test data is 0 for 0011.",
    ]


def test_choosing_and_testing_on_the_same_data_is_warned_of(outcome):
    runs = [outcome("0000", 120), outcome("0000", 121, counts={"validation": [RIGHT]})]
    assert warn(group(runs)[0]) == [
        "Only 1 of 2 runs have test scores, so none are shown.",
        "Patterns are tested on the validation data on which the best was chosen: its lead looks larger and surer "
        "than it is.",
    ]


@pytest.mark.parametrize(
    ("p", "text"), [(0.0123, "p = 0.012"), (0.0009, "p < 0.001"), (1.0, "p = 1.000"), (None, "p unknown")]
)
def test_p_values_are_written_as_in_papers(p, text):
    assert say_p(p) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.25, "4.2 s"), (85.2, "85 s"), (119.4, "119 s"), (474, "7.9 min"), (44_280, "12.3 h")]
)
def test_durations_are_in_a_unit_that_suits_them(seconds, text):
    assert say_duration(seconds) == text
