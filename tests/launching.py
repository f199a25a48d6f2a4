"""Command lines of `accelerate launch` for the published launcher files, on the CPU; how far two runs are apart."""

import json
import os
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

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


def deviation(found: Path, expected: Path) -> float:
    """How far ten steps of two runs are apart: the larger of `step_deviation` and `weight_deviation`."""
    return max(step_deviation(found, expected), weight_deviation(found, expected))


def step_deviation(found: Path, expected: Path) -> float:
    """The largest relative difference of losses and gradient norms."""
    steps = [
        np.array([(entry["loss"], entry["grad_norm"]) for entry in json.loads(text)["log"] if "loss" in entry])
        for text in ((run / "results.json").read_text(encoding="utf-8") for run in (found, expected))
    ]
    assert steps[0].shape == steps[1].shape == (10, 2)
    return float(np.abs(steps[0] / steps[1] - 1).max())


def weight_deviation(found: Path, expected: Path) -> float:
    """The largest difference of saved weights, relative to the largest weight of their matrix."""
    weights = [load_file(run / "adapter_model.safetensors") for run in (found, expected)]
    assert weights[0].keys() == weights[1].keys()
    return max(
        float(np.abs(weights[0][key] - weight).max() / np.abs(weight).max()) for key, weight in weights[1].items()
    )
