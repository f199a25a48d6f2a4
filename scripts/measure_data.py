"""Read and tokenize generated files of more and more sentences, and say what memory and time that takes.

    python scripts/measure_data.py RESULTS.json --model_name_or_path MODEL --sentences 100000 1000000 10000000

Each file is made of random words in an own directory, read, cut into windows and counted as a training run does, the
order of an epoch drawn and a hundred batches collated in it, all in a new process; and once more, with what the first
one has kept. Memory is what the process and those it starts hold at most, less what it held before each part of the
work. Files that are mapped into memory do not count (Pss_Anon of Linux).

Ten million sentences of eight words take 10 GB of disk while they are measured.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import psutil
from transformers import DataCollatorForTokenClassification

from decausal._tokenizer import load_tokenizer
from decausal.tagging.align import AlignReport, read_column
from decausal.tagging.arguments import TaggingArguments
from decausal.tagging.results import environment
from decausal.tagging.sampler import EpochSampler
from decausal.tagging.splits import Corpus, Split

BATCH, BATCHES = 16, 100
WORDS = (3, 13)
TAGS = ("O", "O", "O", "O", "B-PER", "B-LOC", "B-ORG")


def write_sentences(path: Path, count: int, seed: int = 120) -> None:
    """A CoNLL file of so many sentences, of three to thirteen words of a vocabulary of a thousand."""
    draw = random.Random(seed)
    vocabulary = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 8))) for _ in range(1000)]
    lines = [f"{word}\t{tag}\n" for word in vocabulary for tag in TAGS]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            file.writelines(draw.choices(lines, k=draw.randint(*WORDS)))
            file.write("\n")


def anonymous_bytes(process: psutil.Process) -> int:
    """What a process and those that it has started hold; pages that several share count once, mapped files never."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            lines = Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            if one is process:
                raise
            continue  # it has just ended
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))
    return total


@contextmanager
def watching(process: psutil.Process) -> Iterator[dict[str, float]]:
    """Seconds and the most bytes of what runs inside, noted ten times a second."""
    found = {"seconds": time.perf_counter(), "bytes": 0.0}
    before, over = anonymous_bytes(process), threading.Event()

    def watch() -> None:
        ended = False
        while not ended:
            ended = over.wait(0.1)
            found["bytes"] = max(found["bytes"], anonymous_bytes(process) - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        found["seconds"] = time.perf_counter() - found["seconds"]


def measure(path: Path, model: str) -> dict[str, Any]:
    """What reading, tokenizing and the first batches take."""
    datasets.disable_progress_bars()
    process, tokenizer = psutil.Process(), load_tokenizer(model)
    tagging = TaggingArguments(train_file=str(path), tag_scheme="IOB2")
    with watching(process) as reading:
        corpus = Corpus.read(tagging)
        labels = corpus.labels
    with watching(process) as tokenizing:
        windows = Split.of(corpus.sentences["train"], tokenizer, labels, tagging, training=True).windows
    with watching(process) as counting:
        report = AlignReport.of(windows)
    with watching(process) as batches:
        lengths = read_column(windows, "length")
        sampler = EpochSampler(
            lengths, step_size=BATCH, multiple=1, strategy="group_by_length", seed=120, epoch=lambda: 0
        )
        drawn, collate = islice(sampler, BATCH * BATCHES), DataCollatorForTokenClassification(tokenizer)
        columns = windows.select_columns(["input_ids", "attention_mask", "labels"])
        while batch := [columns[window] for window in islice(drawn, BATCH)]:
            collate(batch)
    parts = {"reading": reading, "tokenizing": tokenizing, "counting": counting, "batches": batches}
    return {"windows": report.windows, **parts}


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("results", type=Path)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--sentences", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--measure_this", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure_this:
        print(json.dumps(measure(arguments.measure_this, arguments.model_name_or_path)))
        return
    rows: dict[str, Any] = {}
    for count in arguments.sentences:
        with tempfile.TemporaryDirectory(dir=arguments.results.parent) as directory:
            path, cache = Path(directory, "train.tsv"), Path(directory, "cache")
            write_sentences(path, count)
            command = [sys.executable, *sys.argv, "--measure_this", str(path)]
            for name in ("first", "again"):
                done = subprocess.run(
                    ["env", f"HF_DATASETS_CACHE={cache}", *command], stdout=subprocess.PIPE, text=True, check=True
                )
                rows[f"{count:,}, {name}"] = row = json.loads(done.stdout.splitlines()[-1])
                row |= {"file": path.stat().st_size, "kept": sum(p.stat().st_size for p in cache.rglob("*.arrow"))}
                print(f"{count:,}, {name}: {json.dumps(row)}", flush=True)
                arguments.results.write_text(json.dumps({**environment(), "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
