"""The tables `hook` and `memory`: what unmasking costs a training step."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch

import decausal
from decausal.tagging.bench import Batch, Bench
from decausal.tagging.comparison import Candidate, Table
from measure_memory import resident

KERNELS = ("sdpa", "eager")
PATTERNS = ("untouched", "0011", "1111")


def unmasking(bench: Bench, steps: int, figure: str, measure: Callable[[list[Batch]], float]) -> Table:
    """A figure of training steps, untouched and unmasked, by kernel, on padded batches and on the same unpadded."""
    padded = [bench.pad(batch) for batch in bench.draw_batches("random", steps)]
    whole = [{name: value for name, value in batch.items() if name != "attention_mask"} for batch in padded]
    model = bench.base

    def candidate(kernel: str, pattern: str, batches: list[Batch]) -> Candidate:
        def run() -> float:
            model.set_attn_implementation(kernel)
            with decausal.unmask(bench.model, pattern) if pattern != "untouched" else nullcontext():
                return measure(batches)

        return run

    candidates = {
        f"{kernel}, {kind}, {pattern}": candidate(kernel, pattern, batches)
        for kernel in KERNELS
        for kind, batches in (("padded", padded), ("unpadded", whole))
        for pattern in PATTERNS
    }
    return Table(figure, candidates, {name: f"{name.rpartition(',')[0]}, untouched" for name in candidates})


def hook(bench: Bench, steps: int) -> Table:
    """Seconds of a training step, untouched and unmasked."""
    return unmasking(bench, steps, "seconds a step", lambda batches: bench.time_steps(batches) / steps)


def memory(bench: Bench, steps: int) -> Table:
    """Bytes that training steps take at their peak beyond what the model holds, untouched and unmasked."""
    on_gpu = bench.training.device.type == "cuda"

    def peak(batches: list[Batch]) -> float:
        if on_gpu:
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            bench.time_steps(batches)
            return torch.cuda.max_memory_allocated() - before
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        before = resident("VmRSS")
        bench.time_steps(batches)
        return resident("VmHWM") - before

    return unmasking(bench, steps, "bytes of a step", peak)
