"""The runs of the paper at one scale, as a YAML of recipes/paper lists them."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
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
class Text:
    """A corpus of whose sentences models are pretrained.

    Attributes:
        train_file: annotated sentences, relative to the data directory.
        vocab_size: of the tokenizer that is trained on them.
    """

    train_file: str
    vocab_size: int


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
class _Run:
    """What is run on each task, with each seed.

    Attributes:
        recipe: a YAML of recipes; `{task}` in it stands for the task.
        pretrained: the pretrained model that it begins with; None for that of the recipe.
        fields: what it changes of the recipe, and of how the data are read.
        fields_of: what it changes more, by task.
        tasks: those of the scale that it is for; all by default.
        seeds: as `decausal sweep` takes them; those of the scale by default.
    """

    recipe: str
    pretrained: str | None = None
    fields: Fields = field(default_factory=dict)
    fields_of: dict[str, Fields] = field(default_factory=dict)
    tasks: tuple[str, ...] | None = None
    seeds: str | None = None


@dataclass(frozen=True)
class Tagger(_Run):
    """A model that is fine-tuned, with each pattern.

    Attributes:
        patterns: as `decausal sweep` takes them.
        every_checkpoint: fine-tune every checkpoint of its pretraining.
    """

    patterns: str = "none"
    every_checkpoint: bool = False


@dataclass(frozen=True)
class Instructed(_Run):
    """A model that is instructed by TRL, as text; its recipe is one of `trl sft`.

    Attributes:
        max_new_tokens: of an answer.
        as_published: draw answers, and read them by the paper's rules.
    """

    max_new_tokens: int = 512
    as_published: bool = False


@dataclass(frozen=True)
class Scale:
    """All runs of one scale, each kind by name.

    Attributes:
        seeds: one run each.
        tasks: the data sets.
        text: what models are pretrained on; None where their recipes name text and tokenizer.
        pretrained: models that are pretrained.
        taggers: models that are fine-tuned.
        instructed: models that are instructed.
    """

    seeds: str
    tasks: dict[str, Task]
    text: Text | None = None
    pretrained: dict[str, Pretrained] = field(default_factory=dict)
    taggers: dict[str, Tagger] = field(default_factory=dict)
    instructed: dict[str, Instructed] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Scale":
        """The scale of a file.

        Raises:
            ValueError: it is not a file of this kind, or something in it is not there.
        """
        facts = read_recipe(path)
        for name, kind in {
            "tasks": Task,
            "pretrained": Pretrained,
            "taggers": Tagger,
            "instructed": Instructed,
        }.items():
            parts = facts.get(name, {})
            if not isinstance(parts, dict):
                raise ValueError(f"{path}: {name} is {parts!r}; it is a mapping of names.")
            facts[name] = {each: _build(kind, part, f"{path}: {name}: {each}") for each, part in parts.items()}
        if facts.get("text") is not None:
            facts["text"] = _build(Text, facts["text"], f"{path}: text")
        scale = _build(cls, facts, path)
        scale._check(path)
        return scale

    @property
    def runs(self) -> dict[str, Tagger | Instructed]:
        """Taggers, then models that are instructed."""
        return {**self.taggers, **self.instructed}

    def tasks_of(self, name: str, wanted: tuple[str, ...]) -> list[str]:
        """The tasks of a run among those that are wanted, in the order of the scale."""
        return [task for task in self.tasks if task in (self.runs[name].tasks or self.tasks) and task in wanted]

    def seeds_of(self, name: str, wanted: str | None) -> str:
        """The seeds of a run; those that are wanted instead, if any."""
        return wanted or self.runs[name].seeds or self.seeds

    def _check(self, path: Path) -> None:
        if twice := {*self.taggers} & {*self.instructed}:
            raise ValueError(f"{path}: {', '.join(twice)} is a tagger and is instructed: give two names.")
        for name, run in self.runs.items():
            seeds = run.seeds or self.seeds
            if not isinstance(seeds, str):
                raise ValueError(f'{path}: {name} has seeds={seeds!r}: write them in quotes, as in "120,121".')
            parse_seeds(seeds)
            for task in {*(run.tasks or ()), *run.fields_of} - {*self.tasks}:
                raise ValueError(f"{path}: {name} is for the task {task!r}, which is none of {', '.join(self.tasks)}.")
            if run.pretrained is not None and run.pretrained not in self.pretrained:
                raise ValueError(
                    f"{path}: {name} has pretrained={run.pretrained!r}; pretrained are {', '.join(self.pretrained)}."
                )


def _build(kind: type[_Part], facts: Any, place: object) -> _Part:
    """Facts of a YAML as an object of this kind.

    Raises:
        ValueError: they have other names than it has, or lack one that it needs.
    """
    every = fields(kind)  # type: ignore[arg-type]
    known = [each.name for each in every]
    needed = {each.name for each in every if each.default is MISSING and each.default_factory is MISSING}
    if not isinstance(facts, Mapping):
        raise ValueError(f"{place} is {facts!r}; it is a mapping of {', '.join(known)}.")
    if unknown := {*facts} - {*known}:
        raise ValueError(f"{place} has {', '.join(map(repr, sorted(unknown)))}; it can have {', '.join(known)}.")
    if missing := needed - {*facts}:
        raise ValueError(f"{place} lacks {', '.join(sorted(missing))}.")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()})
