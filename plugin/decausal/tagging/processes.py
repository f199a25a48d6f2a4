"""How many processes a run has and under which strategy, held against what its launcher was asked for."""

import os

from accelerate.utils import DistributedType
from transformers import TrainingArguments


def check_launch(training: TrainingArguments) -> None:
    """Refuses a run that is less than `accelerate launch` was asked for, which accelerate 1.15 starts without a word.

    Raises:
        ValueError: several processes were asked for and one was started, or FSDP was and there is no accelerator.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and training.distributed_state.distributed_type in (
        DistributedType.NO,
        DistributedType.MULTI_CPU,
    ):
        raise ValueError(
            f"the launcher was asked for FSDP, which accelerate has for accelerators only: without one this is "
            f"{describe_processes(training)}, and nothing would be sharded. Launch with a file that asks for no FSDP."
        )
    # The launcher sets a meeting point for more than one process; whatever then starts them gives each its rank.
    is_alone = training.world_size == 1 and "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ
    if is_alone and "ACCELERATE_MIXED_PRECISION" in os.environ:
        raise ValueError(
            "the launcher was asked for more than one process, and this one is alone: accelerate starts several on CPU "
            'with mpirun only (distributed_type: MULTI_CPU). "distributed_type: MULTI_GPU" beside "use_cpu: true" in '
            'the recipe starts them through torchrun; "num_processes: 1" means one.'
        )


def describe_processes(training: TrainingArguments) -> str:
    """What the run really is: how many processes, under which strategy, on which kind of device."""
    if training.world_size == 1:
        return f"one process on {training.device}"
    strategy = training.distributed_state.distributed_type.value
    return f"{training.world_size} processes ({strategy}) on {training.device.type}"
