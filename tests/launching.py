"""Command lines of `accelerate launch` for the published launcher files, on the CPU."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = {"one process": "cpu", "DDP": "ddp_cpu", "ZeRO-2": "zero2_cpu", "ZeRO-3": "zero3_cpu", "FSDP2": "fsdp2"}


def command(strategy: str, *program: str, num_processes: int | None = None) -> list[str]:
    """The published command line, through this interpreter."""
    processes = num_processes or (1 if strategy == "one process" else 2)
    return [
        *(sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch"),
        *("--config_file", f"recipes/launch/{FILES[strategy]}.yaml"),
        *("--num_processes", str(processes), "--main_process_port", "0", *program),
    ]


def environment() -> dict[str, str]:
    """What the CPU files ask for, and one thread a process."""
    return {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
