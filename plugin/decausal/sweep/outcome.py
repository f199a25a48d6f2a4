"""What is kept of a trial: its setting, its scores, and what they were made of."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decausal.tagging.metrics import count_entities
from decausal.tagging.results import PREDICTIONS, RESULTS

Setting = dict[str, Any]
"""The fields of a recipe in which a trial differs from others: `unmask`, `seed`, and those of further axes, by name."""


@dataclass(frozen=True)
class Outcome:
    """A finished run, as a study keeps it.

    Attributes:
        setting: what tells the run from others.
        layers: the unmasked layers, zero-based from the embedding side.
        num_layers: how many decoder layers the model has.
        scores: for `validation` and, where there is one, `test`, what `Scores.to_dict` gives: F1 and the like, 0-100.
        counts: for the same, of every sentence the entities that are right, predicted, and in gold.
        curve: of every evaluation of the run `epoch` and `f1` on the validation data.
        train_seconds: what training took, evaluations included, since the run was last started.
        seconds: what the whole run took, since then.
        machine: what it ran on.
    """

    setting: Setting
    layers: tuple[int, ...]
    num_layers: int
    scores: dict[str, dict[str, Any]]
    counts: dict[str, list[tuple[int, int, int]]]
    curve: list[dict[str, float]]
    train_seconds: float
    seconds: float
    machine: dict[str, Any]

    @classmethod
    def read(cls, directory: Path, setting: Setting) -> "Outcome":
        """The outcome of the run whose output directory this is.

        Raises:
            OSError: the run is not finished.
        """
        results = json.loads((directory / RESULTS).read_text(encoding="utf-8"))
        return cls(
            setting=setting,
            layers=tuple(results["unmasked_layers"]),
            num_layers=results["num_layers"],
            scores=results["scores"],
            counts={split: _count(directory / PREDICTIONS.format(split=split)) for split in results["scores"]},
            curve=curve_of(results["log"]),
            train_seconds=results["train_seconds"],
            seconds=results["seconds"],
            machine=results["machine"],
        )

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Outcome":
        """The outcome that `to_dict` has made plain."""
        counts = {split: [(right, told, gold) for right, told, gold in rows] for split, rows in facts["counts"].items()}
        return cls(**{**facts, "layers": tuple(facts["layers"]), "counts": counts})

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON holds it."""
        return asdict(self)


def curve_of(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """The validation F1 of every evaluation in a trainer's log, with its epoch."""
    return [{"epoch": entry["epoch"], "f1": entry["eval_f1"]} for entry in log if "eval_f1" in entry]


def _count(path: Path) -> list[tuple[int, int, int]]:
    with path.open(encoding="utf-8", newline="\n") as file:  # words may hold what else ends lines
        rows = [json.loads(line) for line in file]
    return count_entities([row["tags"] for row in rows], [row["predicted"] for row in rows])
