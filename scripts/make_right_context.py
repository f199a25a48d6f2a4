"""Write the corpus of `examples/right_context`: names whose type only the words to their right decide.

    python scripts/make_right_context.py --seed 7

Sentences come in groups that share everything up to the end of a name, then go on as a person, a place and an
organisation. So each left context, as a literal sequence of words, is followed by each type equally often:

    That same week , Jordan shaved off his beard .               Jordan is PER
    That same week , Jordan was shaken by a strong earthquake .  Jordan is LOC
    That same week , Jordan filed for bankruptcy .               Jordan is ORG

All phrases are in `phrases.yaml` beside the corpus; this file only combines them.
"""

import argparse
import random
import re
from collections.abc import Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CORPUS = Path(__file__).resolve().parents[1] / "examples" / "right_context"
TYPES = ("PER", "LOC", "ORG")

Sentence = list[tuple[str, str]]  # (word, IOB2 tag)


class Size(NamedTuple):
    """How many groups of each kind make a split; a group is 3, 3, 9 and 1 sentences."""

    one_name: int
    same_type: int
    two_types: int
    no_name: int


SIZES = {
    "train": Size(one_name=93, same_type=15, two_types=4, no_name=40),
    "validation": Size(one_name=28, same_type=5, two_types=1, no_name=12),
    "test": Size(one_name=46, same_type=8, two_types=2, no_name=20),
}


class Deck:
    """Deals items in shuffled rounds: no item comes twice before all have come once."""

    def __init__(self, items: Sequence[str], rng: random.Random):
        self._items, self._rng, self._pile = items, rng, list[str]()

    def draw(self) -> str:
        """Return the next item, with one alternative of each `[a|b]` taken."""
        self._pile = self._pile or self._rng.sample(self._items, len(self._items))
        return re.sub(r"\[(.*?)\]", lambda choice: self._rng.choice(choice[1].split("|")), self._pile.pop())


class Writer:
    """Writes the groups of one split from its part of `phrases.yaml`; a method for each field of `Size`."""

    def __init__(self, phrases: dict[str, Any], rng: random.Random):
        def deck(*lists: Sequence[str]) -> Deck:
            return Deck(list(chain(*lists)), rng)

        openers, continuations = phrases["openers"], phrases["continuations"]
        self._rng, self._when = rng, openers["when"]
        self._openers, self._anytime = deck(*openers.values()), deck(openers["any"])
        self._names, self._asides, self._no_name = map(deck, (phrases["names"], phrases["asides"], phrases["no_name"]))
        self._events = {type_: deck(continuations[type_]["events"]) for type_ in TYPES}
        self._any = {type_: deck(*continuations[type_].values()) for type_ in TYPES}
        self._together = {type_: deck(phrases["together"][type_]) for type_ in TYPES}

    def one_name(self) -> list[Sentence]:
        """Return three sentences: the same opener, name and perhaps aside, then each type."""
        opener, name = self._openers.draw(), self._names.draw()
        continuations = self._events if opener in self._when else self._any
        aside = self._asides.draw() if self._rng.random() < 0.25 else ""
        return [compose(opener, (name, type_), aside, continuations[type_].draw()) for type_ in TYPES]

    def same_type(self) -> list[Sentence]:
        """Return three sentences in which the names of `NAME and NAME` are of one type, each type once."""
        opener, first, second = self._anytime.draw(), self._names.draw(), self._names.draw()
        return [
            compose(opener, (first, type_), "and", (second, type_), self._together[type_].draw()) for type_ in TYPES
        ]

    def two_types(self) -> list[Sentence]:
        """Return nine sentences: each type of a first name, each followed by each type of a second one.

        A first clause is repeated word for word before all three types of the second name: it is a left
        context of that name, and if it varied it would be one that occurs with a single type.
        """
        opener, first, second = self._anytime.draw(), self._names.draw(), self._names.draw()
        link = self._rng.choice([", while", ", but", ", and"])
        clauses = {type_: self._any[type_].draw() for type_ in TYPES}
        return [
            compose(opener, (first, type_), clause, link, (second, other), self._any[other].draw())
            for type_, clause in clauses.items()
            for other in TYPES
        ]

    def no_name(self) -> list[Sentence]:
        """Return one sentence without a name."""
        return [compose(self._anytime.draw(), self._no_name.draw())]


def compose(*parts: str | tuple[str, str]) -> Sentence:
    """Return the tagged words of phrases and of (name, type) pairs as a sentence with a full stop."""
    words: Sentence = []
    for part in parts:
        if isinstance(part, str):
            words += [(word, "O") for word in part.split()]
        else:
            name, type_ = part
            words += [(word, ("I-" if i else "B-") + type_) for i, word in enumerate(name.split())]
    (first, tag), *rest = words
    return [(first[0].upper() + first[1:], tag), *rest, (".", "O")]


def make_corpus(phrases: dict[str, Any], seed: int) -> dict[str, list[Sentence]]:
    """Return the shuffled sentences of each split; the same phrases and seed give the same sentences."""
    corpus = {}
    for split, size in SIZES.items():
        # One generator a split: editing the phrases of one leaves the sentences of the others as they are.
        rng = random.Random(f"{seed} {split}")
        writer = Writer(phrases[split], rng)
        groups = [getattr(writer, kind)() for kind, count in size._asdict().items() for _ in range(count)]
        corpus[split] = list(chain(*groups))
        rng.shuffle(corpus[split])
    return corpus


def words_in_two_splits(corpus: dict[str, list[Sentence]]) -> set[str]:
    """Return the lower-cased words that occur in more than one split."""
    vocabularies = [{word.lower() for word, _ in chain(*sentences)} for sentences in corpus.values()]
    return set().union(*(a & b for a, b in combinations(vocabularies, 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output_dir", type=Path, default=CORPUS)
    args = parser.parse_args()
    phrases = yaml.safe_load((CORPUS / "phrases.yaml").read_text(encoding="utf-8"))
    corpus = make_corpus(phrases, args.seed)
    if leaks := words_in_two_splits(corpus) - set(phrases["shared_words"].split()):
        parser.error(
            f"phrases.yaml: {sorted(leaks)} occur in more than one split. Splits share only words that say "
            "nothing about a type: reword one of the phrases, or add such a word to shared_words."
        )
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for split, sentences in corpus.items():
        text = "\n".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences)
        (args.output_dir / f"{split}.tsv").write_text(text, encoding="utf-8", newline="\n")
        print(f"{args.output_dir / split}.tsv: {len(sentences)} sentences")


if __name__ == "__main__":
    main()
