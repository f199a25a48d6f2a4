"""Trains recipes one after another in the processes that a launcher has started: starting them is what takes time.

accelerate launch --config_file recipes/launch/X.yaml tests/distributed/worker.py RECIPE.yaml ...
"""

import os
import sys
import warnings
from typing import Any

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType

from decausal.tagging import results
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.train import train


def allow_fsdp_on_cpu() -> None:
    """Lets accelerate, which shards on accelerators only, take gloo for one: torch's `fully_shard` runs on either."""
    if os.environ.get("ACCELERATE_USE_FSDP") != "true":
        return
    prepare = PartialState.__init__

    def take_for_accelerator(state: PartialState, *args: Any, **kwargs: Any) -> None:
        prepare(state, *args, **kwargs)
        if state.distributed_type == DistributedType.MULTI_CPU:
            state.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = take_for_accelerator


def forget_run() -> None:
    """What accelerate and DeepSpeed keep of one run must not reach into the next."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    allow_fsdp_on_cpu()
    results.draw_curves = lambda *_: None  # a second a run, for what tests/tagging looks at
    for recipe in sys.argv[1:]:
        train(*parse_recipe([recipe]))
        forget_run()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
