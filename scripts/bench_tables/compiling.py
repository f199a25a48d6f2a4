"""The table `compile`: tagging as it is, and by torch.compile."""

from collections.abc import Callable
from typing import Any

import torch

from bench_tables.tagging import per_second, saved, tag_in_batches
from decausal.tagging.bench import Bench
from decausal.tagging.comparison import Table
from decausal.tagging.predict import Tagger


def compiling(bench: Bench, steps: int, backend: str = "inductor") -> Table:
    """Sentences tagged in a second, in bfloat16 throughout, by torch.compile and without it.

    It compiles once for all shapes (`dynamic`). The facts say how long the first call takes, which compiles.

    Args:
        bench: of any recipe.
        steps: batches of sentences that are tagged.
        backend: of torch.compile.
    """
    drawn = bench.draw_batches("random", steps)
    sentences = bench.corpus.sentences["train"].select([place for batch in drawn for place in batch])["tokens"][:]
    with saved(bench) as directory:
        tagger = Tagger.from_pretrained(directory, dtype=torch.bfloat16)
    forward: Callable[..., Any] = torch.compile(tagger.model.forward, dynamic=True, backend=backend)

    def tag() -> float:
        return tag_in_batches(tagger, sentences, tagger.batch_size)

    def tag_compiled() -> float:
        tagger.model.forward = forward
        try:
            return tag()
        finally:
            del tagger.model.forward

    facts = {
        "sentences": len(sentences),
        "batch size": tagger.batch_size,
        "seconds of the first call": 1 / per_second(1, tag_compiled),
    }
    return Table(
        "sentences a second",
        {"as it is": tag, "compiled": tag_compiled},
        {"as it is": "as it is", "compiled": "as it is"},
        facts,
    )
