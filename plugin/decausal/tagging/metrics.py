"""How good predicted tags are: entity-level scores by seqeval.

Two counts are given because they differ in both directions. *Strict* IOB2 knows only entities that
begin with `B-`: an `I-` that continues nothing is no entity, neither found nor wrong. *conlleval* (the
script of the CoNLL shared tasks) lets such an `I-` begin one. Strict is the score to report.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EntityScores:
    """Precision, recall and F1 (0-100) over entities that match in type and in both borders.

    A quotient without a denominator (nothing predicted, nothing to find) is 0. `support` is the number of
    gold entities.
    """

    precision: float
    recall: float
    f1: float
    support: int

    @classmethod
    def _from_seqeval(cls, precision: Any, recall: Any, f1: Any, support: Any) -> "EntityScores":
        return cls(100 * float(precision), 100 * float(recall), 100 * float(f1), int(support))


@dataclass(frozen=True)
class Scores:
    """All scores of one set of predictions.

    Attributes:
        strict: Micro average over all entities, strict IOB2.
        types: The same for each entity type found in gold or predicted tags, sorted by name.
        conlleval: Micro average as conlleval counts.
        accuracy: Share of words (0-100) whose tag is exactly right; 0 where there are no words.
    """

    strict: EntityScores
    types: dict[str, EntityScores]
    conlleval: EntityScores
    accuracy: float

    def headline(self) -> dict[str, float]:
        """The strict scores and the accuracy, as a trainer logs them."""
        strict = self.strict
        return {"f1": strict.f1, "precision": strict.precision, "recall": strict.recall, "accuracy": self.accuracy}

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain numbers, ready for JSON: the strict ones at the top, under their own names."""
        rest = asdict(self)
        strict: dict[str, Any] = rest.pop("strict")
        return strict | rest


def score(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> Scores:
    """Scores of predicted IOB2 tags against gold ones.

    Args:
        gold: One list of tags (`O`, `B-TYPE`, `I-TYPE`) a sentence.
        predicted: The same sentences, as many tags in each.

    Raises:
        ValueError: If the two differ in the number of sentences or of words, or hold a tag that is not IOB2.
    """
    # Here, because it costs scikit-learn, and training without a score needs neither.
    from seqeval.metrics import accuracy_score
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as score_like_conlleval
    from seqeval.metrics.v1 import precision_recall_fscore_support as score_by_scheme
    from seqeval.scheme import IOB2, Entities

    _check(gold, predicted)
    # An empty sentence changes no count, and seqeval refuses input without a single sentence.
    true, pred = [*map(list, gold), []], [*map(list, predicted), []]
    entities = {"entities_true": Entities(true, IOB2), "entities_pred": Entities(pred, IOB2)}
    names = sorted(entities["entities_true"].unique_tags | entities["entities_pred"].unique_tags)
    by_type = score_by_scheme(true, pred, average=None, scheme=IOB2, zero_division=0, **entities)
    strict = score_by_scheme(true, pred, average="micro", scheme=IOB2, zero_division=0, **entities)
    lenient = score_like_conlleval(true, pred, average="micro", zero_division=0)
    return Scores(
        strict=EntityScores._from_seqeval(*strict),
        types={
            name: EntityScores._from_seqeval(*row)
            for name, *row in zip(names, *by_type, strict=True)  # one array a measure, one row a type
        },
        conlleval=EntityScores._from_seqeval(*lenient),
        accuracy=100 * float(accuracy_score(true, pred)) if any(true) else 0.0,
    )


def count_entities(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> list[tuple[int, int, int]]:
    """What each sentence adds to the strict scores: its entities that are right, predicted, and in gold.

    Precision, recall and F1 of any choice of sentences follow from the sums.

    Args:
        gold: As in `score`.
        predicted: As in `score`.

    Raises:
        ValueError: As in `score`.
    """
    from seqeval.scheme import IOB2, Entities

    _check(gold, predicted)
    found = (Entities([*map(list, tags)], IOB2).entities for tags in (gold, predicted))
    return [
        (len({*map(_place, true)} & {*map(_place, pred)}), len(pred), len(true))
        for true, pred in zip(*found, strict=True)
    ]


def _place(entity: Any) -> tuple[str, int, int]:
    return entity.tag, entity.start, entity.end


def _check(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold sentences, but {len(predicted)} predicted: score the same text")
    for number, (true, pred) in enumerate(zip(gold, predicted, strict=True)):
        if len(true) != len(pred):
            raise ValueError(
                f"sentence {number} (from 0) has {len(true)} gold tags, but {len(pred)} predicted ones: "
                "every word needs exactly one"
            )
    for side, sentences in (("gold", gold), ("predicted", predicted)):
        tags = {tag for sentence in sentences for tag in sentence}
        for tag in sorted(tags):
            if tag != "O" and not (tag.startswith(("B-", "I-")) and len(tag) > 2):
                raise ValueError(
                    f"{side} tag {tag!r} is not IOB2 (O, B-TYPE or I-TYPE): convert the tags before scoring"
                )
