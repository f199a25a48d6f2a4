"""What things cost, measured: one table a command, with machine and versions, as JSON.

    python scripts/bench.py hook RECIPE.yaml RESULTS.json [--field value ...]
    python scripts/bench.py pack RECIPE.yaml RESULTS.json [--field value ...]

Model, data, LoRA and precision are those of a recipe of `decausal.tagging.train`. Every candidate is timed once in each
repetition, so that a machine which slows down slows all of them; a ratio is that of two times of one repetition. What
is told is the median over repetitions, and the extremes. RESULTS.json is written after each.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
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

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=(__doc__ or "").splitlines()[0])
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
Recipe = Annotated[Path, typer.Argument(help="Recipe, whose fields may follow as --field value.")]
Results = Annotated[Path, typer.Argument(help="Where to write.")]
Steps = Annotated[int, typer.Option(help="Optimizer steps of a measurement.")]
Repetitions = Annotated[int, typer.Option(help="Measurements of each candidate.")]
Threads = Annotated[int | None, typer.Option(help="Threads of a CPU.")]


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
        collate = PackingCollator(
            self.tokenizer.pad_token_id, self.tagging.packing_length, multiple=self.tagging.pad_to_multiple_of or 1
        )
        return collate([self.windows[place] for place in batch])

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


@app.command(context_settings=_PASSED_ON)
def hook(
    context: typer.Context,
    recipe: Recipe,
    results: Results,
    steps: Steps = 4,
    repetitions: Repetitions = 5,
    threads: Threads = None,
) -> None:
    """Seconds of a training step, untouched and with 0011 and 1111 unmasked, on padded and unpadded batches."""
    bench = Bench([str(recipe), "--unmask", "none", *context.args], threads)
    mixed = [bench.padded(batch) for batch in bench.batches("random", steps)]
    whole = [{name: value for name, value in batch.items() if name != "attention_mask"} for batch in mixed]

    def candidate(pattern: str | None, batches: list[Batch]) -> Candidate:
        def run() -> float:
            handle = decausal.unmask(bench.model, pattern) if pattern else None
            try:
                return bench.seconds(batches) / steps
            finally:
                if handle is not None:
                    handle.remove()

        return run

    candidates = {
        f"{kind}, {pattern or 'untouched'}": candidate(pattern, batches)
        for kind, batches in (("padded", mixed), ("unpadded", whole))
        for pattern in (None, "0011", "1111")
    }
    baselines = {name: f"{name.split(',')[0]}, untouched" for name in candidates}
    _measure(candidates, baselines, repetitions, results, {"figure": "seconds a step", **bench.facts()})


@app.command(context_settings=_PASSED_ON)
def pack(
    context: typer.Context,
    recipe: Recipe,
    results: Results,
    steps: Steps = 8,
    repetitions: Repetitions = 5,
    threads: Threads = None,
) -> None:
    """Real sub-words trained on in a second: in packed rows, in padded batches, and in those of like length."""
    bench = Bench([str(recipe), *context.args], threads)
    drawn, grouped = bench.batches("random", steps), bench.batches("group_by_length", steps)
    laid = {
        "padded": [bench.padded(batch) for batch in drawn],
        "padded, grouped by length": [bench.padded(batch) for batch in grouped],
        "packed": [bench.packed(batch) for batch in drawn],
    }
    tokens = {
        name: sum(bench.lengths[place] for batch in (grouped if "grouped" in name else drawn) for place in batch)
        for name in laid
    }
    fill = {name: tokens[name] / sum(batch["input_ids"].numel() for batch in found) for name, found in laid.items()}
    candidates: dict[str, Candidate] = {
        name: lambda name=name: tokens[name] / bench.seconds(laid[name])  # type: ignore[misc]
        for name in laid
    }
    facts = {"figure": "real sub-words a second", "share of real sub-words": fill, **bench.facts()}
    _measure(candidates, dict.fromkeys(candidates, "padded"), repetitions, results, facts)


def _measure(
    candidates: dict[str, Candidate], baselines: dict[str, str], repetitions: int, path: Path, facts: dict[str, Any]
) -> None:
    """Measure, write, and print.

    Args:
        candidates: return a figure each.
        baselines: whose figure each is divided by.
        repetitions: how often.
        path: of the JSON.
        facts: what else goes there.
    """
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()  # warms up
    for repetition in range(1, repetitions + 1):
        for name, run in candidates.items():
            found[name].append(run())
        rows = {name: compare(found[name], found[baselines[name]]) for name in candidates}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**facts, "results": rows}, indent=1) + "\n", encoding="utf-8")
        typer.echo(f"repetition {repetition} of {repetitions}")
    for name, row in rows.items():
        ratio, figure = row["ratio"], row["figure"]
        typer.echo(
            f"{name}: {figure['median']:.4g} ({figure['min']:.4g} to {figure['max']:.4g}), "
            f"ratio {ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
        )


def compare(figures: Sequence[float], baseline: Sequence[float]) -> dict[str, Any]:
    """Median and extremes of figures, and of their ratios to those that a baseline had in the same repetitions."""
    ratios = [figure / base for figure, base in zip(figures, baseline, strict=True)]
    return {
        name: {"median": median(values), "min": min(values), "max": max(values), "all": list(values)}
        for name, values in (("figure", figures), ("ratio", ratios))
    }


if __name__ == "__main__":
    app()
