"""Print the test scores of runs side by side, with the ceiling of every left-only tagger.

python scripts/compare_runs.py RUN_DIR RUN_DIR --ceiling_file TEST_FILE
"""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from left_only_ceiling import left_only_ceiling, read_sentences


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the test scores of runs side by side.")
    parser.add_argument("runs", nargs="+", type=Path, help="output directories of decausal.tagging.train")
    parser.add_argument("--ceiling_file", type=Path, help="the test file, for the best left-only score")
    arguments = parser.parse_args()
    table = Table("run", "pattern", "test F1", "precision", "recall", "train time")
    for run in arguments.runs:
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        scores = results["scores"]["test"]
        numbers = [f"{scores[key]:.2f}" for key in ("f1", "precision", "recall")]
        table.add_row(run.name, results["unmask"], *numbers, f"{results['train_seconds']:.0f} s")
    if arguments.ceiling_file is not None:
        ceiling = left_only_ceiling(read_sentences(arguments.ceiling_file))
        table.add_row("best possible without the right context", "", f"{ceiling:.2f}", "", "", "")
    Console().print(table)


if __name__ == "__main__":
    main()
