"""The table `compile`: training and tagging as they are, and by torch.compile."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench_tables.tagging import per_second, saved
from decausal.tagging.bench import Bench
from decausal.tagging.comparison import Candidate, Table
from decausal.tagging.predict import Tagger


def compiling(bench: Bench, steps: int, backend: str = "inductor") -> Table:
    """Real sub-words trained on, in packed rows, and sentences tagged in a second, by torch.compile and without it.

    It compiles once for all shapes (`dynamic`). The facts say how long the first call takes, which compiles, and the
    second, on the same batches.

    Args:
        bench: of any recipe.
        steps: optimizer steps of a measurement, and batches that are tagged.
        backend: of torch.compile.
    """
    drawn = bench.draw_batches("random", steps)
    packed = [bench.pack(batch) for batch in drawn]
    sentences = bench.corpus.sentences["train"].select([place for batch in drawn for place in batch])["tokens"][:]
    with saved(bench) as directory:
        tagger = Tagger.from_pretrained(directory, dtype=torch.bfloat16)

    def trains() -> float:
        return bench.count_tokens(drawn) / bench.time_steps(packed)

    def tags() -> float:
        return per_second(len(sentences), lambda: tagger.tag(sentences))

    candidates = {
        "train": trains,
        "train, compiled": compiled(bench.model, trains, backend),
        "tag": tags,
        "tag, compiled": compiled(tagger.model, tags, backend),
    }
    facts = {
        "seconds of the first and the second call": {
            name: [1 / per_second(1, candidates[name]) for _ in range(2)] for name in candidates if "compiled" in name
        }
    }
    baselines = {name: name.partition(",")[0] for name in candidates}
    return Table("real sub-words (train) or sentences (tag) a second", candidates, baselines, facts)


def compiled(model: nn.Module, run: Candidate, backend: str) -> Candidate:
    """The same with the model compiled, which it is only meanwhile."""
    forward: Callable[..., Any] = torch.compile(model.forward, dynamic=True, backend=backend)

    def run_compiled() -> float:
        model.forward = forward
        try:
            return run()
        finally:
            del model.forward

    return run_compiled
