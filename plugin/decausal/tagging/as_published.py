"""The paper's training loop with what its code got wrong (arXiv 2401.14556), for comparison with what is right."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from decausal.tagging.align import IGNORE_INDEX
from decausal.tagging.trainer import TaggingTrainer


class AsPublishedTrainer(TaggingTrainer):
    """A `TaggingTrainer` with the two faults of the published training loop.

    - Gradients are zeroed before every micro-batch: of `gradient_accumulation_steps` micro-batches the last alone
      counts, as a share of a whole.
    - The schedule is laid over micro-batches and moves once an optimizer step: with 4 to a step a cosine ends at 0.85
      of the learning rate.

    Raises:
        ValueError: several processes, or DeepSpeed; the published runs had one process, and zeroed its gradients.
    """

    def __init__(self, *, args: TrainingArguments, **kwargs: Any) -> None:
        if args.world_size > 1 or args.deepspeed_plugin is not None:
            strategy = "DeepSpeed" if args.deepspeed_plugin is not None else f"{args.world_size} processes"
            raise ValueError(
                f"as_published=true with {strategy}: launch it on one process, as the published runs were."
            )
        super().__init__(args=args, **kwargs)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """As in `TaggingTrainer`, with the gradient of this micro-batch alone: of its own mean, divided."""
        model.zero_grad()
        labelled = (inputs["labels"] != IGNORE_INDEX).sum()
        return super().training_step(model, inputs, labelled * self.args.gradient_accumulation_steps)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """As in `Trainer`, over the micro-batches of all these optimizer steps."""
        batches = math.ceil(len(self.lengths) / self.args.train_batch_size)
        steps = math.ceil(batches / self.args.gradient_accumulation_steps)
        return super().create_scheduler(num_training_steps * batches // steps, optimizer)
