"""Sentences are cut by one process for all."""

import re
from pathlib import Path

import pytest

CUTTING = str(Path(__file__).with_name("cutting.py"))

pytestmark = pytest.mark.timeout(600)


def test_one_process_cuts_and_the_others_find_its_windows(launch, write_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    outcome = launch("DDP", CUTTING, write_recipe(tmp_path / "run", max_steps=1))
    assert re.findall(r"process (\d) cuts", outcome.stdout) == ["0"]
