import pytest

from decausal import LayerPattern
from decausal._pattern import format_layers


@pytest.mark.parametrize(
    ("text", "num_layers", "layers"),
    [
        ("0011", 32, tuple(range(16, 32))),
        ("1000", 32, tuple(range(8))),
        ("0001", 32, tuple(range(24, 32))),
        ("0011", 5, (3, 4)),
        ("1100", 5, (0, 1, 2)),
        ("10", 5, (0, 1, 2)),
        ("01", 5, (3, 4)),
        ("1", 3, (0, 1, 2)),
        ("0", 3, ()),
        ("10-10", 12, (10,)),
        ("2-3,0", 5, (0, 2, 3)),
        ("0,3,-1", 6, (0, 3, 5)),
        ("-2--1", 6, (4, 5)),
        (" 1 - 2 ", 6, (1, 2)),
        ("1-2,2-3", 6, (1, 2, 3)),
        ("all", 3, (0, 1, 2)),
        ("none", 3, ()),
    ],
)
def test_a_pattern_names_its_layers_from_the_input_side(text, num_layers, layers):
    assert LayerPattern.parse(text).layers(num_layers) == layers


def test_the_layers_keyword_is_the_models_depth():
    assert LayerPattern.parse("0011").layers(num_layers=4) == (2, 3)


def test_groups_of_a_depth_that_does_not_divide_differ_by_one_and_larger_ones_come_first():
    sizes = [len(LayerPattern.parse(bits).layers(30)) for bits in ("1000", "0100", "0010", "0001")]
    assert sizes == [8, 8, 7, 7]


def test_a_pattern_is_written_as_it_was_read():
    assert str(LayerPattern.parse(" 0, 3 ")) == "0,3"


@pytest.mark.parametrize("number", [9, 11, 11.0, None, True])
def test_an_unquoted_yaml_number_is_refused_with_the_quoted_form(number):
    with pytest.raises(TypeError, match=r'in quotes.*unmask: "0011".*9 or 11'):
        LayerPattern.parse(number)


@pytest.mark.parametrize("text", ["", "half", "3-", "0;1", "1,,2", "0011,x", "²", "0012", "0-03"])
def test_a_text_of_no_known_form_is_refused_with_the_forms(text):
    with pytest.raises(ValueError, match='group bits such as "0011"'):
        LayerPattern.parse(text)


def test_more_groups_than_layers_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r'unmask="00111" has 5 groups.*4 decoder layers'):
        LayerPattern.parse("00111").layers(4)


@pytest.mark.parametrize("text", ["4-4", "-5--5", "0-7"])
def test_a_layer_outside_the_model_is_refused_with_the_range(text):
    with pytest.raises(ValueError, match="4 decoder layers: they are 0 to 3, or -4 to -1"):
        LayerPattern.parse(text).layers(4)


def test_a_range_that_runs_down_is_refused():
    with pytest.raises(ValueError, match="from layer 3 down to layer 1"):
        LayerPattern.parse("3-1").layers(4)


@pytest.mark.parametrize(("layers", "text"), [((), "none"), ((3,), "3"), ((0, 1, 2, 7), "0-2,7"), ((1, 3), "1,3")])
def test_layers_are_shown_as_a_person_writes_them(layers, text):
    assert format_layers(layers) == text
