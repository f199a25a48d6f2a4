"""Plots are drawn from raw results alone."""

import json
import subprocess
import sys

import pytest

import bench_plot


def row(median: float) -> dict:
    return {"median": median, "min": median / 2, "max": median * 3}


ROWS = {"4": row(300), "1": row(20), "2": row(70), "4, open": row(310), "1, open": row(25)}
LINES = {"untouched": [[4, "4"], [1, "1"], [2, "2"]], "1111": [[1, "1, open"], [4, "4, open"]]}


def test_a_panel_has_a_line_for_each_pattern_in_the_order_of_x():
    figure = bench_plot.draw_curves({"layers": LINES, "rows": LINES}, ROWS, "sub-words a second")
    first, second = figure.axes
    assert (first.get_xlabel(), second.get_xlabel()) == ("layers", "rows")
    assert first.get_ylabel() == "sub-words a second"
    handles, labels = first.get_legend_handles_labels()
    assert labels == ["untouched", "1111"]
    line, _, [bars] = handles[0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2, 4], [20, 70, 300])
    assert [tuple(y for _, y in segment) for segment in bars.get_segments()] == [(10, 60), (35, 210), (150, 900)]


@pytest.mark.parametrize(("last", "scale"), [(9, "linear"), (10, "log"), (4096, "log")])
def test_an_axis_of_tenfold_values_is_logarithmic(last, scale):
    lines = {"untouched": [[1, "one"], [last, "last"]]}
    [axes] = bench_plot.draw_curves({"": lines}, {"one": row(1), "last": row(last)}, "").axes
    assert (axes.get_xscale(), axes.get_yscale()) == (scale, scale)


def test_ticks_are_the_points_that_were_measured():
    [axes] = bench_plot.draw_curves({"": LINES}, ROWS, "").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4"]


def test_a_table_without_curves_is_drawn_in_bars():
    [axes] = bench_plot.draw_bars(ROWS, "seconds").axes
    assert [patch.get_width() for patch in axes.patches] == [300, 20, 70, 310, 25]
    assert axes.get_xlabel() == "seconds"


@pytest.mark.parametrize("facts", [{}, {"curves": {"layers": LINES}}])
def test_a_plot_is_drawn_again_without_measuring(tmp_path, facts):
    path = tmp_path / "results.json"
    results = {name: {"figure": figure} for name, figure in ROWS.items()}
    path.write_text(json.dumps({"figure": "seconds", **facts, "results": results}))
    bench_plot.draw(path)
    picture = path.with_suffix(".svg")
    before = picture.read_bytes()
    picture.unlink()
    subprocess.run([sys.executable, bench_plot.__file__, str(path)], check=True)
    assert picture.read_bytes() == before
