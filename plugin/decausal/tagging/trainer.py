"""transformers' Trainer for tags: the loss is a mean over labelled words, evaluation scores whole sentences."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import DefaultFlowCallback, EvalPrediction, Trainer, TrainerControl, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from decausal.tagging.align import IGNORE_INDEX, merge_predictions
from decausal.tagging.metrics import Scores, score
from decausal.tagging.outputs import RECIPE, writing
from decausal.tagging.sampler import EpochSampler, add_blank
from decausal.tagging.splits import Split


class TaggingTrainer(Trainer):
    """A `Trainer` whose optimizer step is one mean over all its labelled sub-words.

    The stock trainer adds up the means of micro-batches and processes as if each were a share of a whole, so that its
    loss is too large by their number. Here every step's loss is the sum over its labels divided by their count, over
    all micro-batches and processes.

    Args:
        args: those of the training.
        train_dataset: windows, as `Split` has them.
        recipe: what the weights depend on, as `depends_on` says; saved beside them.
        validation: the split that `evaluate` scores.
        **kwargs: those of `Trainer`.
    """

    def __init__(
        self,
        *,
        args: TrainingArguments,
        train_dataset: datasets.Dataset,
        recipe: dict[str, Any],
        validation: Split | None = None,
        **kwargs: Any,
    ) -> None:
        self.lengths = [len(ids) for ids in train_dataset["input_ids"]]
        super().__init__(
            args=args,
            train_dataset=add_blank(train_dataset) if args.world_size > 1 else train_dataset,
            compute_loss_func=partial(token_mean_loss, label_smoothing=args.label_smoothing_factor),
            preprocess_logits_for_metrics=_best_label,
            eval_dataset=validation.windows if validation else None,
            compute_metrics=self._score_validation if validation else None,
            **kwargs,
        )
        self.recipe = recipe
        self.validation = validation
        assert not self._loss_shifts_labels, "labels of words are not shifted"

    def tag(self, split: Split) -> list[list[str]]:
        """The predicted tag of every word, sentence by sentence."""
        compute_metrics, self.compute_metrics = self.compute_metrics, None
        try:
            predictions = self.predict(split.windows, metric_key_prefix="predict").predictions
        finally:
            self.compute_metrics = compute_metrics
        return self._words(split, predictions)

    def score(self, split: Split) -> Scores:
        """The scores on a split."""
        return score(split.sentences["tags"], self.tag(split))

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

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`; refuses a step in which nothing is labelled.

        Raises:
            ValueError: no sub-word of the step carries a label, so that its mean does not exist.
        """
        batches, num_labels = super().get_batch_samples(*args, **kwargs)
        if batches and num_labels is not None and torch.as_tensor(num_labels).sum() == 0:
            raise ValueError(
                f"step {self.state.global_step + 1} has {len(batches)} batches without a single labelled sub-word; are "
                f"the sentences of the training data all empty, or made of characters that the tokenizer drops?"
            )
        return batches, num_labels

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

    def _get_eval_sampler(self, eval_dataset: Any) -> SequentialSampler | None:
        # The stock trainer, if it groups training batches by length, shuffles the evaluation data in the same way (seen
        # in transformers 5.23): harmless for an average over sub-words, but words must get their own tags back.
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None

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

    def _score_validation(self, prediction: EvalPrediction) -> dict[str, float]:
        assert self.validation is not None
        scores = score(self.validation.sentences["tags"], self._words(self.validation, prediction.predictions))
        strict = scores.strict
        return {"f1": strict.f1, "precision": strict.precision, "recall": strict.recall, "accuracy": scores.accuracy}

    def _words(self, split: Split, predictions: Any) -> list[list[str]]:
        id2label = self.accelerator.unwrap_model(self.model).config.id2label
        rows = [[id2label[label] if label >= 0 else "O" for label in row] for row in np.asarray(predictions).tolist()]
        return merge_predictions(split.windows, rows)


def token_mean_loss(
    outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None, *, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy summed over labelled sub-words, divided by how many a whole optimizer step has.

    Args:
        outputs: holds `logits`, shape `(batch, query_len, num_labels)`.
        labels: shape `(batch, query_len)`, -100 where there is no label.
        num_items_in_batch: labelled sub-words of the step, over all its micro-batches and processes; by default those
            of this batch.
        label_smoothing: as in `torch.nn.functional.cross_entropy`.
    """
    logits = outputs.logits.float()
    count = (labels != IGNORE_INDEX).sum() if num_items_in_batch is None else num_items_in_batch
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten().to(logits.device),
        ignore_index=IGNORE_INDEX,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    return total / torch.as_tensor(count, device=logits.device).clamp(min=1)


def _best_label(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.argmax(-1)
