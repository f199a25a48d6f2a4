"""How long a program waits for decausal to start: its import, its parts, its command line, five processes each.

python scripts/measure_start.py RESULTS.json
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from decausal.tagging.comparison import summarise
from decausal.tagging.results import environment

PROCESSES = 5
IMPORTS = {
    "import decausal, after torch and transformers": ("import torch, transformers", "import decausal"),
    "all of its parts, after transformers' models": (
        "import decausal; from transformers import PreTrainedModel",
        "[getattr(decausal, name) for name in decausal.__all__]",
    ),
}


def time_statement(before: str, statement: str) -> float:
    """Seconds of a statement in a new Python, after others."""
    code = f"import time; {before}; begin = time.perf_counter(); {statement}; print(time.perf_counter() - begin)"
    return float(subprocess.check_output([sys.executable, "-W", "ignore", "-c", code], text=True).split()[-1])


def time_command(*command: str) -> float:
    """Seconds of a whole process.

    Raises:
        CalledProcessError: it failed.
    """
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Measure into the file that the command line names."""
    [path] = sys.argv[1:]
    app = Path(sys.executable).with_name("decausal")
    found = {what: summarise([time_statement(*code) for _ in range(PROCESSES)]) for what, code in IMPORTS.items()}
    found["decausal --help"] = summarise([time_command(str(app), "--help") for _ in range(PROCESSES)])
    results = {"figure": "seconds", **environment(), "results": found}
    Path(path).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
