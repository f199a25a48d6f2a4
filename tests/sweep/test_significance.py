"""Tests of differences in F1, each on a case that can be counted out by hand or by scipy alone."""

import numpy as np
import pytest
from scipy import stats

from decausal.sweep.significance import (
    NestedTest,
    confidence_interval,
    holm,
    micro_f1,
    nested_pairs,
    num_resamples,
    rank_correlation,
    seed_test,
    swap_test,
)

RIGHT, WRONG = (1, 1, 1), (0, 1, 1)
SIXTEEN = [f"{number:04b}" for number in range(16)]
GROWING = {"100": 60.0, "101": 61.0, "110": 63.0, "111": 63.5, "010": 58.0, "011": 60.0, "000": 50.0}


def test_f1_is_of_the_sums_and_0_where_there_is_nothing_to_count():
    assert micro_f1(np.array([[1, 2, 2], [0, 0, 0], [3, 3, 3]])).tolist() == [50, 0, 100]


def test_p_is_the_share_of_all_swappings_that_differ_by_as_much():
    # Right entities of four: +2, +1 and -1, of which the eight signed sums are 4, 2, 2, 0, 0, -2, -2, -4.
    first, second = [(2, 2, 2), (1, 1, 1), (0, 1, 1)], [(0, 2, 2), (0, 1, 1), (1, 1, 1)]
    assert swap_test(np.array([first, second]), [([0], [1])]).tolist() == [6 / 8]


def test_f1_is_computed_anew_from_every_swapping():
    # Differences are 66.7 as it is and with both swapped, and 40 with one of the two.
    first, second = [(1, 1, 1), (0, 0, 1)], [(0, 0, 1), (0, 2, 1)]
    assert swap_test(np.array([first, second]), [([0], [1])]).tolist() == [2 / 4]


def test_a_sentence_is_swapped_in_all_seeds_together():
    counts = np.array([[RIGHT] * 3, [RIGHT] * 3, [WRONG] * 3, [WRONG] * 3])
    assert swap_test(counts, [([0, 1], [2, 3])]).tolist() == [2 / 8]


def test_the_mean_over_seeds_is_what_is_compared():
    # The second seed takes back what the first has gained.
    counts = np.array([[RIGHT] * 3, [WRONG] * 3, [WRONG] * 3, [RIGHT] * 3])
    assert swap_test(counts, [([0, 1], [2, 3])]).tolist() == [1]


def test_comparisons_are_independent_of_each_other():
    counts = np.array([[RIGHT] * 3, [WRONG] * 3, [WRONG, RIGHT, RIGHT]])
    assert swap_test(counts, [([0], [1]), ([1], [0]), ([0], [2])]).tolist() == [2 / 8, 2 / 8, 1]


def test_many_sentences_are_swapped_at_random_close_to_the_exact_p():
    # A sign test of 11 against 3: 2 * (364 + 91 + 14 + 1) / 2 ** 14.
    first, second = [RIGHT] * 11 + [WRONG] * 3, [WRONG] * 11 + [RIGHT] * 3
    assert swap_test(np.array([first, second]), [([0], [1])]) == pytest.approx([940 / 16384], abs=0.008)


def test_equal_predictions_have_p_1_and_opposite_ones_the_smallest_there_is():
    counts = np.array([[RIGHT] * 100, [RIGHT] * 100, [WRONG] * 100])
    assert swap_test(counts, [([0], [1]), ([0], [2])]).tolist() == [1, 1 / 10_000]


def test_the_same_seed_gives_the_same_p():
    counts = np.array([[RIGHT] * 20 + [WRONG] * 8, [WRONG] * 14 + [RIGHT] * 14])
    assert swap_test(counts, [([0], [1])]) == swap_test(counts, [([0], [1])])


def test_more_comparisons_are_swapped_more_often_so_that_p_can_pass_holm():
    assert num_resamples(29) == 9_999
    assert num_resamples(511) == 102_199


def test_one_sentence_cannot_be_swapped():
    with pytest.raises(ValueError, match="1 sentences: sentences are swapped from two on"):
        swap_test(np.array([[RIGHT], [WRONG]]), [([0], [1])])


