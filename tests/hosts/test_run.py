"""`decausal run`: what its child processes are told, and what it says of them when they have ended."""

import importlib.util
import os
import signal
import sys
import threading
import time

import pytest

from decausal.hosts import _seams
from decausal.hosts._ranks import missing_ranks
from decausal.hosts.run import _SITE, run

LOAD = """
import sys
from transformers import AutoModelForCausalLM
import decausal
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
print("layers", decausal.unmasked_layers(model))
"""


@pytest.fixture
def causal(llama, tmp_path):
    llama().save_pretrained(tmp_path / "causal")
    return tmp_path / "causal"


def python(*arguments):
    return [sys.executable, "-W", "ignore", *map(str, arguments)]


def test_a_child_loads_its_model_unmasked(causal, capfd):
    assert run(python("-c", LOAD, causal), "0011", None) == 0
    printed = capfd.readouterr().out
    assert 'joined transformers: LlamaForCausalLM, unmask="0011", scope="prompt"' in printed
    assert "layers (2, 3)" in printed


def test_one_may_stand_inside_of_another(causal, capfd):
    inner = ["decausal", "run", "--unmask", "0011", "--", *python("-c", LOAD, causal)]
    assert run([*python("-m"), *inner], "0011", None) == 0
    assert "layers (2, 3)" in capfd.readouterr().out


def test_a_child_that_python_keeps_from_being_joined_ends_with_an_error(causal, capfd):
    assert run(python("-I", "-c", LOAD, causal), "0011", None) == 1
    printed = capfd.readouterr()
    assert "layers ()" in printed.out
    assert "error: the command ended, and nothing was unmasked in any of its processes" in printed.err


@pytest.mark.parametrize("option", ["-S", "-E", "-I"])
def test_an_isolated_python_does_not_get_our_hook(option, capfd):
    run(python(option, "-c", "import sys; print(sys.meta_path[0])"), "0011", None)
    assert "_Finder" not in capfd.readouterr().out
    run(python("-c", "import sys; print(sys.meta_path[0])"), "0011", None)
    assert "_Finder" in capfd.readouterr().out


def test_a_child_that_loads_nothing_pays_nothing(capfd):
    code = "import sys; print(sorted({'torch', 'transformers', 'decausal', 'json'} & set(sys.modules)))"
    run(python("-c", code), "0011", None)
    assert capfd.readouterr().out == "[]\n"


def test_another_sitecustomize_runs_too(tmp_path, monkeypatch, capfd):
    (tmp_path / "sitecustomize.py").write_text("print('the other one')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run(python("-c", "print('the program')"), "0011", None)
    assert capfd.readouterr().out == "the other one\nthe program\n"


def test_a_child_changes_what_the_seams_name():
    spec = importlib.util.spec_from_file_location("the_hook", _SITE / "sitecustomize.py")
    module = importlib.util.module_from_spec(spec)
    found = list(sys.meta_path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.meta_path[:] = found
    assert {name: tuple(seams) for name, seams in _seams.SEAMS.items()} == module._CHANGED


@pytest.mark.parametrize(("ending", "status"), [("raise SystemExit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_the_status_of_a_command_that_fails_is_passed_on_without_a_word(ending, status, capfd):
    assert run(python("-c", f"import os; {ending}"), "0011", None) == status
    assert capfd.readouterr().err == ""


SAVES = """
import pathlib, signal, sys, time
def save(number, frame):
    time.sleep(0.5)
    print("saved", flush=True)
    raise SystemExit(5)
signal.signal(int(sys.argv[2]), save)
ready = pathlib.Path(sys.argv[1])
ready.with_suffix(".part").write_text(str(__import__("os").getpid()))
ready.with_suffix(".part").rename(ready)
time.sleep(30)
"""


@pytest.mark.parametrize(
    ("number", "reaches_child"),
    [(signal.SIGTERM, False), (signal.SIGUSR1, False), (signal.SIGHUP, False), (signal.SIGINT, True)],
)
def test_a_command_that_is_stopped_may_save_first(tmp_path, capfd, number, reaches_child):
    ready = tmp_path / "ready"
    before = signal.getsignal(number)

    def stop():
        while not ready.exists():
            time.sleep(0.05)
        if reaches_child:  # as a terminal does, which sends Ctrl-C to both
            os.kill(int(ready.read_text()), number)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop, daemon=True).start()
    assert run(python("-c", SAVES, ready, int(number)), "0011", None) == 5
    assert capfd.readouterr().out == "saved\n"
    assert signal.getsignal(number) == before


def test_the_environment_of_this_process_stays_as_it_is():
    before = dict(os.environ)
    run(["true"], "0011", None)
    assert dict(os.environ) == before


def test_a_command_that_does_not_exist_is_an_error_with_its_name():
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run(["no-such-program"], "0011", None)


def test_a_trl_outside_its_range_is_warned_of(monkeypatch):
    monkeypatch.setattr("decausal.hosts._join.version", lambda package: {"trl": "1.2.0"}[package])
    with pytest.warns(UserWarning, match=r"tested with TRL 1\.16\.0.*this is 1\.2\.0"):
        run(["true"], "0011", None)


def test_a_slip_in_the_pattern_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="0012"):
        run(["touch", str(tmp_path / "ran")], "0012", None)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ([], "nothing was unmasked in any of its processes"),
        (["0-of-0-1"], None),
        (["0-of-0-2", "1-of-0-2"], None),
        (["0-of-0-1", "0-of-0-2", "1-of-0-2"], None),
        (["5-of-4-6", "4-of-4-6"], None),
        (["1-of-0-4", "3-of-0-4"], "of 4 processes those of rank 0, 2 unmasked nothing"),
        (["6-of-4-8"], "of 4 processes those of rank 4, 5, 7 unmasked nothing"),
    ],
)
def test_every_process_of_this_machine_must_have_joined(reports, message):
    found = missing_ranks(reports)
    assert (found is None) == (message is None)
    assert message is None or message in found
