"""What is changed in Axolotl's YAML for a tagger; none of it needs Axolotl."""

import json
from pathlib import Path

import pytest

import now_and_then
from decausal import DataError
from decausal.hosts._axolotl_yaml import (
    DATASET_TYPE,
    REPAIRS,
    DecausalBlock,
    alignment_of,
    fit_tagging,
    is_tagging,
    repair,
)


@pytest.fixture
def cfg(tmp_path):
    now_and_then.write(tmp_path, train=8, validation=4)
    return {
        "model_type": "AutoModelForTokenClassification",
        "decausal": {"unmask": "0011"},
        "datasets": [{"path": str(tmp_path / "train.tsv"), "type": DATASET_TYPE}],
        "test_datasets": [{"path": str(tmp_path / "validation.tsv"), "type": DATASET_TYPE, "split": "train"}],
        "dataset_prepared_path": str(tmp_path / "prepared"),
        "sequence_len": 64,
    }


def read(cfg, key):
    [entry] = cfg[key]
    return [json.loads(line) for line in Path(entry["path"]).read_text().splitlines()]


def test_words_and_tags_are_where_axolotl_reads_them(cfg):
    fit_tagging(cfg)
    assert cfg["datasets"][0].keys() == {"path", "ds_type", "split", "type"}
    rows = read(cfg, "datasets")
    assert len(rows) == 8
    assert rows[0]["tags"].count("O") == len(rows[0]["tokens"]) - 1
    assert len(read(cfg, "test_datasets")) == 4


def test_labels_are_those_of_the_training_data(cfg):
    fit_tagging(cfg)
    assert cfg["num_labels"] == 5
    assert cfg["decausal"]["labels"] == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def test_fitting_twice_is_fitting_once(cfg):
    fit_tagging(cfg)
    once = json.dumps(cfg)
    fit_tagging(cfg)
    assert json.dumps(cfg) == once


def test_several_files_become_one_so_that_sentences_keep_their_numbers(cfg):
    cfg["datasets"] += cfg["test_datasets"]
    fit_tagging(cfg)
    assert len(read(cfg, "datasets")) == 12


def test_other_content_is_another_file(cfg, tmp_path):
    fit_tagging(cfg)
    before = cfg["datasets"][0]["path"]
    now_and_then.write(tmp_path, train=9)
    cfg["datasets"] = [{"path": str(tmp_path / "train.tsv"), "type": DATASET_TYPE}]
    fit_tagging(cfg)
    assert cfg["datasets"][0]["path"] != before


def test_another_stride_is_another_file_since_axolotl_keeps_prepared_windows(cfg):
    fit_tagging(cfg)
    before = cfg["datasets"][0]["path"]
    cfg["decausal"]["stride"] = 8
    fit_tagging(cfg)
    assert cfg["datasets"][0]["path"] != before


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("lora_mlp_kernel", True, False),
        ("lora_qkv_kernel", None, False),
        ("trust_remote_code", True, False),
        ("eval_sample_packing", True, False),
        ("min_sample_len", None, 1),
        ("remove_unused_columns", False, True),
    ],
)
def test_a_setting_that_breaks_a_tagger_is_changed(cfg, setting, value, found):
    cfg[setting] = value
    printed = fit_tagging(cfg)
    assert cfg[setting] == found
    assert any(line.startswith(f"{setting}: {found}, since ") for line in printed) == (value is not None)


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ({}, []),
        ({"merge_method": "legacy"}, []),
        (
            {"merge_method": "memory_efficient"},
            ["merge_method: legacy, since the other way writes the base model's configuration, without the pattern"],
        ),
    ],
)
def test_what_is_changed_of_what_was_written_is_printed(written, printed):
    assert repair(written, REPAIRS) == printed
    assert written == {"merge_method": "legacy"}


def test_where_the_data_are_now_is_printed(cfg):
    printed = fit_tagging(cfg)
    assert f"datasets: {cfg['datasets'][0]['path']}" in printed
    assert f"test_datasets: {cfg['test_datasets'][0]['path']}" in printed


