"""`decausal search`: which pattern is best, for about the price of two runs.

One run trains a single adapter for all patterns, each step with another one (`shared_patterns`), and scores every
pattern with it. The best are then trained on their own. How near this comes to trying everything, and that it does so
for nested patterns and with small batches only, is measured in RESULTS.md, section "Search".
"""

import json
import math
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from decausal._pattern import LayerPattern, format_layers
from decausal.sweep.outcome import Outcome
from decausal.sweep.prepare import Plan
from decausal.sweep.run import Runner
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.results import RESULTS, environment

SEARCH_FILE = "search.json"
_FEWEST_SENTENCES = 100
_SMALLER = 4
"""The shared run takes as many times more steps, of batches as many times smaller."""


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


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        candidates: all patterns; those with a run of their own first, then by the shared F1, the best in front.
        cost: the seconds of all runs, in units of the mean of those with one pattern.
    """

    candidates: tuple[Candidate, ...]
    cost: float

    @property
    def best(self) -> Candidate:
        """The pattern whose own run has the best validation F1."""
        return self.candidates[0]


def run_search(
    arguments: Sequence[str],
    *,
    patterns: str = "suffixes:4",
    budget: int = 2,
    launch: Path | None = None,
    console: Console | None = None,
) -> Found:
    """Search the best of some patterns, or go on with a search.

    Args:
        arguments: `RECIPE.yaml --field value ...`.
        patterns: as `parse_patterns` reads them.
        budget: in units of one run: one for all patterns together, the others for the best on their own.
        launch: a file of `accelerate config`.
        console: where progress is shown; by default the standard output.

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
    plan.check_directory()
    with _terminating_like_an_interrupt():
        shared, shared_seconds = _run_shared(plan, patterns, console)
        ranking = sorted(shared, key=lambda pattern: _rank(shared[pattern]))
        finalists = [_run_alone(plan, pattern, console) for pattern in ranking[: budget - 1]]
    found = _compare(plan, shared, finalists, shared_seconds)
    facts = {**environment(), **asdict(found), "best": found.best.pattern}
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    (plan.runner.directory / SEARCH_FILE).write_text(text + "\n", encoding="utf-8")
    print_found(found, console)
    return found


def shared_runner(plan: Plan, patterns: str, smaller: int = _SMALLER) -> Runner:
    """Runs the recipe with one adapter for all patterns.

    It trains on as many sentences as the recipe does, in smaller batches: every pattern is to have many steps. The
    learning rate falls with the square root of the batch. There are no evaluations on the way; the passes over
    validation sentences that they would take go into the scores of the patterns.

    Args:
        plan: of the patterns that share the adapter.
        patterns: the same, as `parse_patterns` reads them.
        smaller: how many times smaller the batches are.
    """
    _, _, training = parse_recipe([str(plan.runner.recipe), *plan.runner.overrides])
    batch, accumulation = _smaller_batch(
        training.per_device_train_batch_size, training.gradient_accumulation_steps, smaller
    )
    part = batch * accumulation / (training.per_device_train_batch_size * training.gradient_accumulation_steps)
    layers = {layer for pattern in plan.space.patterns for layer in LayerPattern(pattern).layers(plan.num_layers)}
    passes = max(1, round(training.num_train_epochs)) if training.eval_strategy == "epoch" else 1
    available = plan.num_sentences["validation"]
    sentences = min(available, max(passes * available // len(plan.space.patterns), _FEWEST_SENTENCES))
    fields: dict[str, Any] = {
        "unmask": ",".join(f"{layer}-{layer}" for layer in sorted(layers)),
        "shared_patterns": patterns,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": training.learning_rate * math.sqrt(part),
        "eval_strategy": "no",
        "load_best_model_at_end": "false",
        "max_eval_samples": sentences,
    }
    if training.max_steps > 0:
        fields["max_steps"] = round(training.max_steps / part)
    flags = [text for name, value in fields.items() for text in (f"--{name}", str(value))]
    return replace(plan.runner, overrides=(*plan.runner.overrides, *flags), directory=plan.runner.directory / "shared")


def _smaller_batch(batch: int, accumulation: int, smaller: int) -> tuple[int, int]:
    """Sentences of a device and batches of a step, their product smaller; fewer batches before smaller ones."""
    fewer = math.gcd(accumulation, smaller)
    return max(1, batch // (smaller // fewer)), accumulation // fewer


def print_found(found: Found, console: Console) -> None:
    """The patterns of a search, best first."""
    splits = list(found.best.alone or {})
    table = Table(
        "pattern", "unmasked layers", "shared loss", "shared F1", *(f"{name} F1" for name in splits), box=None
    )
    for candidate in found.candidates:
        alone = [f"{candidate.alone[name]['f1']:.2f}" if candidate.alone else "" for name in splits]
        table.add_row(candidate.pattern, format_layers(candidate.layers), f"{candidate.shared['f1']:.2f}", *alone)
    console.print(table)
    best = found.best
    console.print(
        f'best: "{best.pattern}" (layers {format_layers(best.layers)}), for the price of {found.cost:.1f} runs; its '
        f"tagger is in {best.output}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _run_shared(plan: Plan, patterns: str, console: Console) -> tuple[dict[str, dict[str, float]], float]:
    runner = shared_runner(plan, patterns)
    setting = {"seed": plan.space.seeds[0]}
    with console.status(f"one adapter for {len(plan.space.patterns)} patterns; log: {runner.log_of(setting)}"):
        outcome = runner.run(setting)
    results = json.loads((runner.output_of(setting) / RESULTS).read_text(encoding="utf-8"))
    shared: dict[str, dict[str, float]] = results["patterns"]
    if tuple(shared) != plan.space.patterns:
        raise ValueError(
            f"{runner.directory} holds a run of other patterns, {' '.join(shared)}: give another --output_dir."
        )
    return shared, outcome.seconds


def _run_alone(plan: Plan, pattern: str, console: Console) -> Outcome:
    setting = {"unmask": pattern, "seed": plan.space.seeds[0]}
    with console.status(f"{pattern} on its own; log: {plan.runner.log_of(setting)}"):
        return plan.runner.run(setting)


def _compare(plan: Plan, shared: dict[str, dict[str, float]], finalists: list[Outcome], shared_seconds: float) -> Found:
    runs = {outcome.setting["unmask"]: outcome for outcome in finalists}
    candidates = []
    for pattern, scores in shared.items():
        candidate = Candidate(pattern, LayerPattern(pattern).layers(plan.num_layers), scores)
        if run := runs.get(pattern):
            output = str(plan.runner.output_of(run.setting))
            candidate = replace(candidate, alone=run.scores, output=output)
        candidates.append(candidate)
    candidates.sort(key=lambda one: (-one.alone["validation"]["f1"] if one.alone else 1.0, _rank(one.shared)))
    seconds = [run.seconds for run in finalists]
    return Found(tuple(candidates), (shared_seconds + sum(seconds)) / mean(seconds))


def _rank(scores: dict[str, float]) -> tuple[float, float]:
    return -scores["f1"], scores["loss"]


@contextmanager
def _terminating_like_an_interrupt() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
