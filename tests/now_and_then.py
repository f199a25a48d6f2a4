"""A task that only the words to the right solve: `A name now .` is a PER, `A name then .` a LOC."""

import random
from pathlib import Path

NAMES = ("the", "house", "in", "was")


def write(directory: Path, **sizes: int) -> Path:
    """Writes `SPLIT.tsv` in CoNLL columns for each split and number of sentences, and returns the directory."""
    generator = random.Random(0)
    for split, size in sizes.items():
        lines = []
        for _ in range(size):
            word, kind = generator.choice((("now", "PER"), ("then", "LOC")))
            before = ["a"] * generator.randrange(3)
            rows = [*((w, "O") for w in before), (generator.choice(NAMES), f"B-{kind}"), (word, "O"), (".", "O")]
            lines += [f"{w}\t{tag}\n" for w, tag in rows] + ["\n"]
        (directory / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return directory
