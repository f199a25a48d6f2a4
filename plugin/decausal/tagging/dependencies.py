"""The right-dependency ratio: how much of what a tagged word is linked to by syntax lies to its right.

As Dukić & Šnajder count (ACL Findings 2024, their notebook on data sets): every word that is tagged has an arc to its
head, unless it is a root, and one to each of its children. An arc counts as right if what it leads to stands to the
right of the word, and as left otherwise. The ratio is right / (left + right) over the whole corpus. An arc between two
tagged words thus counts twice, once in either direction.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacy.language import Language

PARSER = "en_core_web_lg"
"""The spaCy pipeline of the paper, there 3.6.1."""
_NEEDLESS = ["ner", "lemmatizer"]
"""Parts of spaCy's pipelines which the parser does not read."""

Heads = Sequence[int | None]
"""For each word of a sentence the index of its head, from 0; None for a root."""


@dataclass(frozen=True)
class Arcs:
    """The dependency arcs of some tagged words, to their heads and to their children.

    Attributes:
        words: Number of the tagged words.
        left: Arcs to a head or a child that stands to the left of its word.
        right: Arcs to one that stands to the right.
    """

    words: int
    left: int
    right: int

    @property
    def ratio(self) -> float | None:
        """Share of the arcs that lead to the right, 0-1; None where there are no arcs."""
        return self.right / (self.left + self.right) if self.left + self.right else None

    def to_dict(self) -> dict[str, Any]:
        """The counts and the ratio, ready for JSON."""
        return {"words": self.words, "left": self.left, "right": self.right, "ratio": self.ratio}


@dataclass(frozen=True)
class Dependencies:
    """The dependency arcs of a corpus.

    Attributes:
        sentences: Number of sentences, those without a tagged word included.
        total: The arcs of all tagged words.
        types: The same for each entity type, sorted by name.
    """

    sentences: int
    total: Arcs
    types: Mapping[str, Arcs]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: the arcs of all words at the top."""
        types = {name: arcs.to_dict() for name, arcs in self.types.items()}
        return {"sentences": self.sentences, **self.total.to_dict(), "types": types}


def count_arcs(tags: Iterable[Sequence[str]], heads: Iterable[Heads]) -> Dependencies:
    """The arcs of all tagged words, to the left and to the right.

        words   Peter      Blackburn  saw   the  EU
        tags    B-PER      I-PER      O     O    B-ORG
        heads   Blackburn  saw        root  EU   saw

    *Peter* has an arc to the right, *Blackburn* one to the right (its head) and one to the left (its child), *EU* has
    two to the left: 2 of 5 lead to the right.

    Args:
        tags: IOB2 tags of each sentence.
        heads: Of the same sentences, one for each word.

    Raises:
        ValueError: If the two differ in the number of sentences or of words.
    """
    words, left, right = Counter[str](), Counter[str](), Counter[str]()
    num_sentences = 0
    for types, found in _pairs(tags, heads):
        num_sentences += 1
        words.update(filter(None, types))
        for child, head in enumerate(found):
            if head is None:
                continue
            for word, other in ((child, head), (head, child)):
                if types[word]:
                    (right if other > word else left)[types[word]] += 1
    return Dependencies(
        sentences=num_sentences,
        total=Arcs(words.total(), left.total(), right.total()),
        types={name: Arcs(words[name], left[name], right[name]) for name in sorted(words)},
    )


def _pairs(tags: Iterable[Sequence[str]], heads: Iterable[Heads]) -> Iterator[tuple[list[str], Heads]]:
    """The entity type of each word of a sentence, `""` outside of entities, and its heads."""
    no_words: tuple[Any, ...] = ()
    for number, (sentence, found) in enumerate(zip_longest(tags, heads, fillvalue=no_words), 1):
        if len(sentence) != len(found):
            raise ValueError(f"sentence {number} has {len(sentence)} tags, but {len(found)} heads; each word has one")
        yield [tag[2:] for tag in sentence], found


def load_parser(name: str = PARSER) -> "Language":
    """A spaCy pipeline.

    Args:
        name: Of an installed pipeline, or a directory.

    Raises:
        ImportError: If spaCy is not installed.
        ValueError: If it cannot load the pipeline.
    """
    try:
        import spacy
    except ModuleNotFoundError as error:
        raise ImportError(f"parser={name}: {error.msg}; pip install 'decausal[rdr]' brings spaCy") from error
    try:
        return spacy.load(name, exclude=_NEEDLESS)
    except OSError as error:
        raise ValueError(
            f"parser={name}: spaCy {spacy.__version__} has no such pipeline; "
            f"python -m spacy download {name} brings it, if it is one of spaCy's own"
        ) from error


def describe_parser(parser: "Language") -> str:
    """The name and version of a pipeline, and of spaCy."""
    import spacy

    meta = parser.meta
    return f"{meta['lang']}_{meta['name']} {meta['version']} (spaCy {spacy.__version__})"


def parse_heads(sentences: Iterable[Sequence[str]], parser: "Language") -> Iterator[list[int | None]]:
    """The heads of each sentence, by a parser that takes its words as they are.

    Args:
        sentences: The words of each. What the parser takes for several sentences has several roots.
        parser: A spaCy pipeline.

    Yields:
        As many heads as the sentence has words, as `count_arcs` takes them.

    Raises:
        ValueError: If the pipeline has no dependency parser.
    """
    from spacy.tokens import Doc

    for doc in parser.pipe(Doc(parser.vocab, words=list(words)) for words in sentences):
        if not doc.has_annotation("DEP"):
            parts = ", ".join(parser.pipe_names) or "nothing"
            raise ValueError(f"the pipeline ({parts}) sets no heads; choose one with a dependency parser")
        yield [None if word.head.i == word.i else word.head.i for word in doc]
