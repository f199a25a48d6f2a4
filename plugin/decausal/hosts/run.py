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
from decausal.hosts._join import BANNER, Host, warn_untested
from decausal.hosts._ranks import missing_ranks, report
from decausal.hosts._seams import RUN_VARIABLE
from decausal.hosts._wanted import Wanted

HOST: Final = Host("transformers", "transformers", tested="5.23.0", oldest="5.6", below="5.24")
_TRL: Final = Host("TRL", "trl", tested="1.16.0", oldest="1.16", below="1.17")
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
    warn_untested(_TRL)
    with tempfile.TemporaryDirectory(prefix="decausal-") as report_dir:
        wanted = Wanted(unmask, scope, HOST, report_dir)
        paths = [str(_SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, RUN_VARIABLE: wanted.to_json(), "PYTHONPATH": os.pathsep.join(paths)}
        with subprocess.Popen(list(command), env=environment) as process, _passing_signals_to(process):
            status = process.wait()
        missing = missing_ranks([path.name for path in Path(report_dir).iterdir()])
    if not missing and RUN_VARIABLE in os.environ:  # we are ourselves the command of another `decausal run`
        report(Wanted.from_json(os.environ[RUN_VARIABLE]).report_dir)
    if status or not missing:
        return status if status >= 0 else 128 - status
    print(f"{BANNER}error: {missing}", file=sys.stderr, flush=True)
    return 1


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
