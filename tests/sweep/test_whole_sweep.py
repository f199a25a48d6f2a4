"""`decausal sweep` from its command line to its exit status."""

import os
import signal
import subprocess
import sys

import optuna
import pytest
from rich.console import Console

from decausal.sweep.storage import open_study
from decausal.sweep.sweep import run_sweep
from decausal.sweep.trials import kind_of, trials_of
from waiting import wait_for


@pytest.fixture
def console(tmp_path):
    with (tmp_path / "screen").open("w") as file:
        yield Console(file=file, width=200)


def test_a_sweep_shows_what_it_has_run_and_what_failed(recipe, tmp_path, console):
    path, output = recipe(), tmp_path / "ner"
    settings = {"patterns": "11", "axes": ["lora_target_modules=all-linear,score"], "console": console}
    assert not run_sweep([path, "--output_dir", str(output)], **settings)
    console.file.flush()
    shown = (tmp_path / "screen").read_text()
    assert "unmask=11,seed=42,lora_target_modules=all-linear: validation F1 " in shown
    assert "unmask=11,seed=42,lora_target_modules=score: failed, exit status 1: error: lora_target_modules=" in shown
    assert f"everything it printed: {output}/logs/unmask=11,seed=42,lora_target_modules=score.log" in shown
    assert [line.split()[:3] for line in shown.splitlines() if line.startswith(" unmask")] == [
        ["unmask=11,lora_target_modules=all-linear", "0-3", "1"]
    ]
    assert sorted(path.name for path in output.iterdir()) == [
        "logs", "study.db", "study.lock", "sweep.json", "trials",
    ]  # fmt: skip
    moved = output.rename(tmp_path / "moved")
    assert not run_sweep([path, "--output_dir", str(moved)], **settings)
    assert optuna.get_all_study_names(f"sqlite:///{moved / 'study.db'}") == ["ner"]


@pytest.mark.long  # in the gate test_search.py stops a run in the same way
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sweep_that_is_stopped_saves_its_run_and_the_same_command_goes_on(recipe, tmp_path, number):
    output = tmp_path / "ner"
    command = [
        sys.executable, "-m", "decausal", "sweep", recipe(num_train_epochs=30), "--patterns", "11",
        "--output_dir", str(output),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(output.glob("trials/*/checkpoint-*/trainer_state.json")))
    worker.send_signal(number)
    shown, errors = worker.communicate(timeout=60)
    assert "stopping; the run saves a checkpoint first" in shown
    assert "stopped; the same command goes on" in errors
    assert worker.returncode == 130
    study = open_study(f"sqlite:///{output / 'study.db'}", "ner", create=False)
    assert [kind_of(trial) for trial in trials_of(study)] == ["interrupted"]
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert "unmask=11,seed=42: validation F1" in again.stdout
    assert "going on from" in (output / "logs" / "unmask=11,seed=42.log").read_text()


def test_trials_are_for_the_sampler_that_draws():
    with pytest.raises(ValueError, match="sampler=grid, trials=3: trials says how many runs tpe chooses"):
        run_sweep(["recipe.yaml"], patterns="groups:4", num_trials=3)
    with pytest.raises(ValueError, match="sampler=tpe, trials=None"):
        run_sweep(["recipe.yaml"], patterns="groups:4", sampler="tpe")
