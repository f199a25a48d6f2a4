"""The share of an epoch's slots that real sub-words fill, and in how many shapes, by the layout of batches.

python scripts/measure_layouts.py RESULTS.json RECIPE.yaml [--field value ...]
"""

import json
import sys
from itertools import product
from pathlib import Path

from decausal.tagging.bench import Bench, Layout, measure_share


def main() -> None:
    """Measure as the command line says."""
    results, *arguments = sys.argv[1:]
    bench = Bench(arguments)
    found = {}
    for strategy, (name, make) in product(
        ("random", "group_by_length"), {"padded": bench.pad, "packed": bench.pack}.items()
    ):
        shapes = {tuple(make(batch)["input_ids"].shape) for batch in bench.draw_epoch(strategy)}
        share = measure_share(bench, Layout(strategy, is_packed=name == "packed"))
        found[f"{name}, {strategy}"] = {"share of real sub-words": share, "shapes": len(shapes)}
    Path(results).write_text(json.dumps({**bench.facts(), "results": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
