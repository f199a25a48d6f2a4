"""Axolotl's trainer for taggers: one mean over all labelled sub-words of a step, and entity F1 at evaluation."""

from collections import Counter
from typing import Any, Final

import datasets
from axolotl.core.trainers import AxolotlTrainer
from torch.utils.data import DataLoader
from transformers import EvalPrediction

from decausal.hosts._join import say
from decausal.tagging.metrics import Scores, score
from decausal.tagging.trainer import TokenMeanTrainer, tags_of_words
from decausal.tagging.windows import NOT_READ

_OF_SENTENCES: Final = ("word_idx", "sentence_idx", "num_words", "num_zero_token_words", "tags")


class AxolotlTaggingTrainer(TokenMeanTrainer, AxolotlTrainer):  # type: ignore[misc]
    """Trains and scores a tagger inside Axolotl."""

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.get("train_dataset") is not None:  # packing batches every column that there is
            kwargs["train_dataset"] = kwargs["train_dataset"].remove_columns(_OF_SENTENCES)
        self._scored: datasets.Dataset | None = None
        super().__init__(compute_metrics=self._score, **kwargs)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """As in `Trainer`; remembers what is being scored, of which a model sees some columns only."""
        self._scored = self.eval_dataset if eval_dataset is None else eval_dataset
        drop_last, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:  # Axolotl drops the last batch of everything where training rows are packed
            loader: DataLoader[Any] = super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drop_last
        return loader

    def _score(self, prediction: EvalPrediction) -> dict[str, float]:
        assert self._scored is not None
        assert len(self._scored) == len(prediction.predictions), "every window is predicted once"
        return score_windows(self._scored, prediction.predictions, self.id2label).headline()


def score_windows(windows: datasets.Dataset, predictions: Any, id2label: dict[int, str]) -> Scores:
    """Entity scores of predicted label ids.

    A sentence of which windows are missing, as after a random split of the windows, is left out, and said to be.

    Args:
        windows: the columns that `Windows` makes, in the order of `predictions`.
        predictions: label ids, `(windows, query_len)`.
        id2label: the label names.
    """
    sentences, num_read = list(windows["sentence_idx"]), Counter[int]()
    for sentence, words in zip(sentences, windows["word_idx"], strict=True):
        num_read[sentence] += sum(word != NOT_READ for word in words)
    sizes = zip(sentences, windows["num_words"], windows["num_zero_token_words"], strict=True)
    expected = {sentence: num_words - num_zero for sentence, num_words, num_zero in sizes}
    whole = [sentence for sentence in sorted(expected) if num_read[sentence] == expected[sentence]]
    if len(whole) < len(expected):
        say(
            f"warning: {len(expected) - len(whole):,} of {len(expected):,} sentences not scored: windows of them are "
            f"missing (a random val_set_size splits them); give test_datasets"
        )
    place = {sentence: i for i, sentence in enumerate(whole)}
    rows = [row for row, sentence in enumerate(sentences) if sentence in place]
    features = windows.select(rows).to_dict()
    gold = {place[sentence]: tags for sentence, tags in zip(features["sentence_idx"], features["tags"], strict=True)}
    features["sentence_idx"] = [place[sentence] for sentence in features["sentence_idx"]]
    found = tags_of_words(features, [predictions[row] for row in rows], id2label)
    return score([gold[i] for i in range(len(whole))], found)
