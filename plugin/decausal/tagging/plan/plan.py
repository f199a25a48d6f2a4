"""The plan of a run: what its recipe needs on each device of a launch file, without weights and without a GPU."""

import argparse
import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate.utils.modeling import convert_file_size_to_int
from transformers.hf_argparser import string_to_bool

from decausal.tagging.align import read_column
from decausal.tagging.arguments import (
    TaggingArguments,
    TaggingModelConfig,
    TaggingTrainingArguments,
    parse_recipe,
    read_recipe,
)
from decausal.tagging.base import base_tokenizer, longest_input, read_config
from decausal.tagging.model import sketch_model
from decausal.tagging.packing import PackingCollator
from decausal.tagging.plan.step import FakeStep, StepMemory
from decausal.tagging.plan.strategy import Strategy, Weights, device_memory
from decausal.tagging.precision import describe_mixed_precision, mixed_precision, store_frozen_weights
from decausal.tagging.sampler import EpochSampler
from decausal.tagging.splits import Corpus, Split, fit_windows

CUDA_CONTEXT = 2**29
"""Bytes assumed for what CUDA, cuBLAS and the kernels themselves take of a GPU before the first tensor."""


@dataclass(frozen=True)
class Epoch:
    """The training data, as batches.

    Attributes:
        windows: how many there are.
        longest: sub-words of the longest, padding included.
        tokens: sub-words of all.
        padded_tokens: the same, padding, or tails of packed rows, included.
        steps: optimizer steps.
    """

    windows: int
    longest: int
    tokens: int
    padded_tokens: int
    steps: int


@dataclass(frozen=True)
class Need:
    """What one process needs, with or without gradient checkpointing.

    Attributes:
        device: bytes on its device, part by part.
        host: bytes that the strategy keeps in main memory.
        largest_batch: windows a micro-batch that still fit; None where no limit was given.
    """

    device: dict[str, int]
    host: dict[str, int]
    largest_batch: int | None

    @property
    def total(self) -> int:
        """Bytes on the device."""
        return sum(self.device.values())


@dataclass(frozen=True)
class Plan:
    """What a recipe needs under a strategy.

    Attributes:
        strategy: how the model is spread.
        on_gpu: whether its devices are GPUs.
        batch_size: windows a micro-batch, of each process.
        epoch: the training data.
        memory: bytes of each device; None where no limit was given.
        needs: with gradient checkpointing (True), and without.
        gradient_checkpointing: what the recipe says.
        notes: what was assumed.
    """

    strategy: Strategy
    on_gpu: bool
    batch_size: int
    epoch: Epoch
    memory: int | None
    needs: dict[bool, Need]
    gradient_checkpointing: bool
    notes: tuple[str, ...]

    def fits(self, gradient_checkpointing: bool) -> bool | None:
        """Whether the longest batch fits; None where no limit was given."""
        return None if self.memory is None else self.needs[gradient_checkpointing].total <= self.memory

    @property
    def ok(self) -> bool:
        """Whether the recipe as it stands fits, as far as a limit was given."""
        return self.fits(self.gradient_checkpointing) is not False


def make_plan(
    arguments: Sequence[str],
    launch: Path | None = None,
    num_processes: int | None = None,
    gpu_memory: str | None = None,
) -> Plan:
    """Plan a run.

    Args:
        arguments: `RECIPE.yaml --field value ...`, as for training.
        launch: a file of `accelerate config`; one process without.
        num_processes: instead of the launch file's.
        gpu_memory: of each device, such as `"24GiB"`.

    Raises:
        ValueError: an argument, the recipe or the launch file is unfit.
        DataError: the training data cannot be read.
        OSError: the model's configuration or tokenizer cannot be read.
    """
    memory = _to_bytes(gpu_memory)
    strategy = Strategy.of(launch, num_processes)
    on_gpu = strategy.on_gpu and not _wants_cpu(arguments)
    # What is planned for need not be here: transformers would ask this machine for it.
    tagging, model_config, training = parse_recipe([*arguments, "--use_cpu", "true", "--tf32", "false"])
    tagging = replace(tagging, validation_file=None, test_file=None)
    config = read_config(model_config)
    corpus = Corpus.read(tagging)
    tokenizer = base_tokenizer(tagging, model_config)
    tagging = fit_windows(tagging, longest_input(config, tokenizer))
    split = Split.of(corpus.sentences["train"], tokenizer, corpus.labels, tagging, training=True)
    epoch = _count_epoch(read_column(split.windows, "length").tolist(), tagging, training, strategy.processes)
    model_config, notes = _with_known_attention(model_config)
    needs = {}
    for checkpointing in (False, True):
        variant = copy.copy(training)
        variant.gradient_checkpointing = checkpointing
        needs[checkpointing] = _need((tagging, model_config, variant), corpus.labels, strategy, on_gpu, epoch, memory)
    if tagging.num_hidden_layers is not None:
        notes += (f"Planned with the first {tagging.num_hidden_layers} layers of the model.",)
    if tagging.num_copies > 1:
        notes += (f"Sub-words are those of {tagging.num_copies} copies of every window.",)
    if tagging.packing:
        notes += ("The memory is that of a batch of the longest windows, each padded: packed, it is seldom reached.",)
    notes += (_describe_precision(training), _assumptions(strategy, on_gpu))
    batch_size = training.per_device_train_batch_size
    return Plan(strategy, on_gpu, batch_size, epoch, memory, needs, bool(training.gradient_checkpointing), notes)


