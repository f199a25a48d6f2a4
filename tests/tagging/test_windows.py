"""Literal windows and the words read in them."""

import pytest

from decausal.tagging.windows import place_words

N = None


def test_a_word_is_read_where_its_poorer_side_has_most_context():
    windows = [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 8, 9]]
    assert place_words(windows, step=2) == [
        [0, 1, 2, 3, -1, -1],
        [-1, -1, 4, 5, -1, -1],
        [-1, -1, 6, 7, 8, 9],
    ]


def test_words_at_the_ends_of_the_sentence_stay_in_the_outer_windows():
    windows = [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7]]
    assert place_words(windows, step=1) == [
        [0, 1, 2, 3, -1, -1],
        [-1, -1, -1, 4, -1, -1],
        [-1, -1, -1, 5, 6, 7],
    ]


def test_with_equal_context_the_earlier_window_reads():
    assert place_words([[N, 0, 1, N], [N, 1, 2, N]], step=1) == [[-1, 0, 1, -1], [-1, -1, 2, -1]]


@pytest.mark.parametrize(
    ("position", "read"),
    [("first", [[0, -1], [1, -1], [-1, 2]]), ("last", [[0, -1], [-1, 1], [-1, 2]])],
)
def test_a_word_cut_by_a_border_is_read_where_it_is_whole(position, read):
    assert place_words([[0, 1], [1, 1], [1, 2]], step=1, position=position) == read


@pytest.mark.parametrize(("position", "read"), [("first", [[0, 1], [-1, 2]]), ("last", [[0, -1], [1, 2]])])
def test_a_word_whole_in_no_window_is_read_where_its_labelled_sub_word_is(position, read):
    assert place_words([[0, 1], [1, 2]], step=2, position=position) == read


@pytest.mark.parametrize(
    ("position", "read"),
    [("first", [[0, -1], [-1, -1], [-1, -1]]), ("last", [[-1, -1], [-1, -1], [-1, 0]])],
)
def test_a_word_longer_than_every_window_is_read_once(position, read):
    assert place_words([[0, 0], [0, 0], [0, 0]], step=1, position=position) == read


def test_words_without_sub_words_are_read_nowhere():
    assert place_words([[N, 1, 4, N]], step=1) == [[-1, 1, 4, -1]]


@pytest.mark.parametrize("windows", [[[]], [[N]], [[N, N]]])
def test_an_empty_sentence_reads_nothing(windows):
    assert place_words(windows, step=1) == [[-1] * len(windows[0])]
