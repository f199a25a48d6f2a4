from pathlib import Path

import pytest

from decausal.tagging.arguments import parse_recipe


def test_a_recipe_and_the_command_line_fill_the_same_fields(recipe):
    tagging, model, training = parse_recipe([recipe(), "--unmask", "0011", "--lora_r", "4", "--seed", "7"])
    assert tagging.unmask == "0011"
    assert (model.lora_r, model.lora_task_type, model.use_peft) == (4, "TOKEN_CLS", True)
    assert (training.seed, training.metric_for_best_model, training.train_sampling_strategy) == (
        7,
        "f1",
        "group_by_length",
    )


@pytest.mark.parametrize(
    ("fields", "strategy"),
    [
        ({}, "group_by_length"),
        ({"packing": True}, "random"),
        ({"packing": True, "train_sampling_strategy": "group_by_length"}, "group_by_length"),
        ({"train_sampling_strategy": "random"}, "random"),
    ],
)
def test_windows_are_drawn_by_length_where_they_are_padded(recipe, fields, strategy):
    assert parse_recipe([recipe(**fields)])[2].train_sampling_strategy == strategy


def test_the_best_is_the_most_f1_or_the_least_loss(recipe):
    assert parse_recipe([recipe()])[2].greater_is_better is True
    assert parse_recipe([recipe(metric_for_best_model="loss")])[2].greater_is_better is False


def test_an_unknown_field_is_refused_with_the_nearest_known_one(recipe):
    with pytest.raises(ValueError, match=r"recipe\.yaml: unknown field 'unmsak': did you mean 'unmask'\?$"):
        parse_recipe([recipe(unmsak="0011")])
    with pytest.raises(ValueError, match=r"command line: unknown field '--unmsak': did you mean 'unmask'\?$"):
        parse_recipe([recipe(), "--unmsak=0011"])


def test_a_field_that_stands_there_twice_is_refused(recipe):
    path = Path(recipe())
    path.write_text(path.read_text() + 'unmask: "0011"\n')
    with pytest.raises(ValueError, match=r"recipe\.yaml: the field 'unmask' stands there 2 times"):
        parse_recipe([str(path)])


@pytest.mark.parametrize("override", [["--seed", "abc"], ["--label_position", "middle"]])
def test_a_value_that_a_field_does_not_take_is_one_message(recipe, override, capsys):
    with pytest.raises(ValueError, match=rf"recipe\.yaml: argument {override[0]}.*: invalid .*{override[1]}"):
        parse_recipe([recipe(), *override])
    assert capsys.readouterr().err == ""


def test_windows_overlap_by_a_quarter_unless_said_otherwise(recipe):
    assert parse_recipe([recipe(max_length=64)])[0].stride == 16
    assert parse_recipe([recipe(max_length=64, stride=3)])[0].stride == 3
    assert parse_recipe([recipe(max_length=64, num_copies=2)])[0].stride == 8


def test_an_unquoted_pattern_is_refused_with_the_quoted_form(recipe, capsys):
    from decausal.tagging.train import main

    assert main([recipe(unmask=9)]) == 1
    assert 'unmask: "0011"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train_file": None}, "needs train_file, or dataset_name"),
        ({"dataset_name": "conll"}, "give one of them"),
        ({"prediction_loss_only": True}, "F1 needs predictions"),
        ({"push_to_hub": True}, "upload output_dir when the run has ended"),
        ({"dataset_name": "conll", "train_file": None}, r"validation_file.*drop one"),
        ({"max_length": 0}, "max_length=0"),
        ({"scope": "prompt"}, "scope='prompt'"),
        ({"metric_for_best_model": "f2"}, "metric_for_best_model='f2': choose one of f1"),
    ],
)
def test_fields_that_contradict_are_refused(recipe, fields, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe([recipe(**fields)])


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.yaml: there is no such recipe"):
        parse_recipe([str(tmp_path / "nothing.yaml")])


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"recipe\.yaml (holds list|is no YAML|holds nothing)"):
        parse_recipe([str(path)])


def test_a_command_line_without_a_recipe_is_refused():
    with pytest.raises(ValueError, match="give a recipe first"):
        parse_recipe(["--unmask", "all"])
