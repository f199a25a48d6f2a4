"""What things cost, measured: one table a command, with machine and versions, as JSON and as a plot.

    python scripts/bench.py TABLE RECIPE.yaml RESULTS.json [--field value ...]

Model, data, LoRA and precision are those of a recipe of `decausal.tagging.train`. Every candidate is timed once in each
repetition, so that a machine which slows down slows all of them; a ratio is that of two times of one repetition. What
is told is the median over repetitions, and the extremes. RESULTS.json is written after each, and at the end RESULTS.svg
beside it; `python scripts/bench_plot.py RESULTS.json` draws it again, from what was measured.

    hook           seconds of a training step, untouched and unmasked: padded and unpadded, sdpa and eager
    memory         the same for the memory that a step takes at its peak
    pack           real sub-words trained on in a second, in padded batches and in packed rows
    rounding       the same, lengths rounded up and not, so that batches have few shapes or many
    train          the same in float32, in bfloat16 and with the base model in 4 bits
    predict        sentences tagged in a second, by the pipeline of transformers and by `Tagger`
    compile        tagging as it is, and by torch.compile
    compile_train  the same for training on packed rows
    scale          real sub-words in a second against the length of rows, the number of layers and the size of batches
    peers          training and tagging against BiLLM and the code of Dukić & Šnajder: see scripts/peers/README.md
    gpu            real sub-words in a second and the share of a card's FLOP/s: packed, on every attention kernel,
                   against padded and causal. Not yet run on a GPU; how to: see scripts/bench_tables/gpu.py
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from bench_tables.compiling import compile_tagging, compile_training
from bench_tables.gpu import gpu
from bench_tables.peers import peers
from bench_tables.precision import train
from bench_tables.rounding import rounding
from bench_tables.scale import scale
from bench_tables.tagging import predict
from bench_tables.unmasking import hook, memory
from decausal.tagging.bench import Bench, compare_layouts
from decausal.tagging.comparison import Table
from measure_memory import MALLOC

TABLES: dict[str, tuple[Callable[..., Table], list[str]]] = {
    "hook": (hook, ["--unmask", "none"]),
    "memory": (memory, ["--unmask", "none"]),
    "pack": (compare_layouts, []),
    "rounding": (rounding, []),
    "train": (train, []),
    "predict": (predict, []),
    "compile": (compile_tagging, []),
    "compile_train": (compile_training, []),
    "scale": (scale, ["--unmask", "none"]),
    "peers": (peers, []),
    "gpu": (gpu, []),
}
"""What makes each table, and the fields that a recipe must have for it."""


def describe(row: dict[str, Any]) -> str:
    """All that is known of a candidate, in one line."""
    return ", ".join(
        f"{name} {value['median']:.4g} ({value['min']:.4g} to {value['max']:.4g})" for name, value in row.items()
    )


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("recipe", help="its fields may follow as --field value")
    parser.add_argument("results", type=Path)
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps of a measurement")
    parser.add_argument("--repetitions", type=int, default=5, help="measurements of each candidate")
    parser.add_argument("--threads", type=int, help="of a CPU; by default torch's own number")
    parser.add_argument("--peak_tflops", type=float, help="gpu: of the card, dense in bfloat16; known of some")
    arguments, fields = parser.parse_known_args()
    for name in ("steps", "repetitions"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} {getattr(arguments, name)}: give at least 1.")
    if arguments.peak_tflops is not None and arguments.table != "gpu":
        parser.error(f"--peak_tflops is of the table gpu, and {arguments.table} has no share of it: drop it.")
    if arguments.table == "memory" and not MALLOC.items() <= os.environ.items():
        # With malloc's defaults a peak is what it keeps, not what tensors need; it reads these when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)
    make, forced = TABLES[arguments.table]
    bench = Bench([arguments.recipe, *fields, *forced], arguments.threads)
    options = {"peak_tflops": arguments.peak_tflops} if arguments.table == "gpu" else {}
    table = make(bench, arguments.steps, **options)
    facts = {"figure": table.figure, **table.facts, **bench.facts(), "steps": arguments.steps}
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Any] = {}
    for repetition, rows in enumerate(islice(table.measure(), arguments.repetitions), start=1):
        arguments.results.write_text(json.dumps({**facts, "results": rows}, indent=1) + "\n", encoding="utf-8")
        print(f"repetition {repetition} of {arguments.repetitions}", flush=True)
    for name, row in rows.items():
        print(f"{name}: {describe(row)}")
    if find_spec("matplotlib"):
        from bench_plot import draw

        draw(arguments.results)
    else:
        print(f"matplotlib is missing; python scripts/bench_plot.py {arguments.results} draws this elsewhere")


if __name__ == "__main__":
    main()
