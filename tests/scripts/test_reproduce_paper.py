"""The paper from its first run to its tables, at a scale that takes minutes."""

import csv
import json
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import reproduce_paper
from decausal.sweep.run import RunFailedError, holding
from launching import ROOT
from paper import runs
from paper.runs import Reproduction
from paper.scale import Instructed, Pretrained, Scale, Tagger, Task

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

DATA = ROOT / "examples" / "right_context"
NER = "recipes/instruct/ner.yaml"
ON_CPU = ["--use_cpu", "true", "--bf16", "false"]
TAGGERS = {  # patterns x seeds x checkpoints
    "decoder": 2, "decoder-as-published": 1, "decoder-repetition": 1, "decoder-early-exit": 1, "encoder-qlora": 1,
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
    assert "the base model in 4 bits" in facts["decoder"]["parameters"]
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

    raw = json.loads((tmp_path / "tables" / "raw.json").read_text())
    assert len(raw["taggers"]) == sum(TAGGERS.values())
    assert [run["scores"]["test"]["failures"] for run in raw["instructed"]] == [answers["test"]["failures"]]

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
    task = {"data": {**data, "columns": "0,1"}, "instructions": NER}
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


def test_a_model_that_is_not_there_fails_with_its_name(scale, tmp_path, capsys):
    assert reproduce(scale, tmp_path / "out", "--runs", "tagger") == 1
    assert f"failed: tagger: ner: {tmp_path / 'nothing'}" in capsys.readouterr().err


def test_instructions_that_fail_say_why(scale, tmp_path, capsys):
    assert reproduce(scale, tmp_path / "out", "--runs", "writer") == 1
    told = capsys.readouterr().err
    assert "failed: writer: ner, seed 1: exit status 1: " in told
    assert str(tmp_path / "nothing") in (tmp_path / "out/instructed/writer/ner/seed=1/train.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "tager"], "--runs tager: there are tagger, writer"),
        (["--tasks", "pos"], "--tasks pos: there are ner"),
        (["--seeds", "x"], "seeds='x': 'x' is no seed"),
        (["--num_epochs", "3"], "'--num_epochs'"),
        (["--data", "elsewhere"], "tagger: ner: elsewhere/train.tsv is not there"),
        (["--parser", "xx_none"], "parser=xx_none"),
        (["--only_tables"], "is not there: give the --output_dir of a reproduction"),
    ],
)
def test_what_is_not_there_is_refused_before_the_first_run(scale, tmp_path, capsys, arguments, message):
    assert reproduce(scale, tmp_path / "out", *arguments) == 1
    assert message in (told := capsys.readouterr().err)
    assert told.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_scale_that_is_not_there_is_refused(tmp_path, capsys):
    assert reproduce("8b", tmp_path) == 1
    assert "error: --scale 8b: there are 135m, 68m, 7b, tiny, and no such file" in capsys.readouterr().err


@pytest.fixture
def instructed(stories, tmp_path):
    """A reproduction of one model that is instructed, the programs that it runs, and what stands in for them."""
    task = Task({f"{split}_file": f"{split}.tsv" for split in ("train", "validation", "test")}, NER)
    model = Instructed("recipes/hosts/trl/sft.yaml", fields={"model_name_or_path": stories}, max_new_tokens=4)
    scale = Scale("1,2", {"ner": task}, instructed={"writer": model})
    return Reproduction(scale, DATA, tmp_path, ("ner",), None, None, tuple(ON_CPU), Console())


@pytest.fixture
def launches(monkeypatch):
    """The logs of all programs that are launched; each makes its file, but those that are told to fail."""
    begun, failing = [], set()

    def launch(command, log, lock, made, watch=None, to_all=False):
        begun.append(f"{log.parent.name}/{log.stem}")
        if begun[-1] in failing:
            raise RunFailedError("exit status 1: it was told to")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text("{}")

    monkeypatch.setattr(runs, "launch", launch)
    return begun, failing


