import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench_tables import peers
from decausal.tagging.bench import Bench

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

VERSIONS = {"python": "3.11.7", "torch": "2.13.0"}


@pytest.fixture
def asked(monkeypatch) -> list[list[str]]:
    """The commands that peers were asked by: they answer with versions, or with 7.5; jobs are read before they go."""
    commands = []

    def peer(command, **_):
        is_version = command[1] == "-c"
        commands.append(command if is_version else [*command[:3], json.loads(Path(command[-1]).read_text())])
        answer = json.dumps(VERSIONS) if is_version else "what it printed\n7.5\n"
        return subprocess.CompletedProcess(command, 0, answer, "")

    monkeypatch.setattr(peers.subprocess, "run", peer)
    return commands


def test_peers_get_the_sentences_that_are_timed(results_of, asked):
    found = results_of("peers")
    jobs = [command for command in asked if command[1] != "-c"]
    work = (("billm", "leak"), ("paper", "train"), ("billm", "train"), ("billm", "tag"), ("billm", "tag_tuned"))
    assert [command[:3] for command in jobs[:5]] == [
        [f".peers/{name}/bin/python", f"scripts/peers/run_{name}.py", what] for name, what in work
    ]
    job = jobs[0][3]
    assert (len(job["tokens"]), job["layers"], job["batch_size"]) == (32, [0, 1, 2, 3], 16)
    assert {tag for tags in job["tags"] for tag in tags} <= set(job["labels"])
    assert found["results"]["train: BiLLM"]["figure"]["all"] == [7.5, 7.5, 7.5]


def test_a_leak_is_what_padding_changes(recipe):
    bench = Bench([recipe, "--bf16", "false"])
    batches = bench.draw_batches("random", 2)
    assert len({bench.lengths[window] for window in batches[0]}) > 1
    assert peers.leak(bench, batches) < 1e-5
    bench.model.register_forward_pre_hook(
        lambda _, args, given: (args, given | {"attention_mask": torch.ones_like(given["attention_mask"])}),
        with_kwargs=True,
    )
    assert peers.leak(bench, batches) > 1e-4


def test_the_versions_of_each_peer_are_those_that_its_own_python_says(results_of, asked):
    found = results_of("peers", "--repetitions", "1")
    assert found["versions of peers"] == {"paper": VERSIONS, "billm": VERSIONS}
    assert [command[0] for command in asked if command[1] == "-c"] == [
        ".peers/paper/bin/python", ".peers/billm/bin/python",
    ]  # fmt: skip


def test_an_environment_says_its_versions_and_nothing_of_what_it_lacks():
    command = [sys.executable, "-c", peers.SAY_VERSIONS, "pytest", "no-such-package"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found == {"python": ".".join(map(str, sys.version_info[:3])), "pytest": pytest.__version__}


def test_a_peer_that_fails_is_told(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "no module named billm")
    monkeypatch.setattr(peers.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="no module named billm"):
        peers.ask_peer("billm", "train", {})


def test_a_peer_that_is_not_there_is_told_with_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"\.peers/billm/bin/python.*bash scripts/peers/install\.sh"):
        peers.ask_versions("billm")
