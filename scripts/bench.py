"""What things cost, measured: one table a command, with machine and versions, as JSON.

    python scripts/bench.py hook RECIPE.yaml RESULTS.json [--field value ...]
    python scripts/bench.py pack RECIPE.yaml RESULTS.json [--field value ...]

Model, data, LoRA and precision are those of a recipe of `decausal.tagging.train`. Every candidate is timed once in each
repetition, so that a machine which slows down slows all of them; a ratio is that of two times of one repetition. What
is told is the median over repetitions, and the extremes. RESULTS.json is written after each.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from transformers import DataCollatorForTokenClassification, set_seed

import decausal
from decausal._tokenizer import load_tokenizer
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.model import build_model, describe_parameters
from decausal.tagging.packing import PackingCollator
from decausal.tagging.results import environment
from decausal.tagging.sampler import EpochSampler
from decausal.tagging.splits import Corpus, Split
from decausal.tagging.trainer import token_mean_loss

Batch = dict[str, Any]
Candidate = Callable[[], float]


class Bench:
    """A recipe's model and training windows, ready to take steps.

    Args:
        arguments: `RECIPE.yaml --field value ...`.
        threads: of a CPU; by default torch's own number.
    """

    def __init__(self, arguments: Sequence[str], threads: int | None = None) -> None:
        threads = threads or torch.get_num_threads()
        tagging, self.model_config, self.training = parse_recipe(arguments)
        self.tagging = replace(tagging, validation_file=None, test_file=None)
        torch.set_num_threads(threads)  # accelerate has set one
        set_seed(self.training.seed)
        corpus = Corpus.read(self.tagging)
        self.tokenizer = load_tokenizer(
            str(self.model_config.model_name_or_path), add_prefix_space=self.tagging.add_prefix_space
        )
        self.windows = Split.of(
            corpus.sentences["train"], self.tokenizer, corpus.labels, self.tagging, training=True
        ).windows.select_columns(["input_ids", "attention_mask", "labels"])
        self.lengths = [len(ids) for ids in self.windows["input_ids"]]
        self.model = build_model(
            self.tagging, self.model_config, self.training, corpus.labels, self.tokenizer.pad_token_id
        ).to(self.training.device)
        self.model.train()
        if self.training.gradient_checkpointing:
            self.model.gradient_checkpointing_enable(self.training.gradient_checkpointing_kwargs)
        self.model.config.use_cache = False  # as Trainer does
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=0.0)  # every repetition computes the same

    def batches(self, strategy: str, count: int) -> list[list[int]]:
        """Batches of windows from all over an epoch of one of transformers' sampling strategies."""
        size = self.training.per_device_train_batch_size
        sampler = EpochSampler(
            self.lengths, step_size=size, multiple=1, strategy=strategy, seed=self.training.seed, epoch=lambda: 0
        )
        order = list(sampler)
        epoch = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
        return [epoch[place * len(epoch) // count] for place in range(count)]

    def padded(self, batch: Sequence[int]) -> Batch:
        """The batch as transformers' collator makes it."""
        multiple = self.tagging.pad_to_multiple_of
        collate = DataCollatorForTokenClassification(self.tokenizer, pad_to_multiple_of=multiple)
        return dict(collate([self.windows[place] for place in batch]))

    def packed(self, batch: Sequence[int]) -> Batch:
        """The batch in packed rows."""
        return PackingCollator.of(self.tagging, self.tokenizer, self.model)([self.windows[place] for place in batch])

    def seconds(self, batches: Sequence[Batch]) -> float:
        """How long one optimizer step on each batch takes, collation not included."""
        device = self.training.device
        batches = [{name: value.to(device) for name, value in batch.items()} for batch in batches]
        precision = torch.bfloat16 if self.training.bf16 else torch.float16 if self.training.fp16 else None
        begin = time.perf_counter()
        for batch in batches:
            with torch.autocast(device.type, precision) if precision else nullcontext():
                outputs = self.model(**{name: value for name, value in batch.items() if name != "labels"})
                loss = token_mean_loss(outputs, batch["labels"])
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), self.training.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        loss.item()  # the device has finished
        return time.perf_counter() - begin

    def facts(self) -> dict[str, Any]:
        """What was measured, and where."""
        return {
            "model": str(self.model_config.model_name_or_path),
            "parameters": describe_parameters(self.model),
            "unmask": self.tagging.unmask,
            "attention": self.model.config._attn_implementation,
            "batch": self.training.per_device_train_batch_size,
            "seed": self.training.seed,
            **environment(),
        }


@dataclass(frozen=True)
class Table:
    """What is measured against what.

    Attributes:
        figure: what a candidate returns, in words.
        candidates: return a figure each.
        baselines: for each candidate the one whose figure it is divided by.
        facts: what else is known.
    """

    figure: str
    candidates: dict[str, Candidate]
    baselines: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)


