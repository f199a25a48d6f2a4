"""One group of runs as the page shows it."""

import pytest

from decausal.sweep.analysis import analyse
from decausal.sweep.grouping import group
from decausal.sweep.page import Part, Strip, strip


@pytest.fixture
def part(outcome):
    """A part of outcomes that are given by their arguments."""

    def build(*runs):
        return Part("part0", analyse(group([outcome(**run) for run in runs])[0]))

    return build


def test_a_strip_knows_which_layers_are_open(part):
    found = part({"unmask": "0011"}, {"unmask": "none"})
    assert strip("0011", found.group) == Strip(4, (2, 3), "2-3")
    assert strip("none", found.group) == Strip(4, (), "none")


def test_scores_have_their_place_between_the_lowest_and_the_highest(part):
    found = part(
        {"unmask": "0000", "test": {"f1": 60.0}},
        {"unmask": "0011", "test": {"f1": 65.0}},
        {"unmask": "1111", "test": {"f1": 80.0}},
    )
    assert [(row["heat"], row["place"], row["interval"]) for row in found.scores] == [
        (0, 0, [None, None]),
        (0.25, 0.25, [None, None]),
        (1, 1, [None, None]),
    ]
    assert not found.has_spread


def test_intervals_widen_the_range_of_places_and_not_that_of_heat(part):
    found = part(
        {"unmask": "0000", "seed": 120, "test": {"f1": 60.0}},
        {"unmask": "0000", "seed": 121, "test": {"f1": 60.0}},
        {"unmask": "0011", "seed": 120, "test": {"f1": 71.0}},
        {"unmask": "0011", "seed": 121, "test": {"f1": 73.0}},
    )
    assert [row["heat"] for row in found.scores] == [0, 1]
    assert found.scores[1]["interval"] == [0, 1]
    assert found.scores[1]["place"] == pytest.approx(0.5)
    assert found.has_spread


def test_equal_scores_have_a_place(part):
    found = part({"unmask": "0000"}, {"unmask": "0011"})
    assert [row["heat"] for row in found.scores] == [0, 0]


def test_the_map_has_rows_of_the_input_half_and_columns_of_the_output_half(part):
    found = part({"unmask": "001"}, {"unmask": "010"}, {"unmask": "100"}, {"unmask": "111"})
    first, second, third, last = found.scores
    assert found.grid == [
        [("000", None), ("001", first), ("010", second), ("011", None)],
        [("100", third), ("101", None), ("110", None), ("111", last)],
    ]


@pytest.mark.parametrize(
    "patterns",
    [["none", "2-3", "1-3"], ["00", "11", "0011"], ["0000", "0011", "1111"]],
    ids=["layers", "bits of several lengths", "less than half of the map"],
)
def test_other_patterns_have_no_map(part, patterns):
    assert part(*({"unmask": pattern} for pattern in patterns)).grid == []


def test_a_type_has_its_best_pattern_and_what_the_chosen_one_gains(part):
    (row,) = part(
        {"unmask": "0000", "validation": {"f1": 60.0}, "types": {"PER": {"f1": 50.0, "support": 7}}},
        {"unmask": "0011", "validation": {"f1": 62.0}, "types": {"PER": {"f1": 70.0, "support": 7}}},
        {"unmask": "1111", "validation": {"f1": 61.0}, "types": {"PER": {"f1": 71.0, "support": 7}}},
    ).types
    assert (row["best"], row["best_f1"], row["gain"], row["entities"]) == ("1111", 71, 20, 7)


def test_a_type_that_the_chosen_pattern_lacks_has_no_gain(part):
    (row,) = part(
        {"unmask": "0000", "validation": {"f1": 60.0}, "types": {"PER": {"f1": 0.0, "support": 0}}},
        {"unmask": "0011", "types": {}},
    ).types
    assert row["gain"] is None


def test_a_part_is_titled_by_its_axes(part):
    found = part({"unmask": "0011", "axes": {"learning_rate": 0.0005, "window": "causal"}})
    assert found.title == "learning_rate 0.0005, window causal"
    assert found.headline == "Unmask 0011: layers 2-3 of 4, with learning_rate 0.0005, window causal"


def test_what_the_tests_rest_on_is_told(part):
    found = part({"unmask": "0000"}, {"unmask": "0011"})
    assert (found.num_sentences, found.num_resamples) == (4, 9_999)