def test_the_head_is_not_quantised(cfg):
    cfg |= {"load_in_4bit": True, "bnb_config_kwargs": {"llm_int8_skip_modules": ["mine"], "other": 1}}
    fit_tagging(cfg)
    assert cfg["bnb_config_kwargs"] == {
        "llm_int8_skip_modules": ["classifier", "lm_head", "mine", "score"],
        "other": 1,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model_type": "AutoModelForCausalLM"},
            "need model_type: AutoModelForTokenClass.*; it is AutoModelForCausalLM",
        ),
        ({"num_labels": 9}, "num_labels: 9, but the labels are O, B-LOC, I-LOC, B-PER, I-PER"),
        ({"skip_prepare_dataset": True}, "skip_prepare_dataset: True does not go with"),
        ({"pretraining_dataset": "x"}, "pretraining_dataset: x does not go with"),
        ({"use_eaft": True}, "use_eaft: True does not go with"),
        ({"decausal": {"unmask": "0011", "scope": "prompt"}}, "scope: prompt does not go with .*; leave it out"),
    ],
)
def test_what_contradicts_a_tagger_is_refused(cfg, settings, message):
    with pytest.raises(ValueError, match=message):
        fit_tagging(cfg | settings)


def test_other_data_sets_beside_are_refused(cfg):
    cfg["datasets"].append({"path": "x", "type": "alpaca"})
    with pytest.raises(ValueError, match="cannot be mixed with those of type alpaca"):
        fit_tagging(cfg)


def test_a_missing_file_is_named(cfg):
    cfg["datasets"][0] |= {"path": "data/nothing.tsv", "separator": " "}
    with pytest.raises(DataError, match=r"data/nothing\.tsv: there is no such file, and separator"):
        fit_tagging(cfg)


def test_a_missing_file_is_not_only_looked_for_on_the_hub(cfg):
    cfg["datasets"][0]["path"] = "data/trian.txt"
    with pytest.raises(DataError, match=r"data/trian\.txt: there is no such file, and no data set of this name"):
        fit_tagging(cfg)


def test_data_without_entities_are_refused(cfg, tmp_path):
    (tmp_path / "train.tsv").write_text("a\tO\nb\tO\n\n")
    with pytest.raises(DataError, match="no word is tagged as anything but O"):
        fit_tagging(cfg)


def test_tags_that_training_lacks_are_warned_of(cfg, tmp_path):
    (tmp_path / "validation.tsv").write_text("a\tB-ORG\nb\tO\n\n")
    assert any("warning" in line and "B-ORG" in line for line in fit_tagging(cfg))


def test_windows_are_as_long_as_sequences_and_share_a_quarter(cfg):
    assert (alignment_of(cfg).max_length, alignment_of(cfg).stride) == (64, 16)


def test_a_sequence_holds_all_copies_of_a_window(cfg):
    cfg["decausal"]["num_copies"] = 2
    alignment = alignment_of(cfg)
    assert (alignment.max_length, alignment.stride, alignment.num_copies) == (64, 8, 2)


def test_a_window_is_given_at_least_once():
    with pytest.raises(ValueError, match=r"num_copies\s.*greater than or equal to 1"):
        DecausalBlock(unmask="0011", num_copies=0)


def test_the_block_says_how_words_become_sub_words(cfg):
    cfg["decausal"] |= {"stride": 0, "label_position": "last", "add_prefix_space": False}
    alignment = alignment_of(cfg)
    assert (alignment.stride, alignment.label_position, alignment.add_prefix_space) == (0, "last", False)


def test_an_unquoted_pattern_is_refused_with_the_quoted_form():
    with pytest.raises(ValueError, match="in quotes"):
        DecausalBlock(unmask=9)


def test_a_yaml_without_our_type_trains_no_tagger(cfg):
    assert is_tagging(cfg)
    assert not is_tagging({"datasets": [{"path": "x", "type": "alpaca"}]})
    assert not is_tagging({})
