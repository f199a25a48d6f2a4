"""The command, and the table of a recipe's layouts."""

import sys

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


def test_results_are_drawn_unless_matplotlib_is_missing(results_of, tmp_path, monkeypatch, capsys):
    plot = tmp_path / "results" / "pack.svg"
    results_of("pack", "--steps", "1", "--repetitions", "1")
    assert plot.stat().st_size > 0
    plot.unlink()
    monkeypatch.setitem(sys.modules, "bench_plot", None)
    monkeypatch.setattr("bench.find_spec", lambda name: None)
    results_of("pack", "--steps", "1", "--repetitions", "1")
    assert not plot.exists()
    assert f"bench_plot.py {plot.with_suffix('.json')} draws this elsewhere" in capsys.readouterr().out
