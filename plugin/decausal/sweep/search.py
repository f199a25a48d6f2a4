"""`decausal search`: which pattern is best, for about the price of two runs.

One run trains a single adapter for all patterns, each step with another one (`shared_patterns`), and scores every
pattern with it. The best are then trained on their own. How near this comes to trying everything, and that it does so
for nested patterns and with small batches only, is measured in RESULTS.md, section "Search".
"""

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from decausal._pattern import LayerPattern, format_layers
from decausal.sweep.prepare import Plan
from decausal.sweep.shared_run import rank, read_scores, share_adapter
from decausal.tagging.outputs import writing
from decausal.tagging.results import RESULTS, environment

SEARCH_FILE = "search.json"


@dataclass(frozen=True)
class Candidate:
    """A pattern that was tried.

    Attributes:
        pattern: as it is written.
        layers: those that it unmasks, zero-based from the embedding side.
        shared: how well the shared adapter tags validation sentences with it: `f1` and the like, 0-100, and `loss`.
        alone: the scores of its own run, for each split, if it had one.
        output: the directory of that run.
    """

    pattern: str
    layers: tuple[int, ...]
    shared: dict[str, float]
    alone: dict[str, dict[str, Any]] | None = None
    output: str | None = None


def run_search(
    arguments: Sequence[str],
    *,
    patterns: str = "suffixes:4",
    budget: int = 2,
    launch: Path | None = None,
    console: Console | None = None,
) -> list[Candidate]:
    """Search the best of some patterns, or go on with a search.

    Args:
        arguments: `RECIPE.yaml --field value ...`.
        patterns: as `parse_patterns` reads them.
        budget: in units of one run: one for all patterns together, the others for the best on their own.
        launch: a file of `accelerate config`.
        console: where progress is shown; by default the standard output.

    Returns:
        All patterns, the best first: those that have a run of their own, in the same directory and with the same seed,
        by its validation F1, then the others by that of the shared adapter.

    Raises:
        ValueError: an argument does not fit, or the directory holds other runs.
        RunFailedError: a run ended with an error.
        DataError: the data cannot be read.
        KeyboardInterrupt: SIGINT or SIGTERM; the run that was interrupted has saved a checkpoint.
    """
    if budget < 2:
        raise ValueError(f"budget={budget}: one run ranks the patterns and one trains the best; give 2 or more.")
    console = console or Console()
    plan = Plan.of(arguments, patterns, launch=launch)
    if len(plan.space.patterns) < 2:
        raise ValueError(f"patterns={patterns!r} are one pattern, of {plan.num_layers} layers: there is no choice.")
    runner, setting = share_adapter(plan, patterns), {"seed": plan.space.seeds[0]}
    plan.check_directory()
    with _terminating_like_an_interrupt():
        with _showing(f"one adapter for {len(plan.space.patterns)} patterns; log: {runner.log_of(setting)}", console):
            runner.run(setting)
        scores = read_scores(runner, setting)
        if tuple(scores) != plan.space.patterns:
            raise ValueError(
                f"{runner.directory} holds a run of other patterns, {' '.join(scores)}: give another --output_dir."
            )
        ranking = rank(scores)
        wanted = ranking[: budget - 1]
        found = [_try_alone(plan, pattern, scores[pattern], console, run=pattern in wanted) for pattern in ranking]
    found.sort(key=lambda one: -one.alone["validation"]["f1"] if one.alone else 1.0)
    _save(found, setting, plan.runner.directory / SEARCH_FILE)
    print_found(found, console)
    return found


def print_found(found: Sequence[Candidate], console: Console) -> None:
    """The patterns of a search, in their order."""
    splits = list(found[0].alone or {})
    table = Table("pattern", "unmasked layers", "shared F1", *(f"{name} F1" for name in splits), box=None)
    for candidate in found:
        alone = [f"{candidate.alone[name]['f1']:.2f}" if candidate.alone else "" for name in splits]
        table.add_row(candidate.pattern, format_layers(candidate.layers), f"{candidate.shared['f1']:.2f}", *alone)
    console.print(table)
    console.print(
        f'best: "{found[0].pattern}" (layers {format_layers(found[0].layers)}); its tagger is in {found[0].output}',
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _try_alone(plan: Plan, pattern: str, shared: dict[str, float], console: Console, *, run: bool) -> Candidate:
    """A pattern with its own run, if that is wanted or there already."""
    setting = {"unmask": pattern, "seed": plan.space.seeds[0]}
    candidate = Candidate(pattern, LayerPattern(pattern).layers(plan.num_layers), shared)
    output = plan.runner.output_of(setting)
    if not run and not (output / RESULTS).is_file():
        return candidate
    with _showing(f"{pattern} on its own; log: {plan.runner.log_of(setting)}", console):
        outcome = plan.runner.run(setting)
    return Candidate(pattern, candidate.layers, shared, outcome.scores, str(output))


def _save(found: Sequence[Candidate], setting: dict[str, Any], path: Path) -> None:
    facts = {**environment(), **setting, "best": found[0].pattern, "candidates": [asdict(one) for one in found]}
    fresh = path.with_suffix(f".{os.getpid()}")
    with writing(path.parent):
        fresh.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        fresh.replace(path)


@contextmanager
def _showing(what: str, console: Console) -> Iterator[None]:
    """What runs, with a spinner; where there is no terminal, as a line."""
    if not console.is_terminal:
        console.print(what, markup=False, highlight=False, soft_wrap=True)
    with console.status(what):
        yield


@contextmanager
def _terminating_like_an_interrupt() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
