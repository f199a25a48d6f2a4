"""What the command line prints: tables, and tagged sentences as columns, JSON lines or in colour."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from decausal._audit import AuditReport
    from decausal.tagging.bench import Bench
    from decausal.tagging.comparison import Table as BenchTable
    from decausal.tagging.dependencies import Arcs, Dependencies
    from decausal.tagging.metrics import Scores
    from decausal.tagging.plan.plan import Plan
    from decausal.tagging.predict import TaggedSentence

_UNLIMITED = 10_000  # characters a line


def print_audit(report: "AuditReport") -> None:
    """A row for each layer, and the verdict below."""
    words = {True: "yes", False: "no", None: "cannot be packed"}
    _print_table(
        ("layer", "attention", "sees the future", "sees padding", "sees a packed neighbour", "verdict"),
        [
            (
                str(layer.layer),
                layer.kind,
                words[layer.sees_future],
                words[layer.sees_padding],
                words[layer.sees_neighbour],
                layer.problem or ("unmasked, as the pattern says" if layer.expected_open else "causal"),
            )
            for layer in report.layers
        ],
    )
    print(report)


def print_scores(scores: "Scores") -> None:
    """Entity-level scores over all types and for each, 0-100, and the accuracy below."""
    rows = {"all (strict)": scores.strict, **scores.types, "all (conlleval)": scores.conlleval}
    _print_table(
        ("", "precision", "recall", "F1", "entities"),
        [
            (name, f"{row.precision:.2f}", f"{row.recall:.2f}", f"{row.f1:.2f}", str(row.support))
            for name, row in rows.items()
        ],
    )
    print(f"accuracy {scores.accuracy:.2f}")


def print_dependencies(found: "Dependencies", parsed_by: str) -> None:
    """A row for all tagged words and for those of each type, and below it what the heads are from."""
    rows = {"all": found.total, **found.types}
    _print_table(
        ("", "tagged words", "arcs left", "arcs right", "right / all arcs"),
        [(name, f"{arcs.words:,}", f"{arcs.left:,}", f"{arcs.right:,}", _share(arcs)) for name, arcs in rows.items()],
    )
    print(f"{found.sentences:,} sentences; heads: {parsed_by}")


def print_plan(plan: "Plan") -> None:
    """A row for each part of a device's memory, with and without gradient checkpointing, and the epoch below."""
    needs = [plan.needs[False], plan.needs[True]]
    recipes = [" (recipe)" if plan.gradient_checkpointing is on else "" for on in (False, True)]
    fits = {True: "yes", False: "no", None: ""}
    rows = [(name, *(_gib(need.device[name]) for need in needs)) for name in needs[0].device]
    rows.append(("total", *(_gib(need.total) for need in needs)))
    if plan.memory is not None:
        rows.append((f"fits in {_gib(plan.memory)}", *(fits[plan.fits(on)] for on in (False, True))))
        rows.append(("largest batch that fits", *(str(need.largest_batch) for need in needs)))
    rows += [(f"in main memory: {name}", *(_gib(need.host[name]) for need in needs)) for name in needs[0].host]
    device = "GPU" if plan.on_gpu else "CPU"
    titles = [f"{title}{mark}" for title, mark in zip(("no checkpointing", "checkpointing"), recipes, strict=True)]
    _print_table((f"each {device}", *titles), rows)
    epoch = plan.epoch
    print(
        f"{plan.strategy}; batches of {plan.batch_size}, the longest window has {epoch.longest} sub-words.\n"
        f"An epoch: {epoch.windows:,} windows, {epoch.steps:,} steps, {epoch.tokens:,} sub-words, "
        f"{epoch.padded_tokens:,} with padding."
    )
    for note in plan.notes:
        print(note)


def print_bench(bench: "Bench", table: "BenchTable", results: dict[str, Any]) -> None:
    """A row for each way to lay a batch out, and below it where a step's time goes."""
    shares = table.facts["share of real sub-words"]
    rows = []
    for name, row in results.items():
        figure, ratio = row["figure"], row["ratio"]
        minutes = sum(bench.lengths) / figure["median"] / 60
        rows.append(
            (
                name,
                f"{figure['median']:,.0f} ({figure['min']:,.0f} to {figure['max']:,.0f})",
                f"{ratio['median']:.2f}",
                f"{100 * (1 - shares[name]):.1f} %",
                f"{minutes:,.1f} minutes",
            )
        )
    _print_table(("", table.figure, "ratio to padded", "padding", "an epoch"), rows)
    facts = bench.facts()
    print(
        f"{facts['model']}, {facts['parameters']}\n"
        f"{facts['layers']}\n"
        f"batches of {facts['batch']}, {facts['attention']}, "
        f"{facts['computed in'] or 'no'} mixed precision, {facts['machine']['threads']} threads"
    )
    layout, profile = list(table.facts["profiles"].items())[-1]
    most = ", ".join(f"{name} {100 * share:.0f} %" for name, share in list(profile.items())[:3])
    print(f"most of a step's time ({layout}): {most}")
    if bench.why_not_packed:
        print(f"not packed: {bench.why_not_packed}")


def sentence_writer(output: str, types: Sequence[str]) -> Callable[["TaggedSentence"], str]:
    """A function that writes one tagged sentence.

    Args:
        output: `"conll"`, `"jsonl"` or `"color"`.
        types: the entity types, each of which gets a colour.
    """
    writers: dict[str, Callable[[TaggedSentence], str]] = {
        "conll": _as_conll,
        "jsonl": _as_json,
        "color": partial(_as_color, types),
    }
    return writers[output]


def check_columns(sentences: Iterable[Sequence[str]]) -> None:
    """Refuses words that columns cannot hold.

    Raises:
        ValueError: a word is empty, or holds a tab or a line break.
    """
    for number, words in enumerate(sentences, 1):
        for word in words:
            if not word or re.search(r"[\t\r\n]", word):
                raise ValueError(
                    f"sentence {number} has the word {word!r}, and columns have no place for an empty word, a tab or a "
                    f"line break: choose --output jsonl."
                )


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal, or else as wide as it needs: no cell is ever cut."""
    table = Table()
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else _UNLIMITED).print(table)


def _share(arcs: "Arcs") -> str:
    return "no arcs" if arcs.ratio is None else f"{arcs.ratio:.4f}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def _as_conll(sentence: "TaggedSentence") -> str:
    return "".join(f"{word}\t{tag}\n" for word, tag in zip(sentence.tokens, sentence.tags, strict=True))


def _as_json(sentence: "TaggedSentence") -> str:
    scores = [None if value is None else round(value, 4) for value in sentence.scores]
    return json.dumps({"tokens": sentence.tokens, "tags": sentence.tags, "scores": scores}, ensure_ascii=False)


def _as_color(types: Sequence[str], sentence: "TaggedSentence") -> str:
    words = list(sentence.tokens)
    for kind, first, end in sentence.entities:
        words[first] = f"\033[{41 + types.index(kind) % 6};97m {words[first]}"
        words[end - 1] = f"{words[end - 1]} \033[2m{kind} \033[0m"
    return " ".join(words)
