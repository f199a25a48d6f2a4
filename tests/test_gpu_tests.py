"""The tests of tests/gpu on a machine that lacks what they need."""

import re
import subprocess
import sys

import pytest
import torch

from gpu.conftest import lacks
from launching import ROOT


@pytest.mark.parametrize(
    ("num_found", "asked", "reason"),
    [
        (0, {}, "needs a CUDA device, and torch .* sees none"),
        (1, {"num_devices": 2}, "needs 2 CUDA devices, and there is 1"),
        (1, {"package": "no_such_package"}, "needs the package no_such_package, which is not installed"),
        (2, {"num_devices": 2, "package": "torch"}, ""),
    ],
)
def test_what_a_machine_lacks_is_said(monkeypatch, num_found, asked, reason):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_found)
    assert re.fullmatch(reason, lacks(**asked))


@pytest.mark.skipif(torch.cuda.is_available(), reason="here they run")
def test_every_gpu_test_is_collected_and_skipped_with_a_reason_without_a_gpu():
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-q", "-p", "no:cacheprovider"]
    found = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stdout
    for name in ("kernels", "qlora", "two_gpus"):
        assert f"tests/gpu/test_{name}.py" in found.stdout
    lines = [line for line in found.stdout.splitlines() if line.startswith("SKIPPED")]
    assert all("needs a CUDA device" in line for line in lines)
    assert "passed" not in found.stdout
