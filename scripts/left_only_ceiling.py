"""Print the best F1 that a tagger which sees no word to its right can reach on a file.

    python scripts/left_only_ceiling.py examples/right_context/test.tsv

A left-only tagger is one whose tag for word t of a sentence is some function of words 0 to t of it. A causal
language model with a linear head is one, whether it labels the first sub-word of a word or the last, unless
something behind the head (a CRF, a repair of tags) combines the tags of several words. The bound holds for
every such function, even for one that knows the file by heart:

*   The score is entity-level micro F1 in strict IOB2, `2 TP / (P + G)` with P predicted and G gold entities,
    of which TP agree in first word, last word and type.
*   A predicted entity begins at each B- tag and nowhere else, and has the type of that tag. So whether an
    entity is predicted at word t, and of which type, is settled by words 0 to t, its left context.
*   Wherever in the file a left context occurs, the tagger does the same. Of the `n` words that have it, let
    `g` begin a gold entity of the type most frequent there. Tagging them B- adds `n` to P and at most `g` to
    TP (as if every end were found); not tagging them B- adds nothing.
*   The bound is the largest `2 sum(g) / (sum(n) + G)` over all sets of left contexts. It is found among the
    sets that hold those of highest `g / n`, since a context raises a score f exactly if `g / n > f / 2`.
*   A tagger that draws its tags at random is a mixture of fixed ones, and on average no better than the best.
    Rounding that differs from batch to batch is such a draw where two types are nearly tied.

Where each of k types follows every left context of a name equally often, nothing beats guessing one of them:
`g = n / k`, precision and recall are `1 / k`, and the bound is `100 / k`. Where left contexts seldom occur
twice, as in most real text, knowing the file by heart is knowing the answers: the bound is near 100 and says
nothing.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from seqeval.scheme import IOB2, Entities

Sentence = tuple[list[str], list[str]]  # words, IOB2 tags
LeftContext = tuple[str, ...]  # the words of a sentence up to and including one


def read_sentences(path: Path) -> list[Sentence]:
    """Return the sentences of a file with `word<TAB>tag` lines and a blank line between sentences.

    Raises:
        ValueError: If a line is not a word, a tab and an IOB2 tag.
    """
    sentences: list[Sentence] = [([], [])]
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        word, _, tag = line.partition("\t")
        if not line:
            sentences.append(([], []))
        elif word and (tag == "O" or tag[:2] in ("B-", "I-")):
            sentences[-1][0].append(word)
            sentences[-1][1].append(tag)
        else:
            raise ValueError(f"{path}, line {number}: {line!r}, expected a word, a tab and an IOB2 tag")
    return [sentence for sentence in sentences if sentence[0]]


def count_left_contexts(sentences: Sequence[Sentence]) -> dict[LeftContext, tuple[int, Counter[str]]]:
    """Return, for each left context that ends in an entity's first word, how many words have it and how
    many gold entities of each type begin there.
    """
    words_with: Counter[LeftContext] = Counter()
    types_after: dict[LeftContext, Counter[str]] = defaultdict(Counter)
    gold = Entities([tags for _, tags in sentences], IOB2).entities
    for (words, _), entities in zip(sentences, gold, strict=True):
        words_with.update(tuple(words[: i + 1]) for i in range(len(words)))
        for entity in entities:
            types_after[tuple(words[: entity.start + 1])][entity.tag] += 1
    return {context: (words_with[context], types) for context, types in types_after.items()}


def left_only_ceiling(sentences: Sequence[Sentence]) -> float:
    """Return the entity-level micro F1 (0-100) that no left-only tagger exceeds; 0 without entities."""
    contexts = count_left_contexts(sentences).values()
    num_gold = sum(types.total() for _, types in contexts)
    best_first = sorted(
        ((max(types.values()), num_words) for num_words, types in contexts),
        key=lambda counts: counts[0] / counts[1],
        reverse=True,
    )
    sums = accumulate(best_first, lambda total, counts: (total[0] + counts[0], total[1] + counts[1]))
    return max((200 * correct / (predicted + num_gold) for correct, predicted in sums), default=0.0)


def unbalanced_contexts(sentences: Sequence[Sentence]) -> list[str]:
    """Return the left contexts of names that any type of the file follows more often than another."""
    contexts = count_left_contexts(sentences)
    all_types = set().union(*(types for _, types in contexts.values()))
    return [
        " ".join(context)
        for context, (num_words, types) in contexts.items()
        if any(types[type_] * len(all_types) != num_words for type_ in all_types)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="word<TAB>tag lines in IOB2, a blank line between sentences")
    sentences = read_sentences(parser.parse_args().file)
    contexts, unbalanced = count_left_contexts(sentences), unbalanced_contexts(sentences)
    totals = sum((types for _, types in contexts.values()), Counter[str]())
    print(f"{len(sentences)} sentences; entities: {', '.join(f'{t} {n}' for t, n in sorted(totals.items()))}")
    if unbalanced:
        print(f"{len(unbalanced)} of {len(contexts)} left contexts of a name tell something about its type.")
    else:
        print(f"Each of {len(contexts)} left contexts of a name is followed equally often by each type.")
    print(f"Best entity-level micro F1 of any left-only tagger: {left_only_ceiling(sentences):.2f}")


if __name__ == "__main__":
    main()
