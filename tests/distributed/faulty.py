"""Trains one recipe, and one process fails on the way.

    accelerate launch ... tests/distributed/faulty.py FAULT RANK STEP RECIPE.yaml

FAULT: `raise` (bad data, say), `memory` (out of memory), `kill` (SIGKILL after the step), `kill-all` (all processes),
`writing` (SIGKILL while the checkpoint of the step is written), `term` (SIGTERM, as from a scheduler, after the step).
"""

import os
import signal
import sys
import time
import warnings
from typing import Any

import psutil
import torch
import worker
from transformers import TrainerCallback, TrainerState

from decausal.tagging import train
from decausal.tagging.trainer import TaggingTrainer


class Fault(TrainerCallback):
    """Fails in one process, after one step."""

    def __init__(self, kind: str, rank: int, step: int) -> None:
        self.kind, self.step = kind, step
        self.is_here = rank == int(os.environ["RANK"])

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        if not self.is_here or state.global_step != self.step or self.kind == "writing":
            return
        print(f"failing at {time.time():.1f}", flush=True)
        if self.kind == "raise":
            raise ValueError(f"bad data in step {self.step}")
        if self.kind == "memory":
            raise torch.OutOfMemoryError(f"no memory left in step {self.step}")
        if self.kind in ("kill", "term"):
            os.kill(os.getpid(), signal.SIGKILL if self.kind == "kill" else signal.SIGTERM)
        if self.kind == "kill-all":
            ranks = psutil.Process().parent().children()  # each has a session of its own: no group holds them all
            for process in sorted(ranks, key=lambda process: process.pid == os.getpid()):
                process.kill()


class FaultyTrainer(TaggingTrainer):
    """Dies with its optimizer's state written and the rest of a checkpoint not."""

    def _save_rng_state(self, output_dir: str) -> None:
        if FAULT.kind == "writing" and FAULT.is_here and self.state.global_step == FAULT.step:
            print(f"failing at {time.time():.1f}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        super()._save_rng_state(output_dir)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    FAULT = Fault(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    worker.allow_fsdp_on_cpu()

    def make_trainer(*args: Any, callbacks: list[TrainerCallback], **kwargs: Any) -> TaggingTrainer:
        # In front of what acts on signals, so that a signal is there when the processes compare theirs.
        return FaultyTrainer(*args, callbacks=[FAULT, *callbacks], **kwargs)

    train.TaggingTrainer = make_trainer
    sys.exit(train.main([sys.argv[4]]))
