"""DeepSpeed's checkpoints, one file a process, are made ready for another number of processes."""

import shutil
from argparse import Namespace
from contextlib import redirect_stdout
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainingArguments

from decausal.tagging.processes import say


def fit_shards(checkpoint: Path, trainer: Trainer) -> None:
    """Lets a run under DeepSpeed go on with another number of processes than the one that saved.

    DeepSpeed itself refuses that, but converts a checkpoint, beside it, into one that any number of processes can read.

    Args:
        checkpoint: holds DeepSpeed's shards, in the directory that its file `latest` names; on a disk that all see.
        trainer: of the run that goes on, before it has begun to train.
    """
    if not trainer.is_deepspeed_enabled:
        return
    shards = checkpoint / (checkpoint / "latest").read_text(encoding="utf-8").strip()
    num_shards = len(list(shards.glob("*_optim_states.pt")))
    if num_shards == trainer.args.world_size:
        return
    say(f"{checkpoint} was saved by {num_shards} processes, and is made ready for {trainer.args.world_size}")
    if trainer.is_world_process_zero():
        _convert(shards, shards.with_name(f"{shards.name}_universal"))
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.state.deepspeed_plugin.deepspeed_config["checkpoint"] = {"load_universal": True}
    trainer.add_callback(_RepairGroups(trainer))


class _RepairGroups(TrainerCallback):
    """Gives each group of the optimizer its own counter of steps and its own weight decay again.

    From a converted ZeRO-3 checkpoint DeepSpeed 0.19 loads one counter for all groups, which then counts every step
    twice, and the first group's weight decay for biases too.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, *_: Any, **__: Any) -> None:
        """Before the first step, when the checkpoint has been loaded."""
        engine: Any = self.trainer.deepspeed
        optimizer = engine.optimizer.optimizer
        for state in optimizer.state.values():
            state["step"] = deepcopy(state["step"])
        decayed, others = optimizer.param_groups  # as `Trainer.create_optimizer` makes them
        decayed["weight_decay"], others["weight_decay"] = args.weight_decay, 0.0


def _convert(shards: Path, target: Path) -> None:
    from deepspeed.checkpoint import ds_to_universal  # only here is DeepSpeed surely installed

    shutil.rmtree(target, ignore_errors=True)  # what a conversion left that was cut off
    options = Namespace(
        input_folder=str(shards),
        output_folder=str(target),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,  # what only Megatron's checkpoints hold
    )
    with redirect_stdout(StringIO()):
        ds_to_universal.main(options)
