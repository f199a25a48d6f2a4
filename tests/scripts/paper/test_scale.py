"""The scales of the paper: their files name what is there, and are as large as they say."""

import re
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from decausal.sweep.space import parse_seeds
from decausal.tagging.arguments import read_recipe
from decausal.tagging.patterns import parse_patterns
from launching import ROOT
from paper.runs import Reproduction
from paper.scale import Scale, Tagger, Task

SCALES = sorted(path.stem for path in (ROOT / "recipes" / "paper").glob("*.yaml"))
CHECKPOINTS = 50


def read(name: str) -> Scale:
    return Scale.read(ROOT / "recipes" / "paper" / f"{name}.yaml")


def num_runs(scale: Scale) -> int:
    """Of taggers and models that are instructed, if pretraining leaves as many checkpoints as the paper's."""
    total = 0
    for name, run in scale.runs.items():
        per_seed = 1
        if isinstance(run, Tagger):
            per_seed = len(parse_patterns(run.patterns, 32)) * (CHECKPOINTS if run.every_checkpoint else 1)
        total += per_seed * len(parse_seeds(scale.seeds_of(name, None))) * len(scale.tasks_of(name, (*scale.tasks,)))
    return total


def test_there_is_a_file_for_every_scale():
    assert SCALES == ["135m", "68m", "7b", "tiny"]


@pytest.mark.parametrize("name", SCALES)
def test_every_run_of_a_scale_has_a_recipe_that_takes_its_fields(name, tmp_path):
    scale = read(name)
    for fields in (*(task.data for task in scale.tasks.values()), *(each.fields for each in scale.pretrained.values())):
        for file in (value for field, value in fields.items() if field.endswith("_file")):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
    on_cpu = ("--use_cpu", "true", "--bf16", "false")
    reproduction = Reproduction(scale, tmp_path, tmp_path / "out", (*scale.tasks,), None, None, on_cpu, Console())
    reproduction.check([*scale.runs])
    for model in scale.pretrained.values():
        assert "objective" in read_recipe(ROOT / model.recipe)


def test_a_run_changes_what_the_data_say_and_not_the_other_way_round(tmp_path):
    run = Tagger("r", fields={"columns": "0,2", "max_length": 8}, fields_of={"ner": {"max_length": 9}})
    task = Task({"train_file": "train.txt", "columns": "0,3"})
    scale = Scale("1", {"ner": task}, taggers={"tagger": run})
    reproduction = Reproduction(scale, tmp_path, tmp_path / "out", ("ner",), None, None, (), Console())
    assert reproduction.fields_of("tagger", "ner") == {
        "train_file": str(tmp_path / "train.txt"), "columns": "0,2", "max_length": 9,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["7b", "68m"])
def test_a_scale_has_as_many_runs_as_its_header_says(name):
    header = (ROOT / "recipes" / "paper" / f"{name}.yaml").read_text(encoding="utf-8").partition("seeds:")[0]
    [told] = re.findall(r"([\d,]+) runs", header)
    assert int(told.replace(",", "")) == num_runs(read(name))


def test_the_paper_has_640_runs_of_its_decoders():
    scale = read("7b")
    decoders = {name: scale.taggers[name] for name in ("llama-2-7b", "mistral-7b")}
    assert num_runs(Scale(scale.seeds, scale.tasks, taggers=decoders)) == 640


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "1"}, r"has 'seed'; it can have seeds, tasks"),
        ({"seeds": "one"}, "'one' is no seed"),
        ({"seeds": 120}, 'a has seeds=120: write them in quotes, as in "120,121"'),
        ({"taggers": None}, "taggers is None; it is a mapping of names"),
        ({"text": {"vocab": 3}}, "text has 'vocab'; it can have train_file, vocab_size"),
        ({"instructed": {"a": {"recipe": "r"}}}, "a is a tagger and is instructed"),
        (
            {"taggers": {"a": {"recipe": "r", "pattern": "all"}}},
            r"taggers: a has 'pattern'; it can have recipe, pretrained",
        ),
        ({"taggers": {"a": {}}}, "taggers: a lacks recipe"),
        ({"taggers": {"a": "recipe"}}, "taggers: a is 'recipe'; it is a mapping of recipe"),
        ({"taggers": {"a": {"recipe": "r", "tasks": ["ner", "pos"]}}}, "a is for the task 'pos', which is none of ner"),
        (
            {"taggers": {"a": {"recipe": "r", "pretrained": "b"}}},
            "a has pretrained='b'; pretrained are c",
        ),
        ({"instructed": {"b": {"recipe": "r", "fields_of": {"pos": {}}}}}, "b is for the task 'pos'"),
    ],
)
def test_what_is_no_scale_is_refused(tmp_path: Path, change, message):
    path = tmp_path / "scale.yaml"
    fields = {
        "seeds": "120",
        "tasks": {"ner": {"data": {}}},
        "taggers": {"a": {"recipe": "r"}},
        "pretrained": {"c": {"recipe": "r"}},
        **change,
    }
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Scale.read(path)
