"""The runs of the paper at one scale, as a YAML of recipes/paper lists them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from decausal.sweep.space import parse_seeds
from decausal.tagging.arguments import read_recipe

Fields = dict[str, Any]
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Task:
    """A data set.

    Attributes:
        data: fields of a recipe that say where it is and how it is read; paths are relative to the data directory.
        instructions: a YAML of recipes/instruct; needed where a model is instructed.
    """

    data: Fields
    instructions: str | None = None


@dataclass(frozen=True)
class Pretrained:
    """A model that is pretrained first, by scripts/pretrain.py.

    Attributes:
        recipe: a YAML of recipes/pretrain_68m.
        fields: what it changes; `train_file` is relative to the data directory.
    """

    recipe: str
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True)
class Tagger:
    """A model that is fine-tuned on each task, with each pattern and seed.

    Attributes:
        recipe: a YAML of recipes; `{task}` in it stands for the task.
        patterns: as `decausal sweep` takes them.
        pretrained: the pretrained model that is fine-tuned; None for that of the recipe.
        every_checkpoint: fine-tune every checkpoint of its pretraining.
        fields: what it changes.
        fields_of: what it changes more, by task.
        tasks: those of the scale that it is for; all by default.
        seeds: as `decausal sweep` takes them; those of the scale by default.
    """

    recipe: str
    patterns: str = "none"
    pretrained: str | None = None
    every_checkpoint: bool = False
    fields: Fields = field(default_factory=dict)
    fields_of: dict[str, Fields] = field(default_factory=dict)
    tasks: tuple[str, ...] | None = None
    seeds: str | None = None


@dataclass(frozen=True)
class Instructed:
    """A model that is instructed on each task by TRL, as text.

    Attributes:
        recipe: a YAML of `trl sft`.
        pretrained: the pretrained model that is instructed; None for that of the recipe.
        fields: what it changes.
        fields_of: what it changes more, by task.
        tasks: those of the scale that it is for; all by default.
        seeds: as `decausal sweep` takes them; those of the scale by default.
        max_new_tokens: of an answer.
        is_as_published: draw answers, and read them by the paper's rules.
    """

    recipe: str
    pretrained: str | None = None
    fields: Fields = field(default_factory=dict)
    fields_of: dict[str, Fields] = field(default_factory=dict)
    tasks: tuple[str, ...] | None = None
    seeds: str | None = None
    max_new_tokens: int = 512
    is_as_published: bool = False


@dataclass(frozen=True)
class Scale:
    """All runs of one scale, each kind by name.

    Attributes:
        seeds: one run each.
        tasks: the data sets.
        text: a corpus (`train_file`) of whose words models are pretrained, with a tokenizer of `vocab_size`; None where
            the recipes of pretraining name text and tokenizer.
        pretrained: models that are pretrained.
        taggers: models that are fine-tuned.
        instructed: models that are instructed.
    """

    seeds: str
    tasks: dict[str, Task]
    text: Fields | None = None
    pretrained: dict[str, Pretrained] = field(default_factory=dict)
    taggers: dict[str, Tagger] = field(default_factory=dict)
    instructed: dict[str, Instructed] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Scale":
        """The scale of a file.

        Raises:
            ValueError: it is not a file of this kind, or something in it is not there.
        """
        found = _build(cls, read_recipe(path), path)
        kinds = {"tasks": Task, "pretrained": Pretrained, "taggers": Tagger, "instructed": Instructed}
        parts = {
            name: {each: _build(kind, facts, f"{path}: {name}: {each}") for each, facts in getattr(found, name).items()}
            for name, kind in kinds.items()
        }
        scale = cls(found.seeds, text=found.text, **parts)
        for name, run in {**scale.taggers, **scale.instructed}.items():
            parse_seeds(run.seeds or scale.seeds)
            for task in {*(run.tasks or ()), *run.fields_of} - {*scale.tasks}:
                raise ValueError(f"{path}: {name} is for the task {task!r}, which is none of {', '.join(scale.tasks)}.")
            if run.pretrained is not None and run.pretrained not in scale.pretrained:
                raise ValueError(f"{path}: {name} has pretrained={run.pretrained!r}, which the file does not pretrain.")
        return scale

    def tasks_of(self, run: Tagger | Instructed, wanted: tuple[str, ...]) -> list[str]:
        """The tasks of a run among those that are wanted, in the order of the scale."""
        return [task for task in self.tasks if task in (run.tasks or self.tasks) and task in wanted]

    def seeds_of(self, run: Tagger | Instructed, wanted: str | None) -> str:
        """The seeds of a run; those that are wanted instead, if any."""
        return wanted or run.seeds or self.seeds


def _build(kind: type[_Part], facts: Any, place: object) -> _Part:
    """Facts of a YAML as an object of this kind.

    Raises:
        ValueError: they have other names than it has, or lack one that it needs.
    """
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(facts, Mapping) or (unknown := {*facts} - {*known}):
        what = f"has {', '.join(map(repr, sorted(unknown)))}" if isinstance(facts, Mapping) else "is no mapping"
        raise ValueError(f"{place} {what}; it can have {', '.join(known)}.")
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"{place}: {error}") from error