def test_seeds_are_compared_by_students_paired_t():
    # Differences 2, 1 and 4: t is the root of 7, and p with two degrees of freedom 1 - t / sqrt(t * t + 2).
    assert seed_test([70, 72, 75], [68, 71, 71]) == pytest.approx(1 - 7**0.5 / 3)


@pytest.mark.parametrize(
    ("first", "second"),
    [([70.0], [60.0]), ([0.0, 0.0], [0.0, 0.0]), ([70.1, 71.2, 72.3], [60.1, 61.2, 62.3])],
    ids=["one seed", "all F1 are 0", "all differ by the same"],
)
def test_seeds_that_show_no_spread_tell_nothing(first, second):
    assert seed_test(first, second) is None


def test_holm_multiplies_by_the_number_of_those_left_and_never_falls():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]


def test_holm_of_nothing_is_nothing():
    assert holm([None, None]) == [None, None]
    assert holm([]) == []


def test_a_confidence_interval_is_students():
    # 4.3027 is the 97.5th percentile of t with two degrees of freedom.
    half = 4.302653 / 3**0.5
    assert confidence_interval([71, 72, 73]) == (pytest.approx(72 - half), pytest.approx(72 + half))


def test_one_value_has_no_confidence_interval_and_equal_ones_a_point():
    assert confidence_interval([71]) is None
    assert confidence_interval([0, 0, 0]) == (0, 0)


def test_a_confidence_interval_ends_where_f1_does():
    assert confidence_interval([20, 60]) == (0, 100)


def test_p_of_a_rank_correlation_is_the_share_of_all_orders():
    # Of 24 orders one has rho 1 and three, with two neighbours swapped, have 0.8.
    assert rank_correlation([1, 2, 3, 4], [10, 30, 20, 40]) == (pytest.approx(0.8), pytest.approx(2 * 4 / 24))
    assert rank_correlation([1, 2, 3], [1, 2, 3]) == (pytest.approx(1), pytest.approx(2 / 6))


def test_p_of_a_rank_correlation_of_many_is_that_of_students_t():
    first, second = range(8), [1, 0, 2, 3, 4, 5, 7, 6]
    rho = 1 - 6 * 4 / (8 * 63)
    t = rho * (6 / (1 - rho**2)) ** 0.5
    assert rank_correlation(first, second) == (pytest.approx(rho), pytest.approx(2 * stats.t.sf(t, 6)))


def test_pairs_keep_all_up_to_the_last_1_and_open_more_behind_it():
    assert nested_pairs(["000", "001", "010", "011", "100", "101", "110", "111"]) == [
        ("010", "011"),
        ("100", "101"),
        ("100", "110"),
        ("100", "111"),
        ("110", "111"),
    ]


def test_four_bits_have_the_17_pairs_of_the_paper():
    assert len(nested_pairs(SIXTEEN)) == 17


def test_only_bits_of_one_length_are_paired():
    assert nested_pairs(["10", "111", "1-5", "1-7", "all", "none"]) == []


def test_the_papers_test_is_scipys_on_means_of_pairs_one_sided():
    found = NestedTest.of(GROWING)
    expected = stats.ttest_rel([60, 60, 60, 63, 58], [61, 63, 63.5, 63.5, 60], alternative="less")
    assert found is not None
    assert len(found.pairs) == 5
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)


def test_the_papers_test_rejects_below_a_hundredth():
    assert NestedTest((), -3.0, 0.0099).rejects
    assert not NestedTest((), -3.0, 0.01).rejects


@pytest.mark.parametrize(
    "means",
    [{"00": 1.0, "10": 2.0, "11": 4.0}, {"100": 5.0, "101": 5.0, "110": 5.0}, {"none": 1.0}, {}],
    ids=["one pair", "no growth anywhere", "no bits", "nothing"],
)
def test_the_papers_test_is_left_out_where_it_has_nothing_to_test(means):
    assert NestedTest.of(means) is None