def hook(bench: Bench, steps: int) -> Table:
    """Seconds of a training step, untouched and unmasked: on padded batches, and on the same without their mask."""
    padded = [bench.padded(batch) for batch in bench.batches("random", steps)]
    whole = [{name: value for name, value in batch.items() if name != "attention_mask"} for batch in padded]

    def candidate(pattern: str, batches: list[Batch]) -> Candidate:
        def run() -> float:
            with decausal.unmask(bench.model, pattern) if pattern != "untouched" else nullcontext():
                return bench.seconds(batches) / steps

        return run

    candidates = {
        f"{kind}, {pattern}": candidate(pattern, batches)
        for kind, batches in (("padded", padded), ("unpadded", whole))
        for pattern in ("untouched", "0011", "1111")
    }
    baselines = {name: f"{name.split(',')[0]}, untouched" for name in candidates}
    return Table("seconds a step", candidates, baselines)


def pack(bench: Bench, steps: int) -> Table:
    """Real sub-words trained on in a second: in padded batches, in those of windows of like length, in packed rows."""
    drawn, grouped = bench.batches("random", steps), bench.batches("group_by_length", steps)
    laid = {
        "padded": (drawn, [bench.padded(batch) for batch in drawn]),
        "padded, grouped by length": (grouped, [bench.padded(batch) for batch in grouped]),
        "packed": (drawn, [bench.packed(batch) for batch in drawn]),
    }
    tokens = {
        name: sum(bench.lengths[place] for batch in members for place in batch) for name, (members, _) in laid.items()
    }

    def candidate(name: str) -> Candidate:
        return lambda: tokens[name] / bench.seconds(laid[name][1])

    slots = {name: sum(batch["input_ids"].numel() for batch in batches) for name, (_, batches) in laid.items()}
    facts = {"share of real sub-words": {name: tokens[name] / slots[name] for name in laid}}
    return Table(
        "real sub-words a second", {name: candidate(name) for name in laid}, dict.fromkeys(laid, "padded"), facts
    )


TABLES: dict[str, tuple[Callable[[Bench, int], Table], list[str]]] = {
    "hook": (hook, ["--unmask", "none"]),
    "pack": (pack, []),
}
"""What makes each table, and the fields that a recipe must have for it."""


def measure(table: Table, repetitions: int) -> Iterator[dict[str, Any]]:
    """All that is known of every candidate, after each repetition.

    Args:
        table: what to measure.
        repetitions: how often.
    """
    found: dict[str, list[float]] = {name: [] for name in table.candidates}
    for run in table.candidates.values():
        run()  # warms up
    for _ in range(repetitions):
        for name, run in table.candidates.items():
            found[name].append(run())
        yield {name: compare(found[name], found[table.baselines[name]]) for name in found}


def compare(figures: Sequence[float], baseline: Sequence[float]) -> dict[str, Any]:
    """Median and extremes of figures, and of their ratios to those that a baseline had in the same repetitions."""
    ratios = [figure / base for figure, base in zip(figures, baseline, strict=True)]
    return {
        name: {"median": median(values), "min": min(values), "max": max(values), "all": list(values)}
        for name, values in (("figure", figures), ("ratio", ratios))
    }


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("recipe", help="its fields may follow as --field value")
    parser.add_argument("results", type=Path)
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps of a measurement")
    parser.add_argument("--repetitions", type=int, default=5, help="measurements of each candidate")
    parser.add_argument("--threads", type=int, help="of a CPU; by default torch's own number")
    arguments, fields = parser.parse_known_args()
    make, forced = TABLES[arguments.table]
    bench = Bench([arguments.recipe, *fields, *forced], arguments.threads)
    table = make(bench, arguments.steps)
    facts = {"figure": table.figure, **table.facts, **bench.facts(), "steps": arguments.steps}
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Any] = {}
    for repetition, rows in enumerate(measure(table, arguments.repetitions), start=1):
        arguments.results.write_text(json.dumps({**facts, "results": rows}, indent=1) + "\n", encoding="utf-8")
        print(f"repetition {repetition} of {arguments.repetitions}", flush=True)
    for name, row in rows.items():
        figure, ratio = row["figure"], row["ratio"]
        print(
            f"{name}: {figure['median']:.4g} ({figure['min']:.4g} to {figure['max']:.4g}), "
            f"ratio {ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
        )


if __name__ == "__main__":
    main()
