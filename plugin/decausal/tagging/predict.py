"""Tagging with a saved checkpoint: words in, one tag and one probability a word out."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import LoraModel, PeftModel
from seqeval.scheme import IOB2, Entities
from transformers import DataCollatorForTokenClassification, PreTrainedModel, PreTrainedTokenizerFast

from decausal._attach import RECORD
from decausal._checkpoint import load
from decausal._errors import DataError
from decausal._layers import transformers_model
from decausal.tagging.align import Features, align, merge_predictions, merge_scores
from decausal.tagging.data import describe_unknown_tags, read_sentences
from decausal.tagging.metrics import Scores, score
from decausal.tagging.precision import autocast, computes_in_bfloat16


@dataclass(frozen=True)
class TaggedSentence:
    """One sentence with its predicted tags.

    Attributes:
        tokens: the words as given.
        tags: one IOB2 tag a word.
        scores: the probability of each word's tag, 0-1; None for a word that the tokenizer drops.
    """

    tokens: list[str]
    tags: list[str]
    scores: list[float | None]

    @property
    def entities(self) -> list[tuple[str, int, int]]:
        """`(type, first word, word after the last)` of each entity, as strict IOB2 counts them."""
        [found] = Entities([self.tags], IOB2).entities
        return [(entity.tag, entity.start, entity.end) for entity in found]


class Tagger:
    """A trained tagger.

    Args:
        model: the token classifier that `decausal.load` returned.
        tokenizer: the tokenizer that came with it.
        batch_size: windows a forward pass; they are sorted by length first.

    Attributes:
        tag_scheme: how the tags of the training data were read; so are those of files to score.
        dtype: what autocast computes in: bfloat16 where the run did and this processor has instructions for it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        batch_size: int = 32,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.tokenizer.padding_side = "right"
        record = getattr(model.config, RECORD, {})
        # As in training, so that windows are cut and labels are read where the model learned them.
        self._alignment = record.get("tagging") or {"max_length": 512, "stride": 128}
        self.tag_scheme: str = record.get("tag_scheme", "auto")
        in_bfloat16 = record.get("bf16", False) and computes_in_bfloat16(next(model.parameters()).device.type)
        self.dtype = torch.bfloat16 if in_bfloat16 else None

    @classmethod
    def from_pretrained(cls, path: str | Path, *, batch_size: int = 32, **kwargs: Any) -> "Tagger":
        """The tagger that a run saved, a LoRA adapter merged into a base model that is not quantised.

        Args:
            path: the saved directory.
            batch_size: windows a forward pass.
            **kwargs: those of `decausal.load`, whose errors it raises. A `dtype` is what the model is then held and
                computed in: bfloat16 throughout is the fastest, and rounds more than training did.
        """
        model, tokenizer = load(path, **kwargs)
        is_quantized = getattr(transformers_model(model), "is_quantized", False)
        if isinstance(model, PeftModel) and isinstance(model.base_model, LoraModel) and not is_quantized:
            model = model.merge_and_unload()
        tagger = cls(model, tokenizer, batch_size=batch_size)
        if kwargs.get("dtype") is not None:
            tagger.dtype = None
        return tagger

    @property
    def labels(self) -> list[str]:
        """The label names in the order of their ids."""
        id2label: Any = self.model.config.id2label
        return [id2label[i] for i in range(len(id2label))]

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[TaggedSentence]:
        """Tag pre-split sentences, in their order. Sentences without words come back without tags.

        Raises:
            TypeError: a sentence is running text.
        """
        if isinstance(sentences, str) or any(isinstance(sentence, str) for sentence in sentences):
            raise TypeError(
                "a sentence is a list of words here, as in tag([['Jordan', 'said', 'no', '.']]); for running text take "
                "the pipeline of transformers with decausal.tagging.pipeline.TaggerPipeline."
            )
        labels = self.labels
        label2id = {label: i for i, label in enumerate(labels)}
        windows = align(sentences, None, self.tokenizer, label2id, **self._alignment)
        tags: list[list[str]] = [[]] * len(windows["input_ids"])
        scores: list[list[float]] = [[]] * len(windows["input_ids"])
        for rows, probabilities in self._probabilities(windows):
            best = probabilities.max(-1)
            for row, indices, values in zip(rows, best.indices.tolist(), best.values.tolist(), strict=True):
                tags[row] = [labels[i] for i in indices]
                scores[row] = values
        return [
            TaggedSentence(list(tokens), predicted, certainty)
            for tokens, predicted, certainty in zip(
                sentences, merge_predictions(windows, tags), merge_scores(windows, scores), strict=True
            )
        ]

    def evaluate(self, source: str | Sequence[str], **kwargs: Any) -> Scores:
        """Scores on annotated files: `read_sentences`, whose report is a warning if it had to repair, then `score`.

        Args:
            source: as for `read_sentences`.
            **kwargs: more arguments of `read_sentences`; `tag_scheme` is by default the model's.

        Raises:
            DataError: a file cannot be read, or none of its tags is known to the model.

        Warns:
            UserWarning: tags were repaired, spans were dropped, or tags are unknown to the model; with the counts.
        """
        sentences, report = read_sentences(source, **{"tag_scheme": self.tag_scheme, **kwargs})
        if report.repaired_tags or report.dropped_spans:
            warnings.warn(str(report), stacklevel=2)
        return self.score(sentences, report.source)

    def score(self, sentences: datasets.Dataset, name: str = "the data") -> Scores:
        """Scores on annotated sentences.

        Args:
            sentences: the columns `tokens` and `tags`, IOB2.
            name: what messages call them.

        Raises:
            DataError: none of the tags is known to the model.

        Warns:
            UserWarning: some are not, which counts as missed; with their number.
        """
        gold = [list(tags) for tags in sentences["tags"]]
        used = {tag for tags in gold for tag in tags}
        if not (used & set(self.labels)) - {"O"} and used != {"O"}:
            raise DataError(
                f"{name}: its tags {', '.join(sorted(used - {'O'}))} have nothing in common with those of the model, "
                f"{', '.join(self.labels)}; is it another task's file, or the wrong column?"
            )
        if unknown := describe_unknown_tags(name, sentences, self.labels, "the model"):
            warnings.warn(unknown, stacklevel=2)
        return score(gold, [sentence.tags for sentence in self.tag(sentences["tokens"])])

    def _probabilities(self, windows: Features) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Batches of windows, as their places, and the probabilities of their labels."""
        order = sorted(range(len(windows["input_ids"])), key=lambda row: len(windows["input_ids"][row]))
        collate = DataCollatorForTokenClassification(self.tokenizer)  # has little to pad in windows of like length
        device = next(self.model.parameters()).device
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = collate(
                [{"input_ids": windows["input_ids"][r], "attention_mask": windows["attention_mask"][r]} for r in rows]
            )
            with torch.inference_mode(), autocast(device, self.dtype):
                logits = self.model(**batch.to(device)).logits
            yield rows, logits.float().softmax(-1).cpu()
