"""What unmasking costs: tokens a second and peak memory of QLoRA steps, causal and unmasked, by attention kernel.

    python benchmarks/random_model.py MODEL_DIR
    python benchmarks/gpu_steps.py MODEL_DIR RESULTS.json

A step is forward, backward and AdamW on one padded batch, of a token classifier in NF4 with LoRA on every linear layer,
gradient checkpointing and bfloat16. One model is built, and its kernel and pattern are switched between measurements.
Every repetition measures all of them once, so that a machine which slows down slows down all; RESULTS.json is written
after each. A kernel that cannot take a step is left out, and its error is kept; the exit status is then 1.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import decausal
from decausal.tagging.arguments import TaggingArguments, TaggingModelConfig, TaggingTrainingArguments
from decausal.tagging.kernels import errors_of, kernels_at_hand
from decausal.tagging.model import build_model, describe_parameters
from decausal.tagging.results import environment
from decausal.tagging.trainer import token_mean_loss

HALVES = ("1100", "0011")
PATTERNS = {"0000": (), "0011": ("0011",), "1111": HALVES}
LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def build(directory: Path, device: str, unmask: str = "none") -> nn.Module:
    """A QLoRA token classifier as `decausal.tagging.train` makes it from a recipe."""
    model = build_model(
        TaggingArguments(unmask=unmask, train_file="random tokens"),
        TaggingModelConfig(
            model_name_or_path=str(directory),
            dtype="bfloat16",
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            lora_alpha=32,
            lora_dropout=0.0,  # nothing random between the patterns
        ),
        TaggingTrainingArguments(output_dir="unused", gradient_checkpointing=True, use_cpu=device == "cpu"),
        LABELS,
        pad_token_id=0,
    )
    return model.to(device)


def make_batch(rows: int, length: int, vocab_size: int, device: str) -> dict[str, Tensor]:
    """Random tokens, each labelled by its id; three rows of four are padded on the right."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocab_size // 4, vocab_size, (rows, length), generator=generator)
    lengths = length - torch.arange(rows) % 4 * (length // 8)
    mask = (torch.arange(length) < lengths[:, None]).long()
    batch = {"input_ids": ids, "attention_mask": mask, "labels": (ids % len(LABELS)).masked_fill(mask == 0, -100)}
    return {name: value.to(device) for name, value in batch.items()}


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor]) -> float:
    """One optimizer step.

    Returns:
        The loss before it, once the device has finished.
    """
    with torch.autocast(batch["labels"].device.type, torch.bfloat16):
        outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        loss = token_mean_loss(outputs, batch["labels"])
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


@contextmanager
def only(pattern: str, halves: dict[str, decausal.Handle]) -> Iterator[None]:
    """Of a model whose halves are both unmasked, the pattern: a pause costs nothing, where a removal compiles anew."""
    with ExitStack() as pauses:
        for half, handle in halves.items():
            if half not in PATTERNS[pattern]:
                pauses.enter_context(handle.paused())
        yield


def measure_once(model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor], steps: int) -> Any:
    """Seconds for some steps after one that warms up, and peak memory in bytes (None on a CPU)."""
    on_gpu = batch["labels"].is_cuda
    take_step(model, optimizer, batch)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    for _ in range(steps):
        take_step(model, optimizer, batch)
    return time.perf_counter() - begin, torch.cuda.max_memory_allocated() if on_gpu else None


def summarise(seconds: list[float], peaks: list[int | None], num_tokens: int) -> dict[str, Any]:
    """Median and extremes over repetitions.

    Args:
        seconds: of each repetition.
        peaks: bytes of each repetition, or None.
        num_tokens: real tokens of one repetition.
    """
    speeds = [num_tokens / value for value in seconds]
    return {
        "tokens_per_second": {"median": median(speeds), "min": min(speeds), "max": max(speeds)},
        "peak_bytes": max((peak for peak in peaks if peak is not None), default=None),
        "repetitions": len(seconds),
        "seconds": seconds,
    }


def main() -> int:
    """Measure as the command line says.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of a measurement")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()

    model = build(arguments.model, arguments.device).train()
    base = model.get_base_model()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-5)
    batch = make_batch(arguments.rows, arguments.length, base.config.vocab_size, arguments.device)
    num_tokens = int(batch["attention_mask"].sum())
    halves = {half: decausal.unmask(model, half) for half in HALVES}
    kernels = kernels_at_hand(arguments.device)
    errors = errors_of(kernels, base, lambda: take_step(model, optimizer, batch))
    kernels = [kernel for kernel in kernels if kernel not in errors]
    measured: dict[str, list[Any]] = {f"{kernel} {pattern}": [] for kernel in kernels for pattern in PATTERNS}
    facts = {
        "model": describe_parameters(model),
        "batch": {"rows": arguments.rows, "length": arguments.length, "real_tokens": num_tokens},
        "steps_in_a_repetition": arguments.steps,
        "errors": errors,
        **environment(),
    }
    for repetition in range(1, arguments.repetitions + 1):
        for kernel in kernels:
            base.set_attn_implementation(kernel)
            for pattern in PATTERNS:
                with only(pattern, halves):
                    found = measure_once(model, optimizer, batch, arguments.steps)
                measured[f"{kernel} {pattern}"].append(found)
        results = {
            name: summarise([s for s, _ in found], [peak for _, peak in found], num_tokens * arguments.steps)
            for name, found in measured.items()
        }
        arguments.results.write_text(json.dumps({**facts, "results": results}, indent=1) + "\n", encoding="utf-8")
        print(f"repetition {repetition} of {arguments.repetitions}", flush=True)
    for name, result in results.items():
        speed, peak = result["tokens_per_second"], result["peak_bytes"]
        memory = f", peak {peak / 2**30:.2f} GiB" if peak is not None else ""
        print(f"{name}: {speed['median']:.0f} tokens/s ({speed['min']:.0f} to {speed['max']:.0f}){memory}")
    for kernel, error in errors.items():
        print(f"{kernel} failed: {error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
