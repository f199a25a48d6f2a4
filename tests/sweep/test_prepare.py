"""What is refused before the first run, and when a sweep goes on."""

import json
from pathlib import Path

import pytest

from decausal._errors import DataError
from decausal.sweep.prepare import Plan
from decausal.sweep.space import name_setting
from decausal.sweep.storage import open_study


def plan(path, *overrides, patterns="groups:2", seeds=None, axes=()):
    return Plan.of([path, *overrides], patterns, seeds, axes)


def test_a_plan_knows_its_settings_and_where_they_run(recipe, tmp_path):
    found = plan(recipe(), "--output_dir", str(tmp_path / "ner"), seeds="7,8", axes=["lora_r=4,8"])
    assert len(found.space.settings()) == 4 * 2 * 2
    setting = found.space.settings()[0]
    assert name_setting(setting) == "unmask=00,seed=7,lora_r=4"
    assert found.runner.output_of(setting) == tmp_path / "ner" / "trials" / "unmask=00,seed=7,lora_r=4"
    assert found.runner.log_of(setting) == tmp_path / "ner" / "logs" / "unmask=00,seed=7,lora_r=4.log"
    command = found.runner.command(setting)
    assert command[2:4] == ["decausal", "train"]
    assert command[-8:] == [
        "--lora_r", "4", "--output_dir", str(found.runner.output_of(setting)), "--resume_from_checkpoint", "auto",
        "--overwrite_output_dir", "true",
    ]  # fmt: skip


def test_the_seed_is_the_recipes_where_none_is_given(recipe):
    assert plan(recipe(seed=33)).space.seeds == (33,)


def test_single_layers_are_those_that_are_kept(recipe):
    assert plan(recipe(num_hidden_layers=3), patterns="single").space.patterns == ("0-0", "1-1", "2-2")


@pytest.mark.parametrize(
    ("fields", "given", "message"),
    [
        ({}, {"patterns": "00000"}, "the model has 4 decoder layers"),
        ({}, {"seeds": "one"}, "is no seed"),
        ({}, {"axes": ["lorar=4"]}, "unmask=00,seed=42,lorar=4: command line: unknown field '--lorar': did you mean"),
        ({}, {"axes": ["lora_r=four"]}, "unmask=00,seed=42,lora_r=four: .*invalid int value: 'four'"),
        ({}, {"patterns": "0011", "axes": ["num_hidden_layers=2"]}, "the model has 2 decoder layers"),
        ({"validation_file": None}, {}, "this recipe has none: give validation_file"),
    ],
)
def test_what_could_not_be_run_or_compared_is_refused_before_the_first_run(recipe, fields, given, message):
    with pytest.raises(ValueError, match=message):
        plan(recipe(**fields), **given)


def test_data_that_cannot_be_read_are_refused_before_the_first_run(recipe):
    with pytest.raises(DataError, match="there/is/none"):
        plan(recipe(test_file="there/is/none.tsv"))


def test_a_sweep_goes_on_with_more_seeds_and_patterns(recipe, study):
    first, more = plan(recipe(), patterns="00", seeds="1"), plan(recipe(), patterns="groups:2", seeds="1,2")
    first.check(study)
    more.check(study)
    assert study.user_attrs["common"] == first.common == more.common


@pytest.mark.parametrize(
    ("fields", "given", "message"),
    [
        ({"learning_rate": 2e-2}, {}, "its runs have learning_rate=0.01, and these would have 0.02"),
        ({"num_train_epochs": 3}, {}, "its runs have num_train_epochs=1, and these would have 3"),
        ({"max_test_samples": 5}, {}, "its runs have test data .SHA-256.="),
        ({}, {"patterns": "groups:3"}, "its runs have groups of layers=2, and these would have 3"),
        ({}, {"patterns": "single"}, "its runs have groups of layers=2, and these would have None"),
        ({}, {"axes": ["lora_r=4,8"]}, "its runs have lora_r=16, and these would have None"),
    ],
)
def test_other_runs_are_not_mixed_into_a_study(recipe, study, tmp_path, fields, given, message):
    plan(recipe(output_dir=str(tmp_path / "one"))).check(study)
    other = plan(recipe(output_dir=str(tmp_path / "two"), **fields), **given)
    with pytest.raises(ValueError, match=f"study='small': {message}.*give another --study"):
        other.check(study)


def test_other_runs_are_not_mixed_into_a_directory(recipe, study, storage):
    plan(recipe()).check(study)
    with pytest.raises(ValueError, match=r"sweep\.json: its runs have learning_rate=0.01.*give another --output_dir"):
        plan(recipe(learning_rate=2e-2)).check(open_study(storage, "another"))


def test_what_runs_have_in_common_lies_beside_them(recipe, study, tmp_path):
    plan(recipe(output_dir=str(tmp_path / "ner"))).check(study)
    assert json.loads((tmp_path / "ner" / "sweep.json").read_text()) == study.user_attrs["common"]
    assert [path.name for path in Path(tmp_path / "ner").iterdir()] == ["sweep.json"]
