"""Trains one recipe, and says which process cuts sentences into windows.

accelerate launch ... tests/distributed/cutting.py RECIPE.yaml
"""

import os
import sys
from typing import Any

import torch

from decausal.tagging import cutting
from decausal.tagging.align import align
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.train import train


def say_and_align(*args: Any, **kwargs: Any) -> Any:
    print(f"process {os.environ['RANK']} cuts", flush=True)
    return align(*args, **kwargs)


if __name__ == "__main__":
    cutting.align = say_and_align
    train(*parse_recipe(sys.argv[1:]))
    torch.distributed.destroy_process_group()
