"""Draws what scripts/bench.py has measured, RESULTS.svg beside each RESULTS.json, without measuring it again.

    python scripts/bench_plot.py RESULTS.json ...

Medians with their extremes. Where the file has `curves`, `{panel: {line: [[x, candidate], ...]}}`, each panel is drawn
over its x, in points that are candidates; else every candidate is a bar. An axis over which values grow tenfold is
logarithmic.
"""

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

TENFOLD = 10


def draw(path: Path) -> None:
    """Draw one file: the same one twice gives the same picture to the byte."""
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = {name: row["figure"] for name, row in found["results"].items()}
    figure = (
        draw_curves(found["curves"], rows, found["figure"]) if "curves" in found else draw_bars(rows, found["figure"])
    )
    with rc_context({"svg.hashsalt": "decausal"}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def draw_bars(rows: dict[str, Any], title: str) -> Figure:
    """A bar for each candidate.

    Args:
        rows: of each candidate `median`, `min` and `max`.
        title: what these are.
    """
    figure = Figure(figsize=(8, 1 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(rows), [row["median"] for row in rows.values()], xerr=spread(rows.values()))
    axes.invert_yaxis()
    axes.set_xlabel(title)
    return figure


def draw_curves(panels: dict[str, Any], rows: dict[str, Any], title: str) -> Figure:
    """A panel for each thing that grows, and in it a line for each pattern.

    Args:
        panels: for each panel, named after its x, and each of its lines the points: pairs of x and candidate.
        rows: as in `draw_bars`.
        title: as in `draw_bars`.
    """
    figure = Figure(figsize=(3.6 * len(panels), 3.6), layout="constrained")
    for axes, (panel, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        draw_panel(axes, lines, rows)
        axes.set_xlabel(panel)
        axes.set_ylabel(title)
        axes.legend()
    return figure


def draw_panel(axes: Axes, lines: dict[str, Any], rows: dict[str, Any]) -> None:
    """The lines of one panel."""
    for line, points in lines.items():
        chosen = [(x, rows[candidate]) for x, candidate in sorted(points)]
        medians = [row["median"] for _, row in chosen]
        extremes = spread([row for _, row in chosen])
        axes.errorbar([x for x, _ in chosen], medians, yerr=extremes, label=line, marker=".", capsize=2)
    points = [point for line in lines.values() for point in line]
    places = sorted({x for x, _ in points})
    heights = [rows[candidate]["median"] for _, candidate in points]
    if max(places) >= TENFOLD * min(places):
        axes.set_xscale("log")
    if max(heights) >= TENFOLD * min(heights):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_yticks([], minor=True)
    else:
        axes.set_ylim(bottom=0)
    axes.set_xticks(places, labels=[f"{x:g}" for x in places])
    axes.set_xticks([], minor=True)


def spread(rows: Collection[dict[str, Any]]) -> list[list[float]]:
    """How far the extremes lie below and above the medians."""
    return [[row["median"] - row["min"] for row in rows], [row["max"] - row["median"] for row in rows]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    for each in parser.parse_args().results:
        draw(each)
