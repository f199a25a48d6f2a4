"""Command lines of `accelerate launch` for the published launcher files, on the CPU."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = {"one process": "cpu", "DDP": "ddp_cpu", "ZeRO-2": "zero2_cpu", "ZeRO-3": "zero3_cpu", "FSDP2": "fsdp2"}


def command(strategy: str, *program: str, num_processes: int | None = None) -> list[str]:
    """The published command line of a strategy."""
    processes = num_processes or (1 if strategy == "one process" else 2)
    return launcher(f"recipes/launch/{FILES[strategy]}.yaml", processes, 0, *program)


def launcher(file: str, num_processes: int, port: int, *arguments: str) -> list[str]:
    """`accelerate launch` through this interpreter."""
    return [
        *(sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--config_file", file),
        *("--num_processes", str(num_processes), "--main_process_port", str(port), *arguments),
    ]


def environment() -> dict[str, str]:
    """What the CPU files ask for, and one thread a process."""
    return {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
