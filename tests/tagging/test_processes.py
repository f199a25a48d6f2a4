"""Runs through the real launcher: what it was asked for, and what it started."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

LAUNCHER = {"compute_environment": "LOCAL_MACHINE", "num_machines": 1, "machine_rank": 0, "mixed_precision": "no"}


@pytest.fixture
def launch(recipe, tmp_path):
    """Launches the small recipe with a launcher file of the given fields."""

    def run(**fields: object) -> subprocess.CompletedProcess[str]:
        launcher = tmp_path / "launcher.yaml"
        launcher.write_text(yaml.safe_dump({**LAUNCHER, "main_process_port": 0, **fields}))
        command = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--config_file", str(launcher)]
        return subprocess.run(
            [*command, "-m", "decausal.tagging.train", recipe()], check=False, capture_output=True, text=True
        )

    return run


def test_several_processes_of_which_one_was_started_are_refused(launch, tmp_path):
    outcome = launch(distributed_type="MULTI_CPU", num_processes=2, use_cpu=True)
    assert outcome.returncode != 0
    assert "error: the launcher was asked for more than one process, and this one is alone" in outcome.stderr
    assert not Path(tmp_path / "run").exists()


def test_fsdp_without_an_accelerator_is_refused(launch, tmp_path):
    outcome = launch(
        distributed_type="FSDP",
        num_processes=2,
        use_cpu=True,
        fsdp_config={"fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP"},
    )
    assert outcome.returncode != 0
    assert "asked for FSDP" in outcome.stderr
    assert "2 processes (MULTI_CPU) on cpu" in outcome.stderr
    assert not Path(tmp_path / "run").exists()


def test_one_process_that_was_asked_for_is_said(launch):
    outcome = launch(distributed_type="NO", num_processes=1, use_cpu=True)
    assert outcome.returncode == 0
    assert "one process on cpu" in outcome.stdout
