"""The table `scale`: how steps grow with the length of rows, their number, and the number of layers."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

import decausal
from decausal._layers import find_decoder_stack
from decausal.tagging.bench import Batch, Bench
from decausal.tagging.comparison import Candidate, Table
from decausal.tagging.precision import autocast, mixed_precision

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
ROWS = (1, 4, 16)
PATTERNS = ("untouched", "1111")


def check_depth(bench: Bench) -> None:
    """Refuses a model of which a quarter cannot be measured.

    Raises:
        ValueError: it has too few layers, or goes through all of them whatever its configuration says.
    """
    config, layers = bench.base.config, find_decoder_stack(bench.base).layers
    depth = config.num_hidden_layers
    if depth < 4:
        raise ValueError(f"{depth} layers: the table scale measures a quarter of them; take a deeper model.")
    ran: list[nn.Module] = []
    hooks = [layer.module.register_forward_pre_hook(lambda module, _: ran.append(module)) for layer in layers]
    config.num_hidden_layers = depth // 4
    try:
        with torch.no_grad(), autocast(bench.training.device, mixed_precision(bench.training)):
            bench.model(input_ids=bench.pad([0])["input_ids"].to(bench.training.device))
    finally:
        config.num_hidden_layers = depth
        for hook in hooks:
            hook.remove()
    if len(ran) != depth // 4:
        raise ValueError(f"{type(bench.base).__name__} does not leave layers out where its configuration has fewer.")


def scale(bench: Bench, steps: int) -> Table:
    """Sub-words trained on in a second, untouched and unmasked: by length of rows, documents in them, rows and layers.

    Rows are training windows end to end, cut to length: one document each, or documents of equal length. All but those
    of more layers are measured on a quarter of the layers. A row of the longest has as many sub-words as all rows of
    another length. Those longest rows are profiled too.
    """
    config = bench.base.config
    depth = config.num_hidden_layers
    check_depth(bench)
    text = torch.tensor(
        [token for batch in bench.draw_batches("random", 64) for i in batch for token in bench.windows[i]["input_ids"]]
    )

    def rows(count: int, length: int, document: int | None = None) -> Batch:
        ids = text.repeat(count * length // len(text) + 1)[: count * length].view(count, length)
        positions = torch.arange(length).expand(count, length) % (document or length)
        return {"input_ids": ids, "position_ids": positions, "labels": torch.zeros_like(ids)}

    @contextmanager
    def cut(pattern: str, num_layers: int) -> Iterator[None]:
        with decausal.unmask(bench.model, pattern) if pattern != "untouched" else nullcontext():
            config.num_hidden_layers = num_layers
            try:
                yield
            finally:
                config.num_hidden_layers = depth

    def candidate(pattern: str, batch: Batch, num_layers: int) -> Candidate:
        def run() -> float:
            with cut(pattern, num_layers):
                return steps * batch["labels"].numel() / bench.time_steps([batch] * steps)

        return run

    def profile(pattern: str, batch: Batch, num_layers: int) -> dict[str, float]:
        with cut(pattern, num_layers):
            bench.time_steps([batch])  # what torch prepares for new shapes is no part of a profile
            return bench.profile([batch])

    most = LENGTHS[-1]
    points = {
        **{f"rows of {n}": (rows(most // n, n), depth // 4) for n in LENGTHS},
        **{f"rows of {n}, documents of 64": (rows(most // n, n, 64), depth // 4) for n in LENGTHS},
        **{f"{n} rows of 64": (rows(n, 64), depth // 4) for n in ROWS},
        **{f"{n} layers": (rows(ROWS[-1], 64), n) for n in (depth // 2, 3 * depth // 4, depth)},
    }
    panels = {
        "sub-words of a row, one document": {n: f"rows of {n}" for n in LENGTHS},
        "sub-words of a row, documents of 64": {n: f"rows of {n}, documents of 64" for n in LENGTHS},
        "rows of 64 in a batch": {n: f"{n} rows of 64" for n in ROWS} | {most // 64: "rows of 64"},
        "layers": {depth // 4: f"{ROWS[-1]} rows of 64"}
        | {n: f"{n} layers" for n in (depth // 2, 3 * depth // 4, depth)},
    }
    candidates = {
        f"{name}, {pattern}": candidate(pattern, batch, num_layers)
        for name, (batch, num_layers) in points.items()
        for pattern in PATTERNS
    }
    curves = {
        panel: {pattern: [(x, f"{name}, {pattern}") for x, name in along.items()] for pattern in PATTERNS}
        for panel, along in panels.items()
    }
    profiles = {
        f"{name}, {pattern}": profile(pattern, *points[name])
        for name in (f"rows of {most}", f"rows of {most}, documents of 64")
        for pattern in PATTERNS
    }
    baselines = {name: f"{name.rpartition(',')[0]}, untouched" for name in candidates}
    return Table("sub-words a second", candidates, baselines, {"curves": curves, "profiles": profiles})
