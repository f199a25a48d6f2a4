import os
import subprocess
import sys

import pytest
import torch

from launching import ROOT

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="here the check would run")


def check(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["bash", "scripts/gpu_check.sh", *map(str, arguments)]
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment)


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


@pytest.mark.parametrize("arguments", [(), ("wheels",), ("wheels", "out", "train.txt")])
def test_a_check_without_its_arguments_explains_itself(arguments):
    outcome = check(*arguments)
    assert outcome.returncode == 2
    assert "bash scripts/gpu_check.sh WHEELS OUTPUT_DIR" in outcome.stdout


def test_sentences_and_a_tokenizer_that_are_missing_are_named_before_anything_is_made(tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "train.txt").touch()
    arguments = tmp_path / "wheels", tmp_path / "out"
    without_file = check(*arguments, tmp_path / "none.txt", tmp_path)
    assert (without_file.returncode, without_file.stderr.partition(";")[0]) == (2, f"{tmp_path}/none.txt: no such file")
    without_tokenizer = check(*arguments, tmp_path / "train.txt", tmp_path / "none")
    assert without_tokenizer.returncode == 2
    assert without_tokenizer.stderr.startswith(f"{tmp_path}/none: no such directory; TOKENIZER is")
    assert not (tmp_path / "out").exists()
