"""The paper from its first run to its tables, at a scale that takes minutes."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

import reproduce_paper
from launching import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

DATA = ROOT / "examples" / "right_context"
ON_CPU = ["--use_cpu", "true", "--bf16", "false"]
TAGGERS = {  # patterns x seeds x checkpoints
    "decoder": 4, "decoder-as-published": 1, "decoder-repetition": 1, "decoder-early-exit": 1, "encoder-qlora": 1,
    "encoder-full": 1, "decoder-full": 2,
}  # fmt: skip


def results_of(run: Path) -> dict:
    return json.loads((run / "results.json").read_text(encoding="utf-8"))


def read_table(output: Path, name: str) -> list[dict[str, str]]:
    with (output / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.timeout(1200)
def test_every_kind_of_run_ends_in_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    arguments = ["--scale", "tiny", "--data", str(DATA), "--output_dir", str(tmp_path), *ON_CPU]
    assert reproduce_paper.main(arguments) == 0

    runs = {name: sorted(tmp_path.glob(f"taggers/{name}/ner/trials/*/results.json")) for name in TAGGERS}
    assert {name: len(found) for name, found in runs.items()} == TAGGERS
    facts = {name: results_of(found[-1].parent) for name, found in runs.items()}
    assert "in 4 bits" in facts["decoder"]["parameters"] + facts["decoder"]["layers"] + json.dumps(facts["decoder"])
    assert facts["decoder"]["unmasked_layers"] == [0, 1, 2, 3]
    assert "words cut off" in facts["decoder-as-published"]["data_lines"]["test"]
    assert facts["decoder-repetition"]["recipe"]["num_copies"] == 2
    assert (facts["decoder-early-exit"]["num_layers"], facts["decoder-early-exit"]["num_dropped_layers"]) == (2, 2)
    assert facts["encoder-qlora"]["recipe"]["load_in_4bit"]
    assert not facts["encoder-full"]["recipe"]["use_peft"]
    answers = results_of(tmp_path / "instructed" / "decoder-instructed" / "ner" / "seed=120")["scores"]
    assert answers["test"]["sentences"] == 40

    rows = read_table(tmp_path, "runs")
    assert {row["run"] for row in rows} == {*TAGGERS, "decoder-instructed"}
    assert float(rows[-1]["failures"]) == answers["test"]["failures"]
    assert [row["pattern"] for row in read_table(tmp_path, "patterns")] == ["0", "1"]
    assert {row["run"] for row in read_table(tmp_path, "gains")} == {"decoder", "decoder-full"}
    assert [*read_table(tmp_path, "checkpoints")[0]] == [
        "step", "encoder-full: ner", "decoder-full none: ner", "decoder-full all: ner",
    ]  # fmt: skip

    written = (tmp_path / "tables" / "runs.csv").read_text()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("**/results.json")}
    shutil.rmtree(tmp_path / "tables")
    assert reproduce_paper.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("**/results.json")} == before
    assert (tmp_path / "tables" / "runs.csv").read_text() == written


@pytest.fixture
def scale(tmp_path) -> str:
    """A scale of one tagger whose model is not there."""
    data = {f"{split}_file": f"{split}.tsv" for split in ("train", "validation", "test")}
    task = {"data": {**data, "columns": "0,1"}, "instructions": "recipes/instruct/ner.yaml"}
    run = {"recipe": "recipes/ner/llama-68m_full.yaml", "fields": {"model_name_or_path": str(tmp_path / "nothing")}}
    model = {"recipe": "recipes/hosts/trl/sft.yaml", "fields": run["fields"]}
    path = tmp_path / "scale.yaml"
    fields = {"seeds": "1", "tasks": {"ner": task}, "taggers": {"tagger": run}, "instructed": {"writer": model}}
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return str(path)


def reproduce(scale: str, output: Path, *arguments: str) -> int:
    return reproduce_paper.main(
        ["--scale", scale, "--data", str(DATA), "--output_dir", str(output), *arguments, *ON_CPU]
    )


def test_a_model_that_is_not_there_is_one_message(scale, tmp_path, capsys):
    assert reproduce(scale, tmp_path / "out", "--runs", "tagger") == 1
    assert "error: " in (told := capsys.readouterr().err)
    assert str(tmp_path / "nothing") in told


def test_instructions_that_fail_say_where_the_log_is(scale, tmp_path, capsys):
    assert reproduce(scale, tmp_path / "out", "--runs", "writer") == 1
    log = tmp_path / "out" / "instructed" / "writer" / "ner" / "seed=1" / "train.log"
    assert f"failed: writer: ner, seed 1: exit status 1, see {log}" in capsys.readouterr().err
    assert "nothing" in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "tager"], "--runs tager: there are tagger, writer"),
        (["--tasks", "pos"], "--tasks pos: there are ner"),
        (["--seeds", "x"], "seeds='x': 'x' is no seed"),
    ],
)
def test_what_is_not_there_is_refused(scale, tmp_path, capsys, arguments, message):
    assert reproduce(scale, tmp_path / "out", *arguments) == 1
    assert f"error: {message}" in capsys.readouterr().err


def test_a_scale_that_is_not_there_is_refused(tmp_path, capsys):
    assert reproduce("8b", tmp_path) == 1
    assert "error: 8b: there is no such recipe" in capsys.readouterr().err
