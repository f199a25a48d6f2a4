"""How many processes a run has and under which strategy, held against what its launcher was asked for."""

import os

import torch
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import Trainer, TrainingArguments

from decausal._layers import transformers_model


def check_launch(training: TrainingArguments) -> None:
    """Refuses a run that is not what `accelerate launch` was asked for, which accelerate 1.15 starts without a word.

    Raises:
        ValueError: several processes were asked for and one was started, or FSDP was and there is no accelerator, or
            one process would be spread over several GPUs.
    """
    strategy = training.distributed_state.distributed_type
    if asked_for("FSDP") and strategy in (DistributedType.NO, DistributedType.MULTI_CPU):
        raise ValueError(
            f"the launcher was asked for FSDP, which accelerate has for accelerators only: this is {_count(training)}, "
            f"and nothing would be sharded. Launch with a file that asks for no FSDP."
        )
    if training.n_gpu > 1:
        raise ValueError(
            f"one process sees {training.n_gpu} GPUs, over which transformers would spread it by torch's DataParallel: "
            f"show it one (CUDA_VISIBLE_DEVICES=0), or launch one process for each (recipes/launch/ddp.yaml)."
        )
    # The launcher sets a meeting point for more than one process; whatever then starts them gives each its rank.
    is_alone = training.world_size == 1 and "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ
    if is_alone and "ACCELERATE_MIXED_PRECISION" in os.environ:
        raise ValueError(
            "the launcher was asked for more than one process, and this one is alone: accelerate starts several on CPU "
            'with mpirun only (distributed_type: MULTI_CPU). "distributed_type: MULTI_GPU" beside "use_cpu: true" in '
            'the recipe starts them through torchrun; "num_processes: 1" means one.'
        )


def describe_run(trainer: Trainer) -> str:
    """What a run about to take its first step really is: processes, strategy, parameters in shards, device, precision.

    Raises:
        ValueError: it is not what the launcher was asked for.
    """
    assert trainer.model is not None
    parameters = list(trainer.model.parameters())
    sharded = [parameter for parameter in parameters if _is_sharded(parameter)]
    stage = trainer.deepspeed.zero_optimization_stage() if trainer.deepspeed else None
    asked = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") if asked_for("DEEPSPEED") else None
    if asked is not None and stage != int(asked):
        raise ValueError(f"the launcher was asked for DeepSpeed ZeRO-{asked}, and this run has stage {stage}.")
    if stage is not None:
        strategy = f", DeepSpeed ZeRO-{stage}"
    elif trainer.is_fsdp_enabled:
        strategy = ", FSDP2"
    else:
        strategy = ", data parallel" if trainer.args.world_size > 1 else ""
    if stage == 3 or trainer.is_fsdp_enabled:
        if not sharded:
            raise ValueError(f"the launcher was asked for{strategy[1:]}, and this run has no weight in shards.")
        weights, total = (sum(map(count_weights, some)) for some in (sharded, parameters))
        strategy += f" ({weights:,} of {total:,} stored weights in shards)"
    precision = str(transformers_model(trainer.model).dtype).removeprefix("torch.")
    if trainer.accelerator.mixed_precision != "no":
        precision += f", computing in {trainer.accelerator.mixed_precision}"
    return f"{_count(trainer.args)}{strategy}, {precision}"


def name_strategy(training: TrainingArguments) -> str:
    """What decides in which files the optimizer's state is saved."""
    if training.deepspeed_plugin is not None:
        return f"DeepSpeed ZeRO-{training.deepspeed_plugin.zero_stage}"
    return "FSDP2" if asked_for("FSDP") else "no shards"


def asked_for(library: str) -> bool:
    """Whether `accelerate launch` was asked for a library: DEEPSPEED or FSDP."""
    return os.environ.get(f"ACCELERATE_USE_{library}", "").lower() == "true"


def count_weights(parameter: nn.Parameter) -> int:
    """How many weights a parameter holds, of which this process may have a share only."""
    count: int = getattr(parameter, "ds_numel", parameter.numel())
    return count


def name_rank() -> str:
    """`rank 1: ` in front of what one of several processes has to say, else nothing."""
    return f"rank {os.environ['RANK']}: " if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ""


def say(message: object) -> None:
    """Print once, not once a process."""
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        print(message, flush=True)


def _count(training: TrainingArguments) -> str:
    kind = training.device.type
    return f"{training.world_size} processes on {kind}" if training.world_size > 1 else f"one process on {kind}"


def _is_sharded(parameter: nn.Parameter) -> bool:
    return isinstance(parameter, DTensor) or hasattr(parameter, "ds_id")
