import subprocess

import pytest
import torch

from launching import ROOT

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="here the check would run")


def check(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["bash", "scripts/gpu_check.sh", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)


@WITHOUT_GPU
def test_a_check_without_a_gpu_fails_with_one_message(tmp_path):
    (tmp_path / "wheels").mkdir()
    outcome = check(tmp_path / "wheels", tmp_path / "out")
    assert outcome.returncode == 1
    assert outcome.stderr == "gpu_check: torch sees no CUDA device on this machine, so that nothing was checked\n"


def test_a_check_without_wheels_says_how_to_make_them(tmp_path):
    outcome = check(tmp_path / "wheels", tmp_path / "out")
    assert outcome.returncode == 2
    assert f"make it by: bash scripts/gpu_check.sh pack {tmp_path / 'wheels'}" in outcome.stderr


def test_a_check_without_arguments_explains_itself():
    outcome = check()
    assert outcome.returncode == 2
    assert "bash scripts/gpu_check.sh WHEELS OUTPUT_DIR" in outcome.stdout