def largest_batch(need: Callable[[int], int], memory: int, most: int) -> int:
    """The largest batch whose need is at most a limit; 0 where not even 1 is.

    The need grows almost along a line, from which each guess comes; both sides of the border are evaluated.

    Args:
        need: bytes for a batch size; never falls.
        memory: the limit in bytes.
        most: no batch is larger than that.
    """
    low, high, guess = 0, most + 1, 1
    found: dict[int, int] = {}
    while high - low > 1:
        found[guess] = need(guess)
        if found[guess] <= memory:
            low = guess
        else:
            high = guess
        if len(found) == 1:
            guess = 2
        else:
            (first, start), (second, end) = sorted(found.items())[:2]
            guess = first + int((memory - start) * (second - first) / max(end - start, 1))
        guess = min(max(guess, low + 1), high - 1)
    return low


def _need(
    arguments: tuple[TaggingArguments, TaggingModelConfig, TaggingTrainingArguments],
    labels: list[str],
    strategy: Strategy,
    on_gpu: bool,
    epoch: Epoch,
    memory: int | None,
) -> Need:
    training = arguments[2]
    precision = mixed_precision(training)
    sketch = sketch_model(*arguments, labels)
    if strategy.leaves_weights:
        store_frozen_weights(sketch, precision)
    step = FakeStep(sketch, training, on_gpu, precision if strategy.casts_weights else None)
    weights = Weights.of(step.model)
    measured: dict[int, StepMemory] = {}

    def parts(batch_size: int) -> tuple[dict[str, int], dict[str, int]]:
        if batch_size not in measured:
            measured[batch_size] = step.measure(batch_size, epoch.longest, not strategy.shards_gradients)
        device, host = device_memory(weights, measured[batch_size], strategy, precision)
        return ({**device, "CUDA context (assumed)": CUDA_CONTEXT} if on_gpu else device), host

    device, host = parts(min(training.per_device_train_batch_size, epoch.windows))
    most = None
    if memory is not None:
        most = largest_batch(lambda size: sum(parts(size)[0].values()), memory, epoch.windows)
    return Need(device, host, most)


def _count_epoch(
    lengths: list[int], tagging: TaggingArguments, training: TaggingTrainingArguments, processes: int
) -> Epoch:
    size, accumulation = training.per_device_train_batch_size, training.gradient_accumulation_steps
    order = list(
        EpochSampler(
            lengths,
            step_size=size * accumulation * processes,
            multiple=1,
            strategy=training.train_sampling_strategy,
            seed=training.seed if training.data_seed is None else training.data_seed,
            epoch=lambda: 0,
        )
    )
    multiple = tagging.pad_to_multiple_of or 1
    batches = [[lengths[i] for i in order[start : start + size]] for start in range(0, len(order), size)]
    if tagging.packing:
        packer = PackingCollator(pad_token_id=0, row_length=tagging.packing_length, multiple=multiple)
        padded = [len(rows) * row_length for rows, row_length in map(packer.lay, batches)]
    else:
        padded = [len(batch) * multiple * math.ceil(max(batch) / multiple) for batch in batches]
    steps = math.ceil(math.ceil(len(batches) / processes) / accumulation)
    longest = multiple * math.ceil(max(lengths) / multiple)
    return Epoch(len(lengths), longest, sum(lengths), sum(padded), steps)


def _wants_cpu(arguments: Sequence[str]) -> bool:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    fields = read_recipe(Path(arguments[0]))
    parser.add_argument("--use_cpu", type=string_to_bool, nargs="?", const=True, default=fields.get("use_cpu", False))
    return bool(parser.parse_known_args(list(arguments[1:]))[0].use_cpu)


def _with_known_attention(model_config: TaggingModelConfig) -> tuple[TaggingModelConfig, tuple[str, ...]]:
    """The attention that can be run with fake tensors, and what there is to say about it."""
    asked = model_config.attn_implementation
    if asked in (None, "eager", "sdpa"):
        return model_config, ()
    changed = copy.copy(model_config)
    changed.attn_implementation = "sdpa"
    return changed, (f"attn_implementation={asked} is planned as sdpa, which keeps as much, and the mask.",)


def _assumptions(strategy: Strategy, on_gpu: bool) -> str:
    missing = ["evaluation", "gaps that the allocator leaves between tensors"]
    missing += ["workspaces of kernels"] if on_gpu else ["the program itself, with its libraries"]
    if strategy.stage:
        missing.append("DeepSpeed's all-gather of updated weights")
    return f"Not counted: {', '.join(missing)}."


def _describe_precision(training: TaggingTrainingArguments) -> str:
    dtype = describe_mixed_precision(training) or "the type of the weights"
    return f"Computed in {dtype}; a recipe without bf16 leaves that to the processor, and here to that of this machine."


def _to_bytes(size: str | None) -> int | None:
    if size is None:
        return None
    try:
        return int(convert_file_size_to_int(size))
    except ValueError:
        raise ValueError(f"gpu_memory={size!r}: give a number and its unit, such as 24GiB or 80GB.") from None
