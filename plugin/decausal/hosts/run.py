"""`decausal run`: a command of any toolkit, in whose processes the models that transformers loads are unmasked."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from decausal._masks import Scope
from decausal._pattern import LayerPattern
from decausal.hosts._join import BANNER, Host
from decausal.hosts._seams import VARIABLE, Wanted

HOST: Final = Host("transformers", "transformers", tested="5.23.0", oldest="5.6", newest="5.24")
_SITE: Final = Path(__file__).parent / "site"
_PASSED_ON: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What a scheduler sends to the process that it started. A terminal sends Ctrl-C to all of them by itself."""


def run(command: Sequence[str], unmask: str | None, scope: Scope | None) -> int:
    """Runs a command and waits for its end.

    Args:
        command: the program and its arguments, such as `["trl", "sft", "--config", "x.yaml"]`.
        unmask: which layers; see `LayerPattern`. None leaves it to what a loaded checkpoint records.
        scope: `"all"` or `"prompt"`; None takes the one that fits the model.

    Returns:
        The exit status: the command's own; 1 where it ended well and one of its processes had unmasked nothing.

    Raises:
        ValueError: `unmask` is no pattern.
        FileNotFoundError: there is no such program.
    """
    if unmask is not None:
        LayerPattern.parse(unmask)
    with tempfile.TemporaryDirectory(prefix="decausal-") as report_dir:
        wanted = Wanted(unmask, scope, HOST, report_dir)
        paths = [str(_SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, VARIABLE: wanted.to_json(), "PYTHONPATH": os.pathsep.join(paths)}
        with subprocess.Popen(list(command), env=environment) as process, _passing_signals_to(process):
            status = process.wait()
        missing = missing_ranks([path.name for path in Path(report_dir).iterdir()])
    if status or not missing:
        return status if status >= 0 else 128 - status
    print(f"{BANNER}error: {missing}", file=sys.stderr, flush=True)
    return 1


def missing_ranks(reports: Sequence[str]) -> str | None:
    """What is wrong with a run by what its processes have reported; None if nothing is.

    Args:
        reports: `"RANK-of-FIRST-END"` of each process that has unmasked a model: its rank, and the range of ranks on
            this machine.
    """
    if not reports:
        return (
            "the command ended, and nothing was unmasked in any of its processes: none loaded a decoder-only model by "
            "the from_pretrained of transformers, or, without --unmask, none loaded a checkpoint that records a "
            "pattern. What it has trained is causal."
        )
    ranks, machines = zip(*(report.split("-of-") for report in reports), strict=True)
    here = {rank for machine in set(machines) for rank in range(*map(int, machine.split("-")))}
    missing = sorted(here - set(map(int, ranks)))
    if missing:
        return (
            f"of {len(here)} processes those of rank {', '.join(map(str, missing))} unmasked nothing: their part is "
            f"causal."
        )
    return None


@contextmanager
def _passing_signals_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Lets the command decide what a signal means, such as to save a checkpoint first, and outlives it."""
    handlers = {signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None)}
    for number in _PASSED_ON:
        handlers[number] = signal.signal(number, lambda received, _: process.send_signal(received))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
