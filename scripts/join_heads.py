"""Put the heads of a treebank beside the entity tags that somebody else gave to the same sentences.

    python scripts/join_heads.py da_ddt-ud-dev.conllu da_ddt-ud-dev.iob2 joined.tsv
    decausal rdr joined.tsv --heads 1 --columns 0,2

TREEBANK is CoNLL-U, and TAGS in columns, such as a file of Universal NER. Sentences are found by their words; those
that are cut into words in another way are left out, and counted. The result has a word, its head and its tag a line.
"""

import argparse
from pathlib import Path

from decausal.tagging.data import read_sentences
from decausal.tagging.reading.heads import read_heads

_WORDS_AND_PARTS_OF_SPEECH, _HEADS = "1,3", 6


def main(arguments: list[str] | None = None) -> None:
    """Join as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("treebank", type=Path)
    parser.add_argument("tags", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args(arguments)
    heads = read_treebank(options.treebank)
    sentences, _ = read_sentences(options.tags)
    num_joined = 0
    with options.output.open("w", encoding="utf-8") as output:
        for words, tags in zip(sentences["tokens"], sentences["tags"], strict=True):
            if tuple(words) in heads:
                num_joined += 1
                rows = zip(words, heads[tuple(words)], tags, strict=True)
                output.writelines(f"{word}\t{head}\t{tag}\n" for word, head, tag in rows)
                output.write("\n")
    print(f"{num_joined:,} of {len(sentences):,} sentences have heads")


def read_treebank(path: Path) -> dict[tuple[str, ...], list[int]]:
    """For the words of each sentence the number of the head of each, from 1; 0 for a root."""
    sentences, _ = read_sentences(path, columns=_WORDS_AND_PARTS_OF_SPEECH, tag_scheme="bare-words")
    numbers = ([0 if head is None else head + 1 for head in found] for found in read_heads(path, _HEADS))
    return dict(zip(map(tuple, sentences["tokens"]), numbers, strict=True))


if __name__ == "__main__":
    main()
