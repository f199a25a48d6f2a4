"""Processes that fail: the whole job ends with their message, and goes on from its last whole checkpoint."""

import re
import time
from pathlib import Path

import pytest

from launching import FILES, weight_deviation

FAULTY = str(Path(__file__).with_name("faulty.py"))
WORKER = str(Path(__file__).with_name("worker.py"))
SAVING = {"save_strategy": "steps", "save_steps": 3, "weight_decay": 0.1, "lr_scheduler_type": "linear"}

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def fail(launch):
    """Runs a recipe of whose two processes one fails: what was printed, and after how many seconds all had ended."""

    def run(strategy: str, *program: str) -> tuple[str, float]:
        outcome = launch(strategy, FAULTY, *program, succeeds=False)
        begun = re.search(r"failing at ([\d.]+)", outcome.stdout)
        assert begun, outcome.stdout + outcome.stderr
        return outcome.stdout + outcome.stderr, time.time() - float(begun[1])

    return run


@pytest.fixture(scope="session")
def expected(launch, write_recipe, once):
    """Ten steps of one process without an interruption."""

    def fill(directory: Path) -> None:
        launch("one process", WORKER, write_recipe(directory / "run", **SAVING, per_device_train_batch_size=8))

    return once("uninterrupted", fill) / "run"


@pytest.fixture
def recipe(write_recipe, tmp_path):
    """A recipe for a number of processes, each of which takes its share of eight sentences a step."""

    def write(num_processes: int = 2, **fields: object) -> str:
        share = 8 // num_processes
        return write_recipe(tmp_path / "run", **SAVING, per_device_train_batch_size=share, **fields)

    return write


@pytest.mark.parametrize(
    ("strategy", "fault", "message"),
    [
        pytest.param("DDP", "memory", "[rank1]", marks=pytest.mark.long),
        ("DDP", "raise", "rank 1: error: bad data in step 3"),
        pytest.param("ZeRO-3", "raise", "rank 1: error: bad data in step 3", marks=pytest.mark.long),
    ],
)
def test_one_process_that_fails_ends_the_job_with_its_message(fail, recipe, strategy, fault, message):
    printed, seconds = fail(strategy, fault, "1", "3", recipe())
    assert message in printed
    assert "in step 3" in printed
    assert seconds < 60


@pytest.mark.parametrize(
    ("strategy", "fault"),
    [
        ("DDP", "writing"),
        *(pytest.param(strategy, "writing", marks=pytest.mark.long) for strategy in ("ZeRO-2", "ZeRO-3", "FSDP2")),
        *(
            pytest.param(strategy, "kill-all", marks=pytest.mark.long)
            for strategy in FILES
            if strategy != "one process"
        ),
        *(pytest.param(strategy, "kill", marks=pytest.mark.long) for strategy in FILES if strategy != "one process"),
    ],
)
def test_a_killed_run_goes_on_from_its_last_whole_checkpoint_in_one_process(
    fail, launch, recipe, expected, tmp_path, strategy, fault
):
    fail(strategy, fault, "1", "6" if fault == "writing" else "5", recipe())
    whole = [path.parent for path in (tmp_path / "run").glob("checkpoint-*/trainer_state.json")]
    assert whole == [tmp_path / "run" / "checkpoint-3"]
    outcome = launch(strategy, WORKER, recipe(1, resume_from_checkpoint="true"), num_processes=1)
    assert f"going on from {whole[0]}" in outcome.stdout
    assert weight_deviation(tmp_path / "run", expected) < 1e-4


@pytest.mark.parametrize(
    "strategy",
    [
        *(pytest.param(strategy, marks=pytest.mark.long) for strategy in ("DDP", "ZeRO-2", "ZeRO-3")),
        "FSDP2",
    ],
)
def test_a_sigterm_to_one_process_saves_and_stops_all_and_all_go_on(fail, launch, recipe, expected, tmp_path, strategy):
    printed, seconds = fail(strategy, "term", "1", "5", recipe())
    assert "stopped by SIGTERM; go on with the same command and --resume_from_checkpoint true" in printed
    assert seconds < 30
    assert (tmp_path / "run" / "checkpoint-5" / "trainer_state.json").is_file()
    launch(strategy, WORKER, recipe(resume_from_checkpoint="true"))
    assert weight_deviation(tmp_path / "run", expected) < 1e-4
