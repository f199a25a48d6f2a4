"""Real command lines of a toolkit, in the environment that `scripts/test_hosts.sh` has made for it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import now_and_then
from hosts_runs import ROOT

_QUIET = {
    "AXOLOTL_DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "WANDB_DISABLED": "true",
}


@pytest.fixture
def command() -> Callable[..., str]:
    """Runs a command line of this environment and returns what it printed; `fails=True` where it has to fail."""

    def run(
        *arguments: object, fails: bool = False, stdin: str = "", cwd: Path | None = None, **environment: str
    ) -> str:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            [str(argument) for argument in arguments],
            input=stdin,
            cwd=cwd,
            env={**os.environ, **_QUIET, "PATH": path, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=540,
            check=False,
        )
        assert (done.returncode != 0) == fails, f"exit status {done.returncode}:\n{done.stdout[-6000:]}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, as `scripts/prepare_smollm2.py` has made it."""
    directory = ROOT / "models" / "smollm2-135m"
    if not (directory / "model.safetensors").is_file():
        pytest.skip(f"needs SmolLM2: python scripts/prepare_smollm2.py {directory.relative_to(ROOT)}")
    return directory


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A task that only the words to the right solve, in `train.tsv`, `validation.tsv` and `test.tsv`."""
    return now_and_then.write(tmp_path_factory.mktemp("data"), train=96, validation=33, test=33)
