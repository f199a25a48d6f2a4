"""Every run of the paper (Dukić & Šnajder, ACL Findings 2024, arXiv 2401.14556) at a scale, and its tables.

    python scripts/reproduce_paper.py --scale 7b --data DATA --output_dir OUTPUT [--launch FILE] [--field value ...]

Scales are recipes/paper/SCALE.yaml, which say what DATA holds. What is finished is not run again and what was stopped
goes on; several processes, also on several machines with one file system, share the runs of one output directory.
`--field value` is a field of transformers' TrainingArguments, for every run, such as `--use_cpu true`.
"""

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console

from decausal.cli.app import quiet
from decausal.sweep.run import RunFailedError
from decausal.sweep.space import parse_seeds
from paper.runs import Reproduction
from paper.scale import Scale
from paper.tables import print_tables

_FILE_WIDTH = 200
_SCALES = Path(__file__).resolve().parents[1] / "recipes" / "paper"


def main(arguments: list[str] | None = None) -> int:
    """Run and tabulate as the command line says.

    Returns:
        The exit status: 0; 1 after an error or where a run failed; 130 when interrupted.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--scale", required=True, help=f"{', '.join(path.stem for path in sorted(_SCALES.glob('*.yaml')))}, or a YAML"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="where the data sets are; by default data")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--launch", type=Path, help="a file of accelerate config, such as recipes/launch/ddp.yaml")
    parser.add_argument("--tasks", help="only these, with commas between them")
    parser.add_argument("--runs", help="only these, with commas between them")
    parser.add_argument("--seeds", help="other seeds, with commas between them")
    parser.add_argument("--parser", help="a spaCy pipeline: right-dependency ratios and how gains go with them")
    parser.add_argument("--only_tables", action="store_true", help="run nothing; tables of what is finished")
    chosen, fields = parser.parse_known_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)
    quiet()
    try:
        path = _SCALES / f"{chosen.scale}.yaml"
        scale = Scale.read(path if path.is_file() else Path(chosen.scale))
        if chosen.seeds is not None:
            parse_seeds(chosen.seeds)
        names = _choose(chosen.runs, [*scale.taggers, *scale.instructed], "--runs")
        reproduction = Reproduction(
            scale, chosen.data, chosen.output_dir, _choose(chosen.tasks, [*scale.tasks], "--tasks"), chosen.seeds,
            chosen.launch, tuple(fields), console,
        )  # fmt: skip
        failures = [] if chosen.only_tables else reproduction.run(names)
        print_tables(reproduction, chosen.parser, console)
    except (ValueError, OSError, ImportError, RunFailedError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


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
