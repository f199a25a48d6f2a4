"""`decausal search`: what it runs, what it chooses, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from decausal.cli import app
from decausal.sweep import shared_run
from decausal.sweep.outcome import Outcome, Setting
from decausal.sweep.prepare import Plan
from decausal.sweep.run import RunFailedError, Runner
from decausal.sweep.search import run_search
from decausal.sweep.shared_run import share_adapter
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.patterns import parse_patterns
from sweep_parts import outcome
from waiting import wait_for

PATTERNS = ("00", "01", "10", "11")


@pytest.fixture
def console(tmp_path):
    with (tmp_path / "screen").open("w") as file:
        yield Console(file=file, width=200)


def flags(overrides: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(overrides[::2], overrides[1::2], strict=True))


@dataclass
class Launches:
    """Stands in for the launches of a `Runner`: F1 of the shared adapter and of single runs say what comes."""

    shared: dict[str, float]
    f1: dict[str, float]
    loss: dict[str, float] = field(default_factory=dict)
    begun: list[tuple[Setting, tuple[str, ...]]] = field(default_factory=list)

    def __call__(self, runner: Runner, setting: Setting, *_: object) -> Outcome:
        self.begun.append((setting, runner.overrides))
        directory = runner.output_of(setting)
        if "unmask" in setting:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "results.json").touch()
            return outcome(setting, self.f1[setting["unmask"]])
        shared = outcome({"unmask": "1111", **setting})
        if directory.exists():  # what is finished is read
            return shared
        directory.mkdir(parents=True)
        patterns = parse_patterns(flags(runner.overrides)["--shared_patterns"], num_layers=4)
        scores = {pattern: {"f1": self.shared[pattern], "loss": self.loss.get(pattern, 1.0)} for pattern in patterns}
        (directory / "results.json").write_text(json.dumps({"patterns": scores}))
        return shared

    @property
    def alone(self) -> list[str]:
        return [setting["unmask"] for setting, _ in self.begun if "unmask" in setting]


@pytest.fixture
def launches(monkeypatch) -> Launches:
    found = Launches(dict(zip(PATTERNS, (20.0, 50.0, 30.0, 40.0), strict=True)), {"01": 60.0, "11": 70.0, "10": 80.0})
    monkeypatch.setattr(Runner, "run", lambda runner, setting, *rest: found(runner, setting, *rest))
    return found


def test_the_best_of_the_shared_adapter_is_trained_on_its_own(recipe, launches, console):
    found = run_search([recipe()], patterns="groups:2", console=console)
    assert launches.alone == ["01"]
    assert [one.pattern for one in found] == ["01", "11", "10", "00"]
    assert (found[0].pattern, found[0].layers) == ("01", (2, 3))


def test_of_several_finalists_the_best_on_validation_data_wins(recipe, launches, console, tmp_path):
    found = run_search([recipe()], patterns="groups:2", budget=3, console=console)
    assert launches.alone == ["01", "11"]
    assert [one.pattern for one in found] == ["11", "01", "10", "00"]
    saved = json.loads((tmp_path / "run" / "search.json").read_text())
    assert saved["best"] == "11"
    assert saved["candidates"][0]["alone"]["validation"]["f1"] == 70.0


def test_what_runs_is_told_and_the_patterns_are_shown_with_what_each_has_come_to(recipe, launches, console, tmp_path):
    run_search([recipe()], patterns="groups:2", console=console)
    console.file.flush()
    shared, alone, head, *rows = (line.split() for line in (tmp_path / "screen").read_text().splitlines())
    assert shared[:6] == ["one", "adapter", "for", "4", "patterns;", "log:"]
    assert alone[:5] == ["01", "on", "its", "own;", "log:"]
    assert head == ["pattern", "unmasked", "layers", "shared", "F1", "validation", "F1", "test", "F1"]
    assert rows[0] == ["01", "2-3", "50.00", "60.00", "60.00"]
    assert rows[1] == ["11", "0-3", "40.00"]
    assert rows[-1][:3] == ["best:", '"01"', "(layers"]


def test_what_was_run_before_stays_a_finalist(recipe, launches, console):
    run_search([recipe()], patterns="groups:2", budget=3, console=console)
    found = run_search([recipe()], patterns="groups:2", console=console)
    assert [one.pattern for one in found if one.alone] == ["11", "01"]


def test_a_budget_larger_than_the_patterns_trains_each_once(recipe, launches, console):
    run_search([recipe()], patterns="01 10 11", budget=9, console=console)
    assert launches.alone == ["01", "11", "10"]


@pytest.mark.parametrize(
    ("fields", "sentences"),
    [({"num_train_epochs": 40}, "33"), ({"num_train_epochs": 1}, "33"), ({"max_eval_samples": 20}, "20")],
)
def test_the_shared_run_is_the_recipe_without_evaluations_on_the_way(recipe, launches, console, fields, sentences):
    launches.shared["1-1"] = 10.0
    run_search([recipe(**fields)], patterns="01 1-1", console=console)
    assert flags(launches.begun[0][1]) == {
        "--unmask": "1-1,2-2,3-3",
        "--shared_patterns": "01 1-1",
        "--per_device_train_batch_size": "4",
        "--gradient_accumulation_steps": "1",
        "--learning_rate": "0.005",
        "--eval_strategy": "no",
        "--load_best_model_at_end": "false",
        "--max_eval_samples": sentences,
        "--max_test_samples": "1",
    }


def test_scores_of_many_patterns_take_as_many_sentences_as_the_evaluations_of_a_run(
    recipe, launches, console, monkeypatch
):
    monkeypatch.setattr(shared_run, "_FEWEST_SENTENCES", 10)
    run_search([recipe(num_train_epochs=2)], patterns="groups:2", console=console)
    found = flags(launches.begun[0][1])["--max_eval_samples"]
    assert found == "19"  # a fifth of three evaluations of 33: for four patterns, and in the end


@pytest.mark.parametrize(("available", "scored"), [(3000, 1800), (600, 500), (304, 304)])
def test_five_hundred_sentences_are_scored_if_there_are_as_many(recipe, available, scored):
    plan = Plan.of([recipe(num_train_epochs=2)], "groups:2")
    plan = replace(plan, num_sentences={**plan.num_sentences, "validation": available})
    assert flags(share_adapter(plan, "groups:2").overrides)["--max_eval_samples"] == str(scored)


@pytest.mark.parametrize(
    ("batch", "accumulation", "smaller", "learning_rate"),
    [(8, 8, ("8", "2"), 0.005), (8, 2, ("4", "1"), 0.005), (2, 3, ("1", "3"), 0.01 / 2**0.5), (1, 1, ("1", "1"), 0.01)],
)
def test_the_shared_run_takes_smaller_batches(recipe, launches, console, batch, accumulation, smaller, learning_rate):
    path = recipe(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation)
    run_search([path], patterns="groups:2", console=console)
    found = flags(launches.begun[0][1])
    assert (found["--per_device_train_batch_size"], found["--gradient_accumulation_steps"]) == smaller
    assert float(found["--learning_rate"]) == pytest.approx(learning_rate)


def test_the_shared_run_trains_on_as_many_sentences_where_the_recipe_counts_steps(recipe, launches, console):
    run_search([recipe(max_steps=6)], patterns="groups:2", console=console)
    assert flags(launches.begun[0][1])["--max_steps"] == "24"


@pytest.mark.parametrize(("given", "wanted"), [(3, 6), (0.25, 0.25), (0, 0)])
def test_steps_of_warmup_become_as_many_sentences_and_a_share_stays_one(recipe, given, wanted):
    path = recipe(per_device_train_batch_size=2, warmup_steps=given)
    _, _, training = parse_recipe([path, *share_adapter(Plan.of([path], "groups:2"), "groups:2", 2).overrides])
    assert training.warmup_steps == wanted


def test_of_patterns_with_the_same_f1_that_with_the_smaller_loss_is_tried(recipe, launches, console):
    launches.shared = dict.fromkeys(PATTERNS, 0.0)
    launches.loss = {"00": 0.4, "01": 0.3, "10": 0.1, "11": 0.2}
    run_search([recipe()], patterns="groups:2", console=console)
    assert launches.alone == ["10"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": 1}, "budget=1: one run ranks the patterns"),
        ({"patterns": "0011 2-3"}, "are one pattern, of 4 layers"),
        ({"patterns": "groups:7"}, "the model has 4 decoder layers"),
        ({"shared_patterns": "groups:2"}, "shared_patterns='groups:2': a run here has one pattern"),
    ],
)
def test_what_is_no_search_is_refused_before_the_first_run(recipe, launches, console, given, message):
    fields = {name: given.pop(name) for name in ("shared_patterns",) if name in given}
    with pytest.raises(ValueError, match=message):
        run_search([recipe(**fields)], **{"patterns": "groups:2", "console": console} | given)
    assert not launches.begun


def test_a_directory_with_other_runs_is_refused(recipe, launches, console):
    run_search([recipe()], patterns="groups:2", console=console)
    with pytest.raises(ValueError, match=r"its runs have learning_rate=0.01, and these would have 0.02"):
        run_search([recipe(learning_rate=2e-2)], patterns="groups:2", console=console)


def test_a_shared_run_of_other_patterns_is_not_taken_for_this_one(recipe, launches, console):
    run_search([recipe()], patterns="groups:2", console=console)
    with pytest.raises(ValueError, match="holds a run of other patterns, 00 01 10 11"):
        run_search([recipe()], patterns="01 11", console=console)


def test_a_run_that_fails_ends_the_search_with_what_it_said(recipe, monkeypatch):
    def refuse(*_: object) -> Outcome:
        raise RunFailedError("exit status 1: error: no memory")

    monkeypatch.setattr(Runner, "run", refuse)
    result = CliRunner().invoke(app, ["search", recipe(), "--patterns", "groups:2"])
    assert result.exit_code == 1
    assert "error: exit status 1: error: no memory" in result.stderr


def command(recipe: str, output: Path) -> list[str]:
    return [sys.executable, "-m", "decausal", "search", recipe, "--patterns", "01 11", "--output_dir", str(output)]


def test_a_search_that_is_stopped_goes_on_with_the_same_command(recipe, tmp_path):
    output, path = tmp_path / "ner", recipe(num_train_epochs=15)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    worker = subprocess.Popen(command(path, output), env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(output.glob("shared/trials/*/checkpoint-*/trainer_state.json")))
    worker.send_signal(signal.SIGTERM)
    assert "stopped; the same command goes on" in worker.communicate(timeout=60)[1]
    assert worker.returncode == 130
    again = subprocess.run(
        command(path, output), env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert "going on from" in (output / "shared" / "logs" / "seed=42.log").read_text()
    saved = json.loads((output / "search.json").read_text())
    best = output / "trials" / f"unmask={saved['best']},seed=42"  # where a sweep would find it
    assert saved["candidates"][0]["output"] == str(best)
    assert f'best: "{saved["best"]}"' in again.stdout
    assert json.loads((best / "results.json").read_text())["unmask"] == saved["best"]
