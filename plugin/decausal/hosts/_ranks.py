"""Which processes of `decausal run` have unmasked a model: each leaves a file, and the command's end looks at them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def report(report_dir: str | None) -> None:
    """Leaves a file that is named by this process, `RANK-of-FIRST-END`; see `missing_ranks`.

    Args:
        report_dir: where; None where nobody asks.
    """
    if report_dir is None:
        return
    rank = int(os.environ.get("RANK", "0"))
    first, size = rank, 1  # where the launcher does not say how many there are on this machine
    local_size = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE")  # the latter by DeepSpeed's
    if "LOCAL_RANK" in os.environ and local_size:
        first, size = rank - int(os.environ["LOCAL_RANK"]), int(local_size)
    with suppress(FileNotFoundError):  # on another machine, where its own `decausal run` would have made it
        (Path(report_dir) / f"{rank}-of-{first}-{first + size}").touch()


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
