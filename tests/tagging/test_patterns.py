import pytest

from decausal.tagging.patterns import parse_patterns


def test_groups_are_all_patterns_of_as_many_bits():
    assert parse_patterns("groups:2", num_layers=5) == ("00", "01", "10", "11")
    assert len(parse_patterns("groups:4", num_layers=5)) == 16


def test_single_prefixes_and_suffixes_are_of_layers():
    assert parse_patterns("single", num_layers=3) == ("0-0", "1-1", "2-2")
    assert parse_patterns("prefixes", num_layers=3) == ("0-0", "0-1", "0-2")
    assert parse_patterns("suffixes", num_layers=3) == ("0-2", "1-2", "2-2")


def test_suffixes_and_prefixes_of_groups_are_nested_and_begin_with_none():
    assert parse_patterns("suffixes:4", num_layers=30) == ("0000", "0001", "0011", "0111", "1111")
    assert parse_patterns("prefixes:3", num_layers=5) == ("000", "100", "110", "111")
    assert len(parse_patterns("suffixes:12", num_layers=12)) == 13


def test_patterns_of_the_same_layers_are_tried_once():
    assert parse_patterns("none 0011 2-3 all 1111 0,1,2,3", num_layers=4) == ("none", "0011", "all")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "patterns='': give one or more"),
        ("groups", "from 1 to 5"),
        ("groups:6", "the model has 5 decoder layers"),
        ("groups:two", "from 1 to 5"),
        ("random", "patterns='random': unknown"),
        ("suffixes:", 'patterns="suffixes:": give a number of groups from 1 to 5'),
        ("prefixes:6", "from 1 to 5"),
        ("single:4", "'single:4' is no layer"),
        ("0-9", "the model has 5 decoder layers"),
        ("0011;1111", "'0011;1111' is no layer"),
    ],
)
def test_patterns_that_cannot_be_tried_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_patterns(text, num_layers=5)
