"""The scales of the paper: their files name what is there, and are as large as they say."""

import re
from pathlib import Path

import pytest
import yaml

from answers import InstructionForm
from decausal.sweep.space import parse_seeds
from decausal.tagging.arguments import as_flags, parse_recipe, read_recipe
from decausal.tagging.patterns import parse_patterns
from launching import ROOT
from paper.scale import Scale, Tagger

SCALES = sorted(path.stem for path in (ROOT / "recipes" / "paper").glob("*.yaml"))
CHECKPOINTS = 50


def read(name: str) -> Scale:
    return Scale.read(ROOT / "recipes" / "paper" / f"{name}.yaml")


def num_runs(scale: Scale) -> int:
    def seeds(run) -> int:
        return len(parse_seeds(scale.seeds_of(run, None))) * len(scale.tasks_of(run, tuple(scale.tasks)))

    def patterns(tagger: Tagger) -> int:
        return len(parse_patterns(tagger.patterns, 32)) * (CHECKPOINTS if tagger.every_checkpoint else 1)

    taggers = sum(seeds(tagger) * patterns(tagger) for tagger in scale.taggers.values())
    return taggers + sum(map(seeds, scale.instructed.values()))


def test_there_is_a_file_for_every_scale():
    assert SCALES == ["135m", "68m", "7b", "tiny"]


@pytest.mark.parametrize("name", SCALES)
def test_every_run_of_a_scale_has_a_recipe_that_takes_its_fields(name):
    scale = read(name)
    for tagger in scale.taggers.values():
        for task in scale.tasks_of(tagger, tuple(scale.tasks)):
            recipe = str(ROOT / tagger.recipe.replace("{task}", task))
            fields = {**scale.tasks[task].data, **tagger.fields, **tagger.fields_of.get(task, {})}
            tagging, _, training = parse_recipe([recipe, *as_flags(fields), "--use_cpu", "true", "--bf16", "false"])
            assert tagging.train_file == scale.tasks[task].data["train_file"]
            assert training.seed == 120
    for model in scale.pretrained.values():
        assert "objective" in read_recipe(ROOT / model.recipe)
    for model in scale.instructed.values():
        assert "dataset_name" in read_recipe(ROOT / model.recipe)
        for task in scale.tasks_of(model, tuple(scale.tasks)):
            InstructionForm.read(ROOT / scale.tasks[task].instructions, [])


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
        (
            {"taggers": {"a": {"recipe": "r", "pattern": "all"}}},
            r"taggers: a has 'pattern'; it can have recipe, patterns",
        ),
        ({"taggers": {"a": {}}}, "taggers: a: .*'recipe'"),
        ({"taggers": {"a": "recipe"}}, "taggers: a is no mapping"),
        ({"taggers": {"a": {"recipe": "r", "tasks": ["ner", "pos"]}}}, "a is for the task 'pos', which is none of ner"),
        (
            {"taggers": {"a": {"recipe": "r", "pretrained": "b"}}},
            "a has pretrained='b', which the file does not pretrain",
        ),
        ({"instructed": {"a": {"recipe": "r", "fields_of": {"pos": {}}}}}, "a is for the task 'pos'"),
    ],
)
def test_what_is_no_scale_is_refused(tmp_path: Path, change, message):
    path = tmp_path / "scale.yaml"
    fields = {"seeds": "120", "tasks": {"ner": {"data": {}}}, "taggers": {"a": {"recipe": "r"}}, **change}
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Scale.read(path)
