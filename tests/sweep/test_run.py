"""Real runs of a small model, each a launch of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from decausal.sweep.outcome import Outcome
from decausal.sweep.run import RunFailedError, Runner, launch
from decausal.sweep.run import holding as holding_lock
from decausal.tagging.outputs import holding
from waiting import wait_for

SETTING = {"unmask": "0011", "seed": 7}
WORKER = """
import sys
from pathlib import Path
from decausal.sweep.run import Runner
Runner(Path(sys.argv[1]), (), None, Path(sys.argv[2])).run({"unmask": "0011", "seed": 7})
"""

LAUNCHER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]])"
TRAINING = """
import signal, sys, time
from pathlib import Path
def save(*_):
    time.sleep(2)
    Path(sys.argv[1], "saved").touch()
    sys.exit()
signal.signal(signal.SIGTERM, save)
Path(sys.argv[1], "begun").touch()
time.sleep(60)
"""


@pytest.fixture
def runner(recipe, tmp_path) -> Runner:
    return Runner(Path(recipe(num_train_epochs=2)), (), None, tmp_path / "sweep")


def test_a_run_is_known_by_its_scores_counts_and_curve(runner):
    seen = []
    found = runner.run(SETTING, seen.append)
    results = json.loads((runner.output_of(SETTING) / "results.json").read_text())
    assert (found.setting, found.layers, found.num_layers) == (SETTING, (2, 3), 4)
    assert found.scores == results["scores"]
    right, told, gold = map(sum, zip(*found.counts["test"], strict=True))
    assert 200 * right / (told + gold) == pytest.approx(found.scores["test"]["f1"])
    assert [point["epoch"] for point in found.curve] == [1.0, 2.0]
    assert results["seed"] == 7
    assert not list(runner.output_of(SETTING).glob("checkpoint-*"))
    assert Outcome.of(json.loads(json.dumps(found.to_dict()))) == found
    # A finished run is read, not run: nothing could run now.
    assert Runner(Path("no such recipe"), (), None, runner.directory).run(SETTING) == found


def test_a_run_that_fails_says_why_and_leaves_its_log(runner):
    failing = Runner(runner.recipe, ("--lora_target_modules", "score"), None, runner.directory)
    with pytest.raises(RunFailedError, match=r"exit status 1: error: lora_target_modules=.* names the head"):
        failing.run(SETTING)
    assert "names the head" in failing.log_of(SETTING).read_text()


def test_an_interrupted_run_saves_and_goes_on(recipe, tmp_path):
    runner = Runner(Path(recipe(num_train_epochs=30)), (), None, tmp_path / "sweep")

    def interrupt(evaluations):
        if evaluations:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(SETTING, interrupt)
    assert list(runner.output_of(SETTING).glob("checkpoint-*"))
    assert not (runner.output_of(SETTING) / "results.json").exists()
    shorter = Runner(runner.recipe, ("--num_train_epochs", "31"), None, runner.directory)
    assert shorter.run(SETTING).curve[-1]["epoch"] == 31.0
    assert "going on from" in runner.log_of(SETTING).read_text()


def test_where_only_the_worker_is_killed_its_run_is_waited_for_and_not_run_twice(runner):
    arguments = [sys.executable, "-c", WORKER, str(runner.recipe), str(runner.directory)]
    worker = subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    wait_for(lambda: runner.log_of(SETTING).exists() and "audit" in runner.log_of(SETTING).read_text())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    waits = []
    found = runner.run(SETTING, waits.append)
    assert waits[0] == []
    assert len(found.curve) == 2
    assert runner.log_of(SETTING).read_text().count("parameters trained") == 1


def test_a_training_that_its_launcher_has_left_is_waited_for(runner):
    waits = []
    holder = holding(runner.output_of(SETTING))
    holder.__enter__()

    def watch(evaluations):
        waits.append(evaluations)
        if len(waits) == 2:
            holder.__exit__(None, None, None)
        if runner.log_of(SETTING).exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(SETTING, watch)
    assert waits[:2] == [[], []]
    assert len(waits) > 2


def test_what_a_launcher_has_started_is_asked_to_stop_and_waited_for(tmp_path):
    def interrupt():
        if (tmp_path / "begun").is_file():
            raise KeyboardInterrupt

    command = [sys.executable, "-c", LAUNCHER, TRAINING, str(tmp_path)]
    with holding_lock(tmp_path / "lock") as lock, pytest.raises(KeyboardInterrupt):
        launch(command, tmp_path / "log", lock, tmp_path / "made", interrupt, to_all=True)
    assert (tmp_path / "saved").is_file()
