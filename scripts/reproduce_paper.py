"""Every run of the paper (Dukić & Šnajder, ACL Findings 2024, arXiv 2401.14556) at a scale, and its tables.

    python scripts/reproduce_paper.py --scale 7b --data DATA --output_dir OUTPUT [--launch FILE] [--field value ...]

Scales are recipes/paper/SCALE.yaml, which say what DATA holds; run it in the root of the repository. What is finished
is not run again, and several processes on one machine share the runs of an output directory. `--field value` is a field
of transformers' TrainingArguments, such as `--use_cpu true`, for every run of which the scale says nothing else.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from rich.console import Console

from decausal.cli.app import quiet
from decausal.sweep.space import parse_seeds
from decausal.tagging.dependencies import load_parser
from paper.runs import Reproduction
from paper.scale import Scale
from paper.tables import print_tables

_FILE_WIDTH = 200
_SCALES = {path.stem: path for path in (Path(__file__).resolve().parents[1] / "recipes" / "paper").glob("*.yaml")}


def main(arguments: list[str] | None = None) -> int:
    """Run and tabulate as the command line says.

    Returns:
        The exit status: 0; 1 after an error or where a run failed; 130 when interrupted.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--scale", required=True, help=f"{', '.join(sorted(_SCALES))}, or a YAML of that kind")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where the data sets are; by default data")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--launch", type=Path, help="a file of accelerate config, such as recipes/launch/ddp.yaml")
    parser.add_argument("--tasks", help="only these, with commas between them")
    parser.add_argument("--runs", help="only these, with commas between them")
    parser.add_argument("--seeds", help="other seeds, with commas between them")
    parser.add_argument("--parser", help="a spaCy pipeline: right-dependency ratios and how gains go with them")
    parser.add_argument("--retry_failed", action="store_true", help="run those again that failed before")
    parser.add_argument("--only_tables", action="store_true", help="run nothing; tables of what is finished")
    chosen, fields = parser.parse_known_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)
    quiet()
    try:
        scale = Scale.read(_find(chosen.scale))
        if chosen.seeds is not None:
            parse_seeds(chosen.seeds)
        names = _choose(chosen.runs, [*scale.runs], "--runs")
        tasks = _choose(chosen.tasks, [*scale.tasks], "--tasks")
        output = Path(os.path.relpath(chosen.output_dir))  # one name, however it is written
        reproduction = Reproduction(
            scale, chosen.data, output, tasks, chosen.seeds, chosen.launch, tuple(fields), console
        )
        pipeline = load_parser(chosen.parser) if chosen.parser else None
        failures = []
        if not chosen.only_tables:
            reproduction.check(names)
            failures = reproduction.run(names, retry_failed=chosen.retry_failed)
        print_tables(reproduction, pipeline, console)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _find(scale: str) -> Path:
    """The file of a scale.

    Raises:
        ValueError: there is none.
    """
    path = _SCALES.get(scale, Path(scale))
    if not path.is_file():
        raise ValueError(f"--scale {scale}: there are {', '.join(sorted(_SCALES))}, and no such file.")
    return path


def _choose(text: str | None, names: list[str], flag: str) -> tuple[str, ...]:
    """The names that a text lists, with commas between them; by default all.

    Raises:
        ValueError: one is none of them.
    """
    wanted = tuple(text.split(",")) if text else tuple(names)
    for name in wanted:
        if name not in names:
            raise ValueError(f"{flag} {name}: there are {', '.join(names)}.")
    return wanted


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what it has started must not outlive it
    sys.exit(main())
