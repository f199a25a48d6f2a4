"""Launches real processes with the published launcher files, on the CPU."""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from launching import ROOT, command, environment, launcher


@pytest.fixture(scope="session")
def session_directory(tmp_path_factory, worker_id) -> Path:
    """A directory of this test session, which its test processes share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def launch(session_directory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program by `accelerate launch` under a strategy, and checks that it ends as it should."""

    def run(
        strategy: str, *program: str, num_processes: int | None = None, succeeds: bool = True
    ) -> subprocess.CompletedProcess[str]:
        if strategy.startswith("ZeRO"):
            pytest.importorskip("deepspeed", reason="needs DeepSpeed: pip install decausal[deepspeed]")
        with FileLock(session_directory / "launch.lock"):  # processes that wait for each other spin
            outcome = subprocess.run(
                command(strategy, *program, num_processes=num_processes),
                check=False,
                capture_output=True,
                text=True,
                env=environment(),
                cwd=ROOT,
            )
        assert (outcome.returncode == 0) == succeeds, outcome.stdout[-2000:] + outcome.stderr[-4000:]
        return outcome

    return run


@pytest.fixture
def launch_machines(session_directory, tmp_path) -> Callable[..., None]:
    """Runs a program on two machines, both of them this one, by the file for several machines put on the CPU."""

    def run(*program: str) -> None:
        pytest.importorskip("deepspeed", reason="needs DeepSpeed: pip install decausal[deepspeed]")
        file = tmp_path / "launch.yaml"
        published = (ROOT / "recipes" / "launch" / "multinode_zero3.yaml").read_text(encoding="utf-8")
        file.write_text(published + "use_cpu: true\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        commands = [launcher(str(file), 2, port, "--machine_rank", rank, *program) for rank in ("0", "1")]
        with FileLock(session_directory / "launch.lock"):
            machines = [subprocess.Popen(command, env=environment(), cwd=ROOT) for command in commands]
            assert [machine.wait() for machine in machines] == [0, 0]

    return run


@pytest.fixture(scope="session")
def stories_model(tmp_path_factory) -> Path:
    """stories260k without dropout: processes cannot draw the same random numbers as one."""
    source = ROOT.parent / "shared" / "models" / "stories260k"
    if not source.is_dir():
        pytest.skip("needs the folder of models and data beside the repository (../shared)")
    return without_dropout(source, tmp_path_factory.mktemp("models") / "stories260k")


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory) -> Path:
    """SmolLM2-135M without dropout."""
    source = ROOT / "models" / "smollm2-135m"
    if not source.is_dir():
        pytest.skip("needs models/smollm2-135m, which scripts/prepare_smollm2.py makes")
    return without_dropout(source, tmp_path_factory.mktemp("models") / "smollm2-135m")


def without_dropout(source: Path, target: Path) -> Path:
    """A copy of a model whose head drops nothing."""
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "classifier_dropout": 0.0}))
    return target


@pytest.fixture(scope="session")
def write_recipe(stories_model) -> Callable[..., str]:
    """Writes a recipe for stories260k and the small corpus of the repository; None leaves a field out."""

    def write(output: Path, **fields: Any) -> str:
        contents = {
            "model_name_or_path": str(stories_model),
            "unmask": "0011",
            "train_file": str(ROOT / "examples" / "right_context" / "train.tsv"),
            "max_train_samples": 61,  # the eighth step ends an epoch, with five sentences
            "use_peft": True,
            "lora_r": 4,
            "lora_dropout": 0.0,
            "learning_rate": 1e-3,
            # Adam divides by the size of a gradient; where that is rounding error, 1e-8 would let it steer the weight.
            "adam_epsilon": 1e-5,
            "lr_scheduler_type": "constant",
            "max_steps": 10,
            "logging_steps": 1,
            "save_strategy": "no",
            "eval_strategy": "no",
            "use_cpu": True,
            "bf16": False,
            "disable_tqdm": True,
            "output_dir": str(output),
            **fields,
        }
        path = output.with_suffix(".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({key: value for key, value in contents.items() if value is not None}))
        return str(path)

    return write


@pytest.fixture(scope="session")
def once(session_directory) -> Callable[..., Path]:
    """Makes a directory once, although several test processes may ask for it."""

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        directory = session_directory / name
        with FileLock(session_directory / f"{name}.lock"):
            if not directory.exists():
                fill(directory)
        return directory

    return make
