"""Plots of a report, as SVG to stand within an HTML page and to take over its colours and its type."""

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decausal.sweep.analysis import Analysis
from decausal.sweep.tables import tabulate_curves

# Matplotlib wants colours, and the page decides about them: each of these stands for one of its own.
_COLOURS: Final = {
    "#010101": "currentColor",
    "#010102": "var(--chosen)",
    "#010103": "var(--causal)",
    "#010104": "var(--faint)",
    "#010105": "var(--line)",
}
INK, CHOSEN, CAUSAL, FAINT, LINE = _COLOURS
_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}
_SIZE: Final = (4.6, 3.5)  # inches: about as wide as a phone, so that type is as large there as it is meant
_JUST_ABOVE, _JUST_BELOW = (-7, 7), (7, -12)  # points


def draw_scatter(analysis: Analysis, name: str) -> str | None:
    """A point for each pattern: mean F1 on test over mean F1 on validation.

    Args:
        analysis: what is drawn.
        name: tells the picture from others of the page.

    Returns:
        An `<svg>` element; None where nothing was chosen: without test data, or with one pattern.
    """
    group, choice = analysis.group, analysis.choice
    if choice is None:
        return None
    points = {
        pattern: (group.mean_f1(pattern, "validation"), group.mean_f1(pattern, "test")) for pattern in group.patterns
    }
    with _style(name):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        x, y = zip(*points.values(), strict=True)
        axes.scatter(x, y, s=26, color=FAINT, linewidths=0)
        if group.causal is not None:
            _mark(axes, points[group.causal], f"{group.causal} causal", CAUSAL, _JUST_BELOW)
        if choice.best != choice.chosen:
            _mark(axes, points[choice.best], f"{choice.best} best on test", INK, _JUST_ABOVE)
        if choice.chosen != group.causal:
            _mark(axes, points[choice.chosen], f"{choice.chosen} chosen", CHOSEN, _JUST_BELOW)
        axes.margins(0.12)
        axes.set_xlabel("validation F1")
        axes.set_ylabel("test F1")
        return _as_element(figure, name, "Test F1 over validation F1, a point for each pattern")


def _mark(axes: Axes, point: tuple[float, float], text: str, colour: str, offset: tuple[float, float]) -> None:
    axes.scatter(point[0], point[1], s=46, color=colour, linewidths=0, zorder=3)
    side = "right" if offset[0] < 0 or point[0] > sum(axes.get_xlim()) / 2 else "left"
    shift = -abs(offset[0]) if side == "right" else offset[0]
    axes.annotate(text, point, (shift, offset[1]), textcoords="offset points", ha=side, color=colour, zorder=4)


def draw_curves(analysis: Analysis, name: str) -> str | None:
    """A line for each pattern: mean validation F1 over epochs.

    Args:
        analysis: what is drawn.
        name: tells the picture from others of the page.

    Returns:
        An `<svg>` element; None where no run was evaluated during training.
    """
    rows = tabulate_curves(analysis)
    if not rows:
        return None
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row["pattern"], []).append((row["epoch"], row["validation_f1"]))
    group = analysis.group
    with _style(name):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        for points in lines.values():
            axes.plot(*zip(*points, strict=True), color=FAINT, linewidth=0.8, marker="." if len(points) == 1 else "")
        roles = {group.chosen: ("chosen", CHOSEN), group.causal: ("causal", CAUSAL)}
        for marked, (role, colour) in roles.items():
            if marked in lines:
                x, y = zip(*lines[marked], strict=True)
                axes.plot(x, y, color=colour, linewidth=2, marker=".", label=f"{marked} {role}")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, loc="lower right", labelcolor="linecolor")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=max(row["epoch"] for row in rows) >= 2))
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation F1")
        return _as_element(figure, name, "Validation F1 over epochs, a line for each pattern")


@contextmanager
def _style(name: str) -> Iterator[None]:
    with rc_context({**_STYLE, "svg.hashsalt": name}):
        yield


def _as_element(figure: Figure, name: str, label: str) -> str:
    """The figure without what a file needs and a page does not, and with names that no other picture has."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    viewbox, inside = re.findall(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>(.*)', svg, flags=re.DOTALL)[0]
    inside = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", inside, flags=re.DOTALL)
    inside = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", inside)
    for stand_in, colour in _COLOURS.items():
        inside = inside.replace(stand_in, colour)
    return f'<svg role="img" aria-label="{html.escape(label)}" {viewbox}>{inside}'
