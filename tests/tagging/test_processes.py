"""Runs through the real launcher: what it was asked for, and what it started."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from decausal.tagging.arguments import parse_recipe
from decausal.tagging.processes import check_launch

LAUNCHER = {"compute_environment": "LOCAL_MACHINE", "num_machines": 1, "machine_rank": 0, "mixed_precision": "no"}


@pytest.fixture
def launch(recipe, tmp_path):
    """Launches the small recipe with a launcher file of the given fields."""

    def run(recipe_path: str | None = None, **fields: object) -> subprocess.CompletedProcess[str]:
        launcher = tmp_path / "launcher.yaml"
        launcher.write_text(yaml.safe_dump({**LAUNCHER, "main_process_port": 0, **fields}))
        command = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--config_file", str(launcher)]
        return subprocess.run(
            [*command, "-m", "decausal.tagging.train", recipe_path or recipe()],
            check=False,
            capture_output=True,
            text=True,
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
    assert "rank 0: error: the launcher was asked for FSDP" in outcome.stderr
    assert "2 processes on cpu" in outcome.stderr
    assert not Path(tmp_path / "run").exists()


def test_one_process_on_several_gpus_is_refused(recipe):
    _, _, training = parse_recipe([recipe()])
    training._n_gpu = 2
    with pytest.raises(ValueError, match="one process sees 2 GPUs, over which transformers would spread it"):
        check_launch(training)


def test_one_process_that_was_asked_for_is_said(launch):
    outcome = launch(distributed_type="NO", num_processes=1, use_cpu=True)
    assert outcome.returncode == 0
    assert "one process on cpu" in outcome.stdout


@pytest.mark.long
def test_two_processes_take_the_steps_of_one(launch, recipe, base_model, tmp_path):
    model = shutil.copytree(base_model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "classifier_dropout": 0.0}))
    logs = []
    for num_processes, distributed_type in ((1, "NO"), (2, "MULTI_GPU")):
        output = tmp_path / f"run{num_processes}"
        path = recipe(
            model_name_or_path=str(model),
            lora_dropout=0.0,
            per_device_train_batch_size=16 // num_processes,
            train_sampling_strategy="sequential",
            max_steps=3,
            logging_steps=1,
            output_dir=str(output),
        )
        outcome = launch(path, distributed_type=distributed_type, num_processes=num_processes)
        assert outcome.returncode == 0, outcome.stderr
        logs.append(json.loads((output / "results.json").read_text()))
    one, two = ([(step["loss"], step["grad_norm"]) for step in run["log"] if "loss" in step] for run in logs)
    assert np.array(two) == pytest.approx(np.array(one), rel=1e-3)
    assert logs[1]["processes"] == "2 processes on cpu, data parallel, float32"
    assert logs[1]["scores"] == logs[0]["scores"]