def test_what_is_finished_of_an_instruction_is_not_done_again(instructed, launches):
    begun, failing = launches
    failing.add("seed=1/test")
    assert instructed.run(["writer"]) == ["writer: ner, seed 1: exit status 1: it was told to"]
    steps = ["prepare", "train", "validation", "test"]
    assert begun == [f"seed={seed}/{step}" for seed in (1, 2) for step in steps]
    begun.clear(), failing.clear()
    assert instructed.run(["writer"]) == []
    assert begun == ["seed=1/test"]


def test_a_run_that_was_begun_otherwise_is_not_taken_for_this_one(instructed, launches):
    assert instructed.run(["writer"]) == []
    other = replace(instructed, fields=(*ON_CPU, "--learning_rate", "1e-3"))
    first, second = other.run(["writer"])
    assert "this was begun with --learning_rate=None, and now it is 1e-3" in first
    assert "give another --output_dir" in second


def test_other_sentences_in_the_same_files_are_not_taken_for_those(instructed, launches, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(DATA, data)
    moved = replace(instructed, data=data)
    assert instructed.run(["writer"]) == moved.run(["writer"]) == []
    with (data / "train.tsv").open("a") as file:
        file.write("\nOne\tO\n")
    assert "files (SHA-256)" in moved.run(["writer"])[0]


def test_what_was_never_begun_may_be_begun_otherwise(instructed, launches):
    _, failing = launches
    failing |= {"seed=1/train", "seed=2/train"}
    assert len(instructed.run(["writer"])) == 2
    failing.clear()
    assert replace(instructed, fields=(*ON_CPU, "--learning_rate", "1e-3")).run(["writer"]) == []


def test_what_begins_with_a_model_that_failed_is_not_run(launches, tmp_path, stories):
    begun, failing = launches
    failing.add("pretrained/causal")
    task = Task({f"{split}_file": f"{split}.tsv" for split in ("train", "validation", "test")}, NER)
    recipe = "recipes/pretrain_68m/causal.yaml"
    scale = Scale(
        "1", {"ner": task}, pretrained={"causal": Pretrained(recipe, {"train_file": "train.tsv"})},
        instructed={"writer": Instructed("recipes/hosts/trl/sft.yaml", pretrained="causal")},
        taggers={"tagger": Tagger("recipes/ner/roberta-68m_full.yaml", pretrained="causal")},
    )  # fmt: skip
    reproduction = Reproduction(scale, DATA, tmp_path, ("ner",), None, None, tuple(ON_CPU), Console())
    assert reproduction.run(["tagger", "writer"]) == [
        "pretraining causal: exit status 1: it was told to",
        "tagger begins with causal, which is not there",
        "writer begins with causal, which is not there",
    ]
    assert begun == ["pretrained/causal"]


def test_what_another_process_does_is_passed_over_and_waited_for(instructed, launches, monkeypatch):
    begun, _ = launches
    directory = instructed.directory("writer", "ner")
    with ExitStack() as other:
        other.enter_context(holding(Path(f"{directory / 'seed=1'}.lock")))
        monkeypatch.setattr(runs.time, "sleep", lambda _: other.close())
        assert instructed.run(["writer"]) == []
    assert [step.partition("/")[0] for step in begun] == ["seed=2"] * 4 + ["seed=1"] * 4


def test_checkpoints_of_interruptions_are_no_points_of_the_curve(tmp_path):
    tagger = Tagger("r", pretrained="causal", every_checkpoint=True)
    scale = Scale("1", {}, pretrained={"causal": Pretrained("r")}, taggers={"decoder": tagger})
    model = tmp_path / "pretrained" / "causal"
    for step in (4, 8, 9, 12, 13, 16):
        (model / f"checkpoint-{step}").mkdir(parents=True)
        if step != 12:
            (model / f"checkpoint-{step}" / "trainer_state.json").touch()
    (model / "results.json").write_text(json.dumps({"steps": 16, "training": {"save_steps": 0.25}}))
    found = Reproduction(scale, tmp_path, tmp_path, (), None, None, (), Console()).checkpoints(tagger)
    assert [Path(path).name for path in found] == ["checkpoint-4", "checkpoint-8", "checkpoint-16"]
