"""The command, and the table of a recipe's layouts."""

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_packed_rows_are_held_against_padded_batches(results_of):
    found = results_of("pack")
    assert list(found["results"]) == ["padded", "padded, grouped by length", "packed", "packed, causal"]
    assert found["share of real sub-words"]["packed"] > found["share of real sub-words"]["padded"]
    assert {len(row["figure"]["all"]) for row in found["results"].values()} == {3}
    assert found["results"]["padded"]["ratio"]["all"] == [1.0, 1.0, 1.0]


def test_a_peak_is_asked_for_where_there_is_a_share_of_it(results_of, capsys):
    with pytest.raises(SystemExit):
        results_of("pack", "--peak_tflops", "989")
    assert "--peak_tflops is of the table gpu" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--steps", "--repetitions"])
def test_nothing_is_measured_no_times(results_of, capsys, flag):
    with pytest.raises(SystemExit):
        results_of("pack", flag, "0")
    assert f"{flag} 0: give at least 1" in capsys.readouterr().err
