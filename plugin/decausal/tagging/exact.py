"""transformers' Trainer made exact: the same steps in any layout of processes, and checkpoints that are whole."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from transformers import DefaultFlowCallback, Trainer, TrainerControl
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from decausal.tagging.outputs import RECIPE, writing
from decausal.tagging.sampler import EpochSampler


class ExactTrainer(Trainer):
    """A `Trainer` whose data come in an order of the seed alone, that stops at a loss that is no number, and whose
    checkpoints are whole and say what made them.

    Args:
        lengths: of the training data's rows, in sub-words. With several processes, one row more, without labels, is
            behind them: it fills batches up.
        recipe: what the weights depend on, as JSON; saved beside them.
        **kwargs: those of `Trainer`.
    """

    def __init__(self, *, lengths: np.ndarray | Sequence[int], recipe: dict[str, Any], **kwargs: Any) -> None:
        self.lengths = lengths
        self.recipe = recipe
        super().__init__(**kwargs)

    def save_checkpoint(self) -> None:
        """Save what a run needs to go on from its last step."""
        self._save_checkpoint(self.model, trial=None)

    def make_up_for_validation(self) -> None:
        """Score the last step's weights, as was due, if the run that saved them was stopped before it could."""
        control, flow = TrainerControl(), DefaultFlowCallback()
        flow.on_step_end(self.args, self.state, control)
        if float(self.state.epoch or 0).is_integer():
            flow.on_epoch_end(self.args, self.state, control)
        done = any("eval_loss" in entry and entry["step"] == self.state.global_step for entry in self.state.log_history)
        if control.should_evaluate and not done:
            self._determine_best_metric(metrics=self.evaluate(), trial=None)
            self.save_checkpoint()

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """As in `Trainer`; stops at a loss that is no number, before the weights are.

        Raises:
            FloatingPointError: the loss is NaN or infinite.
        """
        loss: Tensor = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss of step {self.state.global_step + 1} is {loss.item()}: lower learning_rate "
                f"({self.args.learning_rate}), or train in bf16 or float32 instead of fp16. What was saved "
                f"before is in {self.args.output_dir}."
            )
        return loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        args = self.args
        if args.train_sampling_strategy == "batch_rebalance":
            return super()._get_train_sampler(train_dataset)
        batch = args.train_batch_size * args.world_size
        return EpochSampler(
            self.lengths,
            step_size=batch * args.gradient_accumulation_steps,
            multiple=1 if args.world_size == 1 or args.dataloader_drop_last else batch,
            strategy=args.train_sampling_strategy,
            seed=args.seed if args.data_seed is None else args.data_seed,
            epoch=lambda: int(self.state.epoch or 0),
        )

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        # PEFT saves no configuration of the model, and it is where pattern and label names are.
        model = self.accelerator.unwrap_model(self.model)
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        directory = Path(str(output_dir or self.args.output_dir))
        base.config.save_pretrained(directory)
        (directory / RECIPE).write_text(json.dumps(self.recipe, indent=1) + "\n", encoding="utf-8")

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # Next, process 0 writes the state that marks a checkpoint as whole: no shard may still be on its way to disk.
        self.accelerator.wait_for_everyone()

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        directory = Path(str(self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with writing(directory):
            super()._save_checkpoint(*args, **kwargs)
