"""What is changed in Axolotl's YAML for a tagger; none of it needs Axolotl."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import now_and_then
from decausal import DataError
from decausal.hosts._axolotl_yaml import DATASET_TYPE, alignment_of, fit_tagging, is_tagging


@pytest.fixture
def block():
    return SimpleNamespace(labels=None, tag_scheme="auto")


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


def test_words_and_tags_are_where_axolotl_reads_them(cfg, block):
    list(fit_tagging(cfg, block))
    assert cfg["datasets"][0].keys() == {"path", "ds_type", "split", "type"}
    rows = read(cfg, "datasets")
    assert len(rows) == 8
    assert rows[0]["tags"].count("O") == len(rows[0]["tokens"]) - 1
    assert len(read(cfg, "test_datasets")) == 4


def test_labels_are_those_of_the_training_data(cfg, block):
    list(fit_tagging(cfg, block))
    assert cfg["num_labels"] == 5
    assert cfg["decausal"]["labels"] == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def test_fitting_twice_is_fitting_once(cfg, block):
    list(fit_tagging(cfg, block))
    once = json.dumps(cfg)
    list(fit_tagging(cfg, block))
    assert json.dumps(cfg) == once


def test_several_files_become_one_so_that_sentences_keep_their_numbers(cfg, block):
    cfg["datasets"] += cfg["test_datasets"]
    list(fit_tagging(cfg, block))
    assert len(read(cfg, "datasets")) == 12


def test_other_content_is_another_file(cfg, block, tmp_path):
    list(fit_tagging(cfg, block))
    before = cfg["datasets"][0]["path"]
    now_and_then.write(tmp_path, train=9)
    cfg["datasets"] = [{"path": str(tmp_path / "train.tsv"), "type": DATASET_TYPE}]
    list(fit_tagging(cfg, block))
    assert cfg["datasets"][0]["path"] != before


def test_another_stride_is_another_file_since_axolotl_keeps_prepared_windows(cfg, block):
    list(fit_tagging(cfg, block))
    before = cfg["datasets"][0]["path"]
    cfg["decausal"]["stride"] = 8
    list(fit_tagging(cfg, block))
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
def test_a_setting_that_breaks_a_tagger_is_changed(cfg, block, setting, value, found):
    cfg[setting] = value
    printed = list(fit_tagging(cfg, block))
    assert cfg[setting] == found
    assert any(line.startswith(f"{setting}: {found}") for line in printed) == (value is not None)


def test_the_head_is_not_quantised(cfg, block):
    cfg |= {"load_in_4bit": True, "bnb_config_kwargs": {"llm_int8_skip_modules": ["mine"], "other": 1}}
    list(fit_tagging(cfg, block))
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
    ],
)
def test_what_contradicts_a_tagger_is_refused(cfg, block, settings, message):
    with pytest.raises(ValueError, match=message):
        list(fit_tagging(cfg | settings, block))


def test_other_data_sets_beside_are_refused(cfg, block):
    cfg["datasets"].append({"path": "x", "type": "alpaca"})
    with pytest.raises(ValueError, match="cannot be mixed with those of type alpaca"):
        list(fit_tagging(cfg, block))


def test_a_missing_file_is_named(cfg, block):
    cfg["datasets"][0] |= {"path": "data/nothing.tsv", "separator": " "}
    with pytest.raises(DataError, match=r"data/nothing\.tsv: there is no such file, and separator"):
        list(fit_tagging(cfg, block))


def test_data_without_entities_are_refused(cfg, block, tmp_path):
    (tmp_path / "train.tsv").write_text("a\tO\nb\tO\n\n")
    with pytest.raises(DataError, match="no word is tagged as anything but O"):
        list(fit_tagging(cfg, block))


def test_tags_that_training_lacks_are_warned_of(cfg, block, tmp_path):
    (tmp_path / "validation.tsv").write_text("a\tB-ORG\nb\tO\n\n")
    assert any("warning" in line and "B-ORG" in line for line in fit_tagging(cfg, block))


def test_windows_are_as_long_as_sequences_and_share_a_quarter(cfg):
    assert (alignment_of(cfg).max_length, alignment_of(cfg).stride) == (64, 16)


def test_a_yaml_without_our_type_trains_no_tagger(cfg):
    assert is_tagging(cfg)
    assert not is_tagging({"datasets": [{"path": "x", "type": "alpaca"}]})
    assert not is_tagging({})
