import json
import subprocess
from pathlib import Path

import pytest

from bench_tables import peers

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_peers_get_the_sentences_that_are_timed(results_of, monkeypatch):
    jobs = []

    def peer(command, **_):
        jobs.append((command, json.loads(Path(command[-1]).read_text())))
        return subprocess.CompletedProcess(command, 0, "what it printed\n7.5\n", "")

    monkeypatch.setattr(peers.subprocess, "run", peer)
    found = results_of("peers")
    commands = [command[:3] for command, _ in jobs[:3]]
    assert commands == [
        [f".peers/{name}/bin/python", f"scripts/peers/run_{name}.py", what]
        for name, what in (("paper", "train"), ("billm", "train"), ("billm", "tag"))
    ]
    job = jobs[0][1]
    assert (len(job["tokens"]), job["layers"], job["batch_size"]) == (32, [0, 1, 2, 3], 16)
    assert {tag for tags in job["tags"] for tag in tags} <= set(job["labels"])
    assert found["results"]["train: BiLLM"]["figure"]["all"] == [7.5, 7.5, 7.5]


def test_a_peer_that_fails_is_told(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "no module named billm")
    monkeypatch.setattr(peers.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="no module named billm"):
        peers.ask_peer("billm", "train", {})
