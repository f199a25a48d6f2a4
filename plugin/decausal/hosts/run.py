"""`decausal run`: a command of any toolkit, in whose processes the models that transformers loads are unmasked."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from decausal._masks import Scope
from decausal._pattern import LayerPattern
from decausal.hosts._join import BANNER, Host
from decausal.hosts._seams import VARIABLE, Wanted

HOST: Final = Host("transformers", "transformers", tested="5.23.0", oldest="5.6", newest="5.24")
_SITE: Final = Path(__file__).parent / "site"


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
        status = subprocess.run(list(command), env=environment, check=False).returncode
        missing = missing_ranks([path.name for path in Path(report_dir).iterdir()])
    if status or not missing:
        return status if status >= 0 else 128 - status
    print(f"{BANNER}error: {missing}", file=sys.stderr, flush=True)
    return 1


def missing_ranks(reports: Sequence[str]) -> str | None:
    """What is wrong with a run by what its processes have reported; None if nothing is.

    Args:
        reports: `"RANK-of-WORLD_SIZE"` of each process that has unmasked a model.
    """
    if not reports:
        return (
            "the command ended, and nothing was unmasked in any of its processes: none loaded a decoder-only model by "
            "the from_pretrained of transformers, or, without --unmask, none loaded a checkpoint that records a "
            "pattern. What it has trained is causal."
        )
    ranks = {int(report.split("-of-")[0]) for report in reports}
    size = max(int(report.split("-of-")[1]) for report in reports)
    missing = sorted(set(range(size)) - ranks)
    if missing:
        return (
            f"of {size} processes those of rank {', '.join(map(str, missing))} unmasked nothing: their part is causal."
        )
    return None
