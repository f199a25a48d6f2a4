import subprocess
import sys

import pytest

from decausal._errors import CheckpointError
from decausal.tagging.outputs import holding
from decausal.tagging.train import main


def test_a_run_does_not_write_where_another_is_at_work(recipe, tmp_path, capsys):
    with holding(tmp_path / "run"):
        assert main([recipe()]) == 1
    assert f"error: output_dir={tmp_path / 'run'}: another run is at work there" in capsys.readouterr().err
    assert list((tmp_path / "run").iterdir()) == []


def test_a_directory_is_free_again_when_its_run_has_ended(tmp_path):
    with holding(tmp_path / "run"):
        pass
    with holding(tmp_path / "run"), pytest.raises(CheckpointError), holding(tmp_path / "run"):
        pass


def test_a_directory_is_free_again_when_its_run_was_killed(tmp_path):
    script = f"""
import os, signal
from pathlib import Path
from decausal.tagging.outputs import holding
with holding(Path({str(tmp_path / "run")!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path}\n{script}"], check=False)
    assert killed.returncode == -9
    with holding(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
