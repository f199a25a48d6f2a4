"""A sentence as a prompt and its tags as an answer, and an answer as tags again, in two forms."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml
from seqeval.scheme import IOB2, Entities


class Form(Protocol):
    """How sentences are asked about and answered."""

    def prompt_of(self, words: Sequence[str]) -> str:
        """What the model is asked."""

    def answer_of(self, words: Sequence[str], tags: Sequence[str]) -> str:
        """What it is to answer."""

    def tags_of(self, words: Sequence[str], answer: str) -> tuple[list[str], int]:
        """The IOB2 tags that an answer means, and how many of its parts mean nothing."""


@dataclass(frozen=True)
class ShortForm:
    r"""`Sentence: Jordan left Amman\nEntities:` and ` PER: Jordan; LOC: Amman`, or ` none`.

    Attributes:
        types: the entity types that exist.
    """

    types: Sequence[str]

    def prompt_of(self, words: Sequence[str]) -> str:
        """What the model is asked."""
        return f"Sentence: {' '.join(words)}\nEntities:"

    def answer_of(self, words: Sequence[str], tags: Sequence[str]) -> str:
        """What it is to answer."""
        found = [f"{kind}: {' '.join(words[start:end])}" for kind, start, end in entities_of(tags)]
        return f" {'; '.join(found) or 'none'}"

    def tags_of(self, words: Sequence[str], answer: str) -> tuple[list[str], int]:
        """The IOB2 tags that an answer means, and how many of its parts mean nothing."""
        parts = [part.partition(": ") for part in answer.strip().split("; ") if part != "none"]
        return place(words, [(kind if kind in self.types else None, text.split(" ")) for kind, _, text in parts])


@dataclass(frozen=True)
class InstructionForm:
    """The paper's prompts and answers (Dukić & Šnajder, ACL Findings 2024): `Jordan:person;Amman:location`.

    Attributes:
        instruction: what is to be done.
        types: for each entity type what an answer calls it; in this order they are the options.
        is_lenient: read answers as the paper's code does: a type that does not exist is one, and one part that is no
            pair makes the whole answer mean nothing.
    """

    instruction: str
    types: Mapping[str, str]
    is_lenient: bool = False

    @classmethod
    def read(cls, path: Path, types: Sequence[str], is_lenient: bool = False) -> "InstructionForm":
        """The form that a file describes.

        Args:
            path: a YAML with `instruction`, and `types` as far as they are not to be called as they are.
            types: the entity types that exist.
            is_lenient: as above.

        Raises:
            ValueError: the file is not such a YAML.
        """
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict) or not {"instruction"} <= {*fields} <= {"instruction", "types"}:
            raise ValueError(f"{path}: instructions are a mapping with `instruction` and, if wanted, `types`.")
        named = fields.get("types") or {}
        names = {kind: named.get(kind) or re.sub(r"[\W_]+", " ", kind).strip().lower() for kind in [*named, *types]}
        if len({*names.values()}) < len(names):
            raise ValueError(
                f"{path}: two entity types are called alike, {names}: give them names of their own in types."
            )
        return cls(fields["instruction"], names, is_lenient)

    def save(self, path: Path) -> None:
        """Write what `read` reads."""
        fields: dict[str, Any] = {name: asdict(self)[name] for name in ("instruction", "types")}
        path.write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def prompt_of(self, words: Sequence[str]) -> str:
        """What the model is asked; the blanks at the ends of two lines are the paper's."""
        return (
            f"### Instruction: \n{self.instruction} \n\n### Options:\n{', '.join(self.types.values())}\n\n"
            f"### Sentence:\n{' '.join(words)}\n\n### Response:\n"
        )

    def answer_of(self, words: Sequence[str], tags: Sequence[str]) -> str:
        """What it is to answer."""
        return ";".join(f"{' '.join(words[start:end])}:{self.types[kind]}" for kind, start, end in entities_of(tags))

    def tags_of(self, words: Sequence[str], answer: str) -> tuple[list[str], int]:
        """The IOB2 tags that an answer means, and how many of its parts mean nothing."""
        if not answer.strip():
            return ["O"] * len(words), 0
        kinds = {name: kind for kind, name in self.types.items()}
        parts = [part.rpartition(":") for part in answer.strip().split(";")]
        if not self.is_lenient:
            return place(words, [(kinds.get(name), text.split(" ")) for text, _, name in parts])
        if not all(colon for _, colon, _ in parts):
            return ["O"] * len(words), len(parts)
        return place(words, [(kinds.get(name, name) or None, text.split(" ")) for text, _, name in parts])


def entities_of(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Of each entity of a sentence, strictly IOB2, type, first word, and the word behind its last one."""
    [entities] = Entities([list(tags)], IOB2).entities
    return [(entity.tag, entity.start, entity.end) for entity in entities]


def place(words: Sequence[str], entities: Sequence[tuple[str | None, Sequence[str]]]) -> tuple[list[str], int]:
    """The IOB2 tags of entities that are named in their order, and how many have no type or are not there.

    Each is looked for behind the one before it, so that of words that occur twice the next ones are taken.
    """
    tags, failures, start = ["O"] * len(words), 0, 0
    for kind, named in entities:
        found = next((i for i in range(start, len(words)) if list(words[i : i + len(named)]) == list(named)), None)
        if kind is None or found is None:
            failures += 1
            continue
        start = found + len(named)
        tags[found:start] = [f"B-{kind}", *[f"I-{kind}"] * (len(named) - 1)]
    return tags, failures
