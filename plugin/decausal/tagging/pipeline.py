"""The pipeline of transformers on running text, exact about words and characters."""

# Each pipeline of transformers gives these methods arguments of its own.
# mypy: disable-error-code="override"

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerFast, TokenClassificationPipeline
from transformers.pipelines.token_classification import AggregationStrategy

from decausal.tagging.align import align, merge_predictions, merge_scores
from decausal.tagging.precision import autocast
from decausal.tagging.predict import TaggedSentence, Tagger
from decausal.tagging.reading.spans import split_words


class TaggerPipeline(TokenClassificationPipeline):
    """What `Tagger` finds in a text, with its characters.

        tag = pipeline("token-classification", model=model, tokenizer=tokenizer, pipeline_class=TaggerPipeline)

    The pipeline of transformers guesses words from the spaces around sub-words: it takes `house,` for one word, and a
    first sub-word that is a bare space (of `1995`, where digits stand alone) for a word of its own. Here a text is cut
    into words by `split_words`, as when a text file is read; each is tagged as `Tagger` tags it, in windows as in
    training; and `text[start:end]` is `word` in every result.

    `aggregation_strategy="none"`, the default, gives a dictionary for each word that is not `O`: `entity` (its IOB2
    tag), `score` (0-1; None where the tokenizer drops the word), `index` (of the word), `word`, `start`, `end`. Any
    other gives one for each entity: `entity_group` (its type), `score` (the mean over its words), `word`, `start`,
    `end`; they do not differ from each other, because a word has one prediction here.

    `ignore_labels`, `is_split_into_words` and `delimiter` are as in transformers; `O` makes no entities.

    Raises:
        ValueError: `stride` or `offset_mapping` is given: both are known from training and from the text.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._tagger = Tagger(self.model, cast(PreTrainedTokenizerFast, self.tokenizer))

    def check_model_type(self, supported_models: Any) -> None:
        """Accepts every token classifier, those for which transformers lacks a class included."""

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        for name in ("stride", "offset_mapping"):
            if parameters.get(name) is not None:
                raise ValueError(
                    f"{name}={parameters[name]!r} cannot be set: windows are cut as in training, and offsets are those "
                    "of the words in the text; leave it out"
                )
        sanitized: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = super()._sanitize_parameters(**parameters)
        return sanitized

    def preprocess(
        self, sentence: Any, is_split_into_words: bool = False, delimiter: str = " "
    ) -> Iterator[dict[str, Any]]:
        """The windows of one text."""
        words = list(sentence) if is_split_into_words else split_words(sentence)
        text = delimiter.join(words) if is_split_into_words else sentence
        windows = align([words], None, self._tagger.tokenizer, {}, **self._tagger._alignment)
        num_windows = len(windows["input_ids"])
        for row in range(num_windows):
            yield {
                "input_ids": torch.tensor([windows["input_ids"][row]]),
                "attention_mask": torch.tensor([windows["attention_mask"][row]]),
                "source": (text, words, windows) if row == 0 else None,
                "is_last": row == num_windows - 1,
            }

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        tensors = {name: model_inputs.pop(name) for name in ("input_ids", "attention_mask")}
        with autocast(self.model.device, self._tagger.dtype):
            return {"logits": self.model(**tensors).logits, **model_inputs}

    def postprocess(
        self,
        all_outputs: list[dict[str, Any]],
        aggregation_strategy: AggregationStrategy = AggregationStrategy.NONE,
        ignore_labels: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """The results of one text, from all its windows."""
        text, words, windows = all_outputs[0]["source"]
        best = [output["logits"][0].float().softmax(-1).max(-1) for output in all_outputs]
        labels = self._tagger.labels
        [tags] = merge_predictions(windows, [[labels[i] for i in row.indices.tolist()] for row in best])
        [scores] = merge_scores(windows, [row.values.tolist() for row in best])
        tagged = TaggedSentence(words, tags, scores)
        places = _find_words(text, words)
        if aggregation_strategy is AggregationStrategy.NONE:
            key, results = "entity", _describe_words(tagged, places)
        else:
            key, results = "entity_group", _describe_entities(tagged, text, places)
        ignored = ["O"] if ignore_labels is None else ignore_labels
        return [result for result in results if result[key] not in ignored]


def _find_words(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Start and end of each word, all of which are in the text in this order."""
    places, end = [], 0
    for word in words:
        start = text.index(word, end)
        end = start + len(word)
        places.append((start, end))
    return places


def _describe_words(tagged: TaggedSentence, places: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    columns = zip(tagged.tags, tagged.scores, tagged.tokens, places, strict=True)
    return [
        {"entity": tag, "score": score, "index": index, "word": word, "start": start, "end": end}
        for index, (tag, score, word, (start, end)) in enumerate(columns)
    ]


def _describe_entities(tagged: TaggedSentence, text: str, places: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    results = []
    for label, first, stop in tagged.entities:
        score = fmean(score for score in tagged.scores[first:stop] if score is not None)
        (start, _), (_, end) = places[first], places[stop - 1]
        results.append({"entity_group": label, "score": score, "word": text[start:end], "start": start, "end": end})
    return results
