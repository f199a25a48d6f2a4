"""transformers' Trainer for tags: the loss is a mean over labelled words, evaluation scores whole sentences."""

from functools import partial
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler
from transformers import EvalPrediction, Trainer, TrainingArguments

from decausal.tagging.align import IGNORE_INDEX, merge_predictions, read_column
from decausal.tagging.exact import ExactTrainer
from decausal.tagging.metrics import score
from decausal.tagging.packing import PackingCollator
from decausal.tagging.sampler import add_blank
from decausal.tagging.splits import Split


class TokenMeanTrainer(Trainer):
    """A `Trainer` whose optimizer step is one mean over all its labelled sub-words.

    The stock trainer adds up the means of micro-batches and processes as if each were a share of a whole, so that its
    loss is too large by their number. Here every step's loss is the sum over its labels divided by their count, over
    all micro-batches and processes. Evaluation keeps the order of its data, and of the logits the best label.

    It may stand before any other subclass of `Trainer` among the bases of a class.

    Args:
        args: those of the training.
        **kwargs: those of the next base class.
    """

    def __init__(self, *, args: TrainingArguments, **kwargs: Any) -> None:
        super().__init__(
            args=args,
            compute_loss_func=partial(token_mean_loss, label_smoothing=args.label_smoothing_factor),
            preprocess_logits_for_metrics=best_label,
            **kwargs,
        )

    @property
    def id2label(self) -> dict[int, str]:
        """The label names of the model, by their ids."""
        names: dict[int, str] = self.accelerator.unwrap_model(self.model).config.id2label
        return names

    def _get_eval_sampler(self, eval_dataset: Any) -> SequentialSampler | None:
        # The stock trainer, if it groups training batches by length, shuffles the evaluation data in the same way (seen
        # in transformers 5.23): harmless for an average over sub-words, but words must get their own tags back.
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None


class TaggingTrainer(TokenMeanTrainer, ExactTrainer):
    """Trains a tagger, and tags the sentences of a split.

    Args:
        args: those of the training.
        train_dataset: windows, as `Split` has them.
        validation: the split that `evaluate` scores.
        packing: lays the windows of training batches into rows; otherwise they are padded, as all others are.
        **kwargs: those of `ExactTrainer`.
    """

    def __init__(
        self,
        *,
        args: TrainingArguments,
        train_dataset: datasets.Dataset,
        validation: Split | None = None,
        packing: PackingCollator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            args=args,
            lengths=read_column(train_dataset, "length"),
            train_dataset=add_blank(train_dataset) if args.world_size > 1 else train_dataset,
            eval_dataset=validation.windows if validation else None,
            compute_metrics=self._score_validation if validation else None,
            **kwargs,
        )
        self.validation = validation
        self.packing = packing
        # transformers 5.6 does not ask; its Trainer shifts labels for no loss but its own label smoothing.
        assert not getattr(self, "_loss_shifts_labels", False), "labels of words are not shifted"

    def get_train_dataloader(self) -> DataLoader[Any]:
        """As in `Trainer`, with packed rows if they are wanted."""
        padding = self.data_collator
        self.data_collator = self.packing or padding
        try:
            loader: DataLoader[Any] = super().get_train_dataloader()
        finally:
            self.data_collator = padding
        return loader

    def tag(self, split: Split) -> list[list[str]]:
        """The predicted tag of every word, sentence by sentence."""
        return self.tag_with_loss(split)[0]

    def tag_with_loss(self, split: Split) -> tuple[list[list[str]], float]:
        """As `tag`, and the loss as an evaluation reports it: the mean over batches, weighted by their windows."""
        compute_metrics, self.compute_metrics = self.compute_metrics, None
        try:
            output = self.predict(split.windows, metric_key_prefix="predict")
        finally:
            self.compute_metrics = compute_metrics
        assert output.metrics is not None
        return self._words(split, output.predictions), output.metrics["predict_loss"]

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

    def _score_validation(self, prediction: EvalPrediction) -> dict[str, float]:
        assert self.validation is not None
        return score(self.validation.sentences["tags"], self._words(self.validation, prediction.predictions)).headline()

    def _words(self, split: Split, predictions: Any) -> list[list[str]]:
        return tags_of_words(split.windows, predictions, self.id2label)


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


def best_label(logits: Tensor, labels: Tensor) -> Tensor:
    """The label ids that are predicted, `(batch, query_len)`: all that evaluation has to keep of the logits."""
    return logits.argmax(-1)


def tags_of_words(features: Any, predictions: Any, id2label: dict[int, str]) -> list[list[str]]:
    """The predicted tag of every word, sentence by sentence.

    Args:
        features: windows, as `align` makes them, in the order of `predictions`.
        predictions: label ids, `(windows, query_len)`, negative where a batch was padded.
        id2label: the label names.
    """
    rows = [[id2label[label] if label >= 0 else "O" for label in row] for row in np.asarray(predictions).tolist()]
    return merge_predictions(features, rows)
