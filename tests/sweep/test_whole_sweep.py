"""`decausal sweep` from its command line to its exit status."""

import pytest
from rich.console import Console

from decausal.sweep.sweep import run_sweep


@pytest.fixture
def console(tmp_path):
    with (tmp_path / "screen").open("w") as file:
        yield Console(file=file, width=200)


def test_a_sweep_shows_what_it_has_run_and_what_failed(recipe, tmp_path, console):
    path, output = recipe(), tmp_path / "ner"
    settings = {"patterns": "11", "axes": ["lora_target_modules=all-linear,score"], "console": console}
    assert not run_sweep([path, "--output_dir", str(output)], **settings)
    console.file.flush()
    shown = (tmp_path / "screen").read_text()
    assert "unmask=11,seed=42,lora_target_modules=all-linear: validation F1 " in shown
    assert "unmask=11,seed=42,lora_target_modules=score: failed, exit status 1: error: lora_target_modules=" in shown
    assert f"everything it printed: {output}/logs/unmask=11,seed=42,lora_target_modules=score.log" in shown
    assert [line.split()[:3] for line in shown.splitlines() if line.startswith(" unmask")] == [
        ["unmask=11,lora_target_modules=all-linear", "0-3", "1"]
    ]
    assert sorted(path.name for path in output.iterdir()) == ["logs", "study.db", "sweep.json", "trials"]
