"""What a recipe's steps cost on this machine, and how much packed rows save."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from transformers import DataCollatorForTokenClassification, set_seed

from decausal._attach import Handle
from decausal._audit import audit
from decausal._layers import transformers_model
from decausal.tagging.align import read_column
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.base import base_tokenizer, longest_input, read_config
from decausal.tagging.comparison import Candidate, Table
from decausal.tagging.model import build_model, describe_layers, describe_parameters
from decausal.tagging.packing import PackingCollator, check_packable, check_packing
from decausal.tagging.precision import autocast, describe_mixed_precision, mixed_precision, store_frozen_weights
from decausal.tagging.results import environment
from decausal.tagging.sampler import EpochSampler
from decausal.tagging.splits import Corpus, Split, fit_windows
from decausal.tagging.trainer import token_mean_loss

Batch = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """How windows become batches.

    Attributes:
        strategy: transformers' for drawing them, `random` or `group_by_length`.
        is_packed: in rows end to end, instead of padded.
        is_causal: with every layer closed.
    """

    strategy: str
    is_packed: bool
    is_causal: bool = False


class Bench:
    """A recipe's model and training windows, ready to take steps.

    Args:
        arguments: `RECIPE.yaml --field value ...`.
        threads: of a CPU; by default torch's own number.

    Attributes:
        why_not_packed: what a run with `packing=true` would be refused with; None where it would not.

    Raises:
        ValueError: as in training.
    """

    def __init__(self, arguments: Sequence[str], threads: int | None = None) -> None:
        self.arguments = tuple(arguments)
        threads = threads or torch.get_num_threads()
        tagging, self.model_config, self.training = parse_recipe(arguments)
        self.tagging = replace(tagging, validation_file=None, test_file=None)
        torch.set_num_threads(threads)  # accelerate has set one
        set_seed(self.training.seed)
        self.corpus = Corpus.read(self.tagging)
        config = read_config(self.model_config)
        self.tokenizer = base_tokenizer(self.tagging, self.model_config)
        self.tagging = fit_windows(self.tagging, longest_input(config, self.tokenizer))
        windows = Split.of(
            self.corpus.sentences["train"], self.tokenizer, self.corpus.labels, self.tagging, training=True
        ).windows
        self.lengths: list[int] = read_column(windows, "length").tolist()
        self.windows = windows.select_columns(["input_ids", "attention_mask", "labels"])
        self.model = build_model(
            self.tagging, self.model_config, self.training, self.corpus.labels, self.tokenizer.pad_token_id
        ).to(self.training.device)
        self.base = transformers_model(self.model)
        self.why_not_packed = self._why_not_packed()
        store_frozen_weights(self.model, mixed_precision(self.training))
        self.model.train()
        if self.training.gradient_checkpointing:
            self.base.gradient_checkpointing_enable(self.training.gradient_checkpointing_kwargs)
        self.base.config.use_cache = False  # as Trainer does
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=0.0)  # every repetition computes the same

    def draw_epoch(self, strategy: str) -> list[list[int]]:
        """The full batches of an epoch in one of transformers' sampling strategies, as numbers of windows."""
        size = self.training.per_device_train_batch_size
        sampler = EpochSampler(
            self.lengths, step_size=size, multiple=1, strategy=strategy, seed=self.training.seed, epoch=lambda: 0
        )
        order = list(sampler)
        return [order[start : start + size] for start in range(0, len(order) - size + 1, size)] or [order]

    def draw_batches(self, strategy: str, count: int) -> list[list[int]]:
        """A few batches that stand for an epoch: evenly spread over all, in the order of their longest windows."""
        epoch = sorted(self.draw_epoch(strategy), key=lambda batch: max(self.lengths[window] for window in batch))
        return [epoch[(2 * place + 1) * len(epoch) // (2 * count)] for place in range(count)]

    def pad(self, batch: Sequence[int]) -> Batch:
        """The batch as transformers' collator makes it."""
        multiple = self.tagging.pad_to_multiple_of
        collate = DataCollatorForTokenClassification(self.tokenizer, pad_to_multiple_of=multiple)
        return dict(collate([self.windows[window] for window in batch]))

    def pack(self, batch: Sequence[int]) -> Batch:
        """The batch in packed rows."""
        return PackingCollator.of(self.tagging, self.tokenizer, self.model)([self.windows[window] for window in batch])

    def count_tokens(self, batches: Sequence[Sequence[int]]) -> int:
        """Sub-words in batches, padding not counted."""
        return sum(self.lengths[window] for batch in batches for window in batch)

    def time_steps(self, batches: Sequence[Batch]) -> float:
        """How long one optimizer step on each batch takes, collation not included."""
        device = self.training.device
        batches = [
            {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
            for batch in batches
        ]
        begin = time.perf_counter()
        for batch in batches:
            with autocast(device, mixed_precision(self.training)):
                outputs = self.model(**{name: value for name, value in batch.items() if name != "labels"})
                loss = token_mean_loss(outputs, batch["labels"])
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.training.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        loss.item()  # the device has finished
        return time.perf_counter() - begin

    def tokens_per_second(self, members: Sequence[Sequence[int]], batches: Sequence[Batch]) -> float:
        """Real sub-words trained on in a second.

        Args:
            members: the windows of each batch.
            batches: the same windows, padded or packed.
        """
        return self.count_tokens(members) / self.time_steps(batches)

    def profile(self, batches: Sequence[Batch]) -> dict[str, float]:
        """`profile_operations` of one optimizer step on each batch."""
        return profile_operations(lambda: self.time_steps(batches), self.training.device)

    def _why_not_packed(self) -> str | None:
        try:
            check_packable(self.base.config, self.training)
            check_packing(audit(self.model, self.tagging.unmask))
        except ValueError as error:
            return str(error)
        return None

    def facts(self) -> dict[str, Any]:
        """What was measured, and where."""
        return {
            "model": str(self.model_config.model_name_or_path),
            "parameters": describe_parameters(self.model),
            "unmask": self.tagging.unmask,
            "layers": describe_layers(self.model, self.tagging.unmask),
            "attention": self.base.config._attn_implementation,
            "computed in": describe_mixed_precision(self.training),
            "batch": self.training.per_device_train_batch_size,
            "seed": self.training.seed,
            **environment(),
        }


def profile_operations(run: Callable[[], object], device: torch.device) -> dict[str, float]:
    """The share of a call's time that each kind of torch's operations takes by itself, 0-1, the largest first."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        run()
    times = {
        event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in profiler.key_averages()
    }
    total = sum(times.values())
    return {name: own / total for name, own in sorted(times.items(), key=lambda item: -item[1]) if own}


def measure_share(bench: Bench, layout: Layout) -> float:
    """The share of an epoch's slots that real sub-words fill, 0-1."""
    epoch = bench.draw_epoch(layout.strategy)
    collator = PackingCollator.of(bench.tagging, bench.tokenizer, bench.model)
    multiple = bench.tagging.pad_to_multiple_of or 1

    def count_slots(batch: Sequence[int]) -> int:
        lengths = [bench.lengths[window] for window in batch]
        if layout.is_packed:
            rows, row_length = collator.lay(lengths)
            return len(rows) * row_length
        return len(batch) * -(-max(lengths) // multiple) * multiple

    return bench.count_tokens(epoch) / sum(map(count_slots, epoch))


def compare_layouts(bench: Bench, steps: int) -> Table:
    """Real sub-words trained on in a second, by the layout of batches; packed rows once more with every layer causal.

    A run pads grouped batches, or packs random ones, unless its recipe names another `train_sampling_strategy`. Packed
    rows are left out where they would be refused in training.
    """
    layouts = {
        "padded": Layout("random", is_packed=False),
        "padded, grouped by length": Layout("group_by_length", is_packed=False),
    }
    if bench.why_not_packed is None:
        layouts["packed"] = Layout("random", is_packed=True)
        layouts["packed, causal"] = Layout("random", is_packed=True, is_causal=True)

    def measure(members: list[list[int]], batches: list[Batch], is_causal: bool) -> float:
        with Handle.of(bench.model).paused() if is_causal else nullcontext():
            return bench.tokens_per_second(members, batches)

    candidates: dict[str, Candidate] = {}
    profiles = {}
    for name, layout in layouts.items():
        members = bench.draw_batches(layout.strategy, steps)
        batches = [(bench.pack if layout.is_packed else bench.pad)(batch) for batch in members]
        candidates[name] = partial(measure, members, batches, layout.is_causal)
        if not layout.is_causal:
            bench.time_steps(batches)  # what torch prepares for new shapes is no part of a profile
            profiles[name] = bench.profile(batches)
    shares = {name: measure_share(bench, layout) for name, layout in layouts.items()}
    facts = {"share of real sub-words": shares, "profiles": profiles}
    return Table("real sub-words a second", candidates, dict.fromkeys(candidates, "padded"), facts)
