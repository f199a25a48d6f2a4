"""The table `train`: steps by what the base model is held and computed in."""

from functools import partial

import torch

from decausal.tagging.bench import Bench
from decausal.tagging.comparison import Candidate, Table


def train(bench: Bench, steps: int) -> Table:
    """Real sub-words trained on in a second, packed: by what the base model is held and computed in."""
    cases = {
        "float32": ["--bf16", "false"],
        "bfloat16": ["--bf16", "true"],
        "4 bits, computed in float32": ["--bf16", "false", "--load_in_4bit", "true", "--dtype", "float32"],
        "4 bits, computed in bfloat16": ["--bf16", "true", "--load_in_4bit", "true", "--dtype", "bfloat16"],
    }
    drawn = bench.draw_batches("random", steps)
    benches = {name: Bench([*bench.arguments, *fields], torch.get_num_threads()) for name, fields in cases.items()}

    def candidate(case: Bench) -> Candidate:
        packed = [case.pack(batch) for batch in drawn]
        return partial(case.tokens_per_second, drawn, packed)

    return Table(
        "real sub-words a second",
        {name: candidate(case) for name, case in benches.items()},
        dict.fromkeys(benches, "bfloat16"),
        {"profiles": {name: case.profile([case.pack(batch) for batch in drawn]) for name, case in benches.items()}},
    )
