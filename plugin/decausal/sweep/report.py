"""The page of a sweep, with its tables: what to choose, and all that speaks for it or against it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jinja2

from decausal.sweep.analysis import analyse
from decausal.sweep.answer import say_duration, say_p
from decausal.sweep.grouping import group
from decausal.sweep.outcome import Outcome, Setting
from decausal.sweep.page import SHOWN_TYPES, Part, strip
from decausal.sweep.significance import ALPHA, PAPER_ALPHA
from decausal.sweep.tables import write_tables
from decausal.sweep.trials import Failure

REPORT: Final = "report.html"
_UNKNOWN: Final = "\u2013"


def write_report(name: str, outcomes: Sequence[Outcome], failures: Sequence[Failure], directory: Path) -> Path:
    """Write a page that needs nothing beside itself, `report.html`, and every table as CSV and as LaTeX.

    Runs that differ in other fields than `unmask` and `seed` are reported apart, those with the best validation F1
    first.

    Args:
        name: of the study.
        outcomes: the finished runs.
        failures: the trials that failed.
        directory: where the files are written; made if need be.

    Returns:
        The path of the page.

    Raises:
        ValueError: two runs have the same setting, or those of a group were not scored on the same sentences.
    """
    groups = sorted(group(outcomes), key=lambda each: -each.mean_f1(each.chosen, "validation"))
    parts = [Part(f"part{place}", analyse(each)) for place, each in enumerate(groups)]
    directory.mkdir(parents=True, exist_ok=True)
    write_tables([part.analysis for part in parts], directory)
    page = _template().render(
        name=name,
        parts=parts,
        outcomes=outcomes,
        failures=failures,
        varied=vary([*(outcome.setting for outcome in outcomes), *(failure.setting for failure in failures)]),
        machines=sorted({say_setting(outcome.machine) for outcome in outcomes}),
        alpha=ALPHA,
        paper_alpha=PAPER_ALPHA,
        num_shown_types=SHOWN_TYPES,
    )
    path = directory / REPORT
    path.write_text(page, encoding="utf-8")
    return path


def vary(settings: Sequence[Setting]) -> dict[str, list[str]]:
    """All values of every field, each once, in the order in which they come."""
    values: dict[str, dict[str, None]] = {}
    for setting in settings:
        for name, value in setting.items():
            values.setdefault(name, {})[str(value)] = None
    return {name: list(found) for name, found in values.items()}


def say_setting(setting: Setting) -> str:
    """Fields and their values in one line, without those that are None."""
    return ", ".join(f"{name} {value}" for name, value in setting.items() if value is not None)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("decausal.sweep", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "score": lambda value: _show(value, "{:.2f}"),
        "signed": lambda value: _show(value, "{:+.2f}"),
        "p": lambda value: _UNKNOWN if value is None else say_p(value).removeprefix("p = ").removeprefix("p "),
        "say_p": say_p,
        "duration": say_duration,
        "setting": say_setting,
        "strip": strip,
        "unbroken": _keep_together,
    }
    return environment.get_template("report.html.jinja")


def _show(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else form.format(value).replace("-", "\u2212")


def _keep_together(text: str) -> str:
    """The text with ranges of numbers and p-values that no line break divides."""
    text = re.sub(r"(?<=\d)-(?=\d)", "\u2011", text)
    return re.sub(r"(?<=\bp) ([=<]) ", "\u00a0\\1\u00a0", text)
