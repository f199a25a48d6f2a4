"""The tables `compile` and `compile_train`: tagging and training as they are, and by torch.compile."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench_tables.tagging import per_second, saved, tag_in_batches
from decausal.tagging.bench import Bench
from decausal.tagging.comparison import Table
from decausal.tagging.predict import Tagger


def compile_tagging(bench: Bench, steps: int, backend: str = "inductor") -> Table:
    """Sentences tagged in a second, in bfloat16 throughout.

    Args:
        bench: of any recipe.
        steps: batches of sentences that are tagged.
        backend: of torch.compile.
    """
    drawn = bench.draw_batches("random", steps)
    sentences = bench.corpus.sentences["train"].select([place for batch in drawn for place in batch])["tokens"][:]
    with saved(bench) as directory:
        tagger = Tagger.from_pretrained(directory, dtype=torch.bfloat16)

    def tag() -> float:
        return tag_in_batches(tagger, sentences, tagger.batch_size)

    facts = {"sentences": len(sentences), "batch size": tagger.batch_size}
    return compare(tagger.model, tag, backend, "sentences a second", facts)


def compile_training(bench: Bench, steps: int, backend: str = "inductor") -> Table:
    """Real sub-words trained on in a second, in packed rows.

    Args:
        bench: of a recipe whose windows can be packed.
        steps: optimizer steps of a measurement.
        backend: of torch.compile.
    """
    drawn = bench.draw_batches("random", steps)
    batches = [bench.pack(batch) for batch in drawn]

    def train() -> float:
        return bench.count_tokens(drawn) / bench.time_steps(batches)

    return compare(bench.model, train, backend, "real sub-words a second", {})


def compare(model: nn.Module, run: Callable[[], float], backend: str, figure: str, facts: dict[str, Any]) -> Table:
    """A figure with a model as it is, and compiled once for all shapes (`dynamic`).

    The facts say how long the first call takes, which compiles.
    """
    forward: Callable[..., Any] = torch.compile(model.forward, dynamic=True, backend=backend)

    def run_compiled() -> float:
        model.forward = forward
        try:
            return run()
        finally:
            del model.forward

    facts |= {"seconds of the first call": 1 / per_second(1, run_compiled)}
    return Table(
        figure,
        {"as it is": run, "compiled": run_compiled},
        {"as it is": "as it is", "compiled": "as it is"},
        facts,
    )
