"""What a start takes, in new processes."""

import json
import subprocess
import sys

import pytest

import measure_start


def test_each_figure_is_that_of_its_own_processes(tmp_path, monkeypatch):
    path = tmp_path / "start.json"
    monkeypatch.setattr("sys.argv", ["measure_start.py", str(path)])
    monkeypatch.setattr(measure_start, "PROCESSES", 1)
    measure_start.main()
    imported, parts, shown = json.loads(path.read_text())["results"].values()
    assert 0 < imported["median"] < parts["median"]
    assert shown["median"] > 0


def test_only_the_statement_is_timed():
    slow = "time.sleep(0.3)"
    assert measure_start.time_statement(slow, "pass") < 0.3 <= measure_start.time_statement("pass", slow)


def test_a_command_that_fails_is_no_figure():
    with pytest.raises(subprocess.CalledProcessError):
        measure_start.time_command(sys.executable, "-c", "raise SystemExit(3)")
