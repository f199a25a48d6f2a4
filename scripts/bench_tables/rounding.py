"""The table `rounding`: what it costs and saves that lengths are rounded up, so that batches have few shapes."""

from functools import partial

import torch

from decausal.tagging.bench import Batch, Bench, Layout, measure_share
from decausal.tagging.comparison import Candidate, Table

LAYOUTS = {
    "grouped by length": Layout("group_by_length", is_packed=False),
    "packed": Layout("random", is_packed=True),
}


def rounding(bench: Bench, steps: int) -> Table:
    """Real sub-words trained on in a second, lengths rounded as the recipe says and not at all.

    `first pass` is the figure where shapes are new to the process, and for the first candidate all else too. A second
    model is held in memory.

    Raises:
        ValueError: the recipe does not round, or its rows cannot be packed.
    """
    multiple = bench.tagging.pad_to_multiple_of or 1
    if multiple == 1:
        raise ValueError(
            f"pad_to_multiple_of={bench.tagging.pad_to_multiple_of} rounds nothing: give --pad_to_multiple_of 8."
        )
    if bench.why_not_packed is not None:
        raise ValueError(bench.why_not_packed)
    benches = {
        f"multiples of {multiple}": bench,
        "not rounded": Bench([*bench.arguments, "--pad_to_multiple_of", "1"], torch.get_num_threads()),
    }
    candidates: dict[str, Candidate] = {}
    shapes, shares = {}, {}
    for layout_name, layout in LAYOUTS.items():
        members = bench.draw_batches(layout.strategy, steps)
        for rounding_name, case in benches.items():
            name = f"{layout_name}, {rounding_name}"
            batches: list[Batch] = [(case.pack if layout.is_packed else case.pad)(batch) for batch in members]
            candidates[name] = partial(case.tokens_per_second, members, batches)
            shapes[name] = len({batch["input_ids"].shape for batch in batches})
            shares[name] = measure_share(case, layout)
    return Table(
        "real sub-words a second",
        candidates,
        {name: f"{name.rpartition(', ')[0]}, not rounded" for name in candidates},
        {
            "shapes": shapes,
            "share of real sub-words": shares,
            "first pass": {name: run() for name, run in candidates.items()},
        },
    )
