"""The contract with Axolotl: the hooks that it calls, the block of its YAML, and the data that it is handed."""

import os

import datasets
import pytest
import torch
from peft import PeftModel
from transformers import LlamaForTokenClassification

import decausal
import small_tokenizers
from decausal._checkpoint import make_record
from rows import IDS, logits

os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"  # it is read at import
pytest.importorskip("axolotl", reason="needs Axolotl, in an environment of its own: bash scripts/test_hosts.sh axolotl")
from axolotl.cli.config import load_cfg
from axolotl.core.training_args import AxolotlTrainingArguments
from axolotl.integrations.base import BasePlugin, PluginManager
from axolotl.loaders.adapter import load_lora
from axolotl.utils.data.utils import handle_long_seq_in_dataset
from axolotl.utils.dict import DictDefault
from axolotl.utils.schemas.config import AxolotlInputConfig
from axolotl.utils.schemas.datasets import SFTDataset

from decausal.hosts._axolotl_trainer import AxolotlTaggingTrainer, score_windows
from decausal.hosts._axolotl_yaml import MODEL_TYPE, REPAIRS, TAGGING_REFUSES, TAGGING_REPAIRS, fit_tagging
from decausal.hosts.axolotl import DecausalArguments, DecausalPlugin
from decausal.hosts.axolotl_tagging import Windows, load

pytestmark = pytest.mark.host
LABELS = ["O", "B-LOC", "I-LOC"]
SETTINGS = {
    *REPAIRS,
    *TAGGING_REPAIRS,
    *TAGGING_REFUSES,
    *("adapter", "base_model", "bnb_config_kwargs", "context_parallel_size", "dataset_prepared_path", "datasets"),
    *("fsdp_config", "load_in_4bit", "load_in_8bit", "merge_lora", "model_type", "num_labels", "plugins"),
    *("sequence_len", "test_datasets", "val_set_size"),
}
"""All that the plugin reads, changes, refuses or recommends."""


def config(**settings):
    return DictDefault({"decausal": {"unmask": "0011"}, "context_parallel_size": None, **settings})


@pytest.fixture
def plugin():
    plugin = DecausalPlugin()
    yield plugin
    plugin.post_train_unload(config())


@pytest.fixture
def tagging():
    return config(
        datasets=[{"type": "decausal.hosts.axolotl_tagging"}],
        decausal={"unmask": "0011", "labels": LABELS},
        sequence_len=8,
        adapter="lora",
    )


@pytest.fixture
def classifier(llama):
    configuration = llama().config
    configuration.num_labels = 3
    return LlamaForTokenClassification(configuration)


def test_axolotl_calls_the_hooks_by_these_names():
    hooks = {
        "register",
        "get_input_args",
        "get_training_args",
        "post_model_build",
        "pre_lora_load",
        "pre_model_load",
        "get_trainer_cls",
    }
    assert hooks | {"post_train_unload", "on_config_validation_error"} <= set(vars(BasePlugin))


def test_settings_that_the_plugin_relies_on_still_have_these_names():
    fields = AxolotlInputConfig.model_fields
    assert {*fields, *(field.alias for field in fields.values())} >= SETTINGS
    assert SFTDataset.model_fields.keys() >= {"path", "ds_type", "split", "type"}


def test_the_model_that_was_built_is_unmasked(plugin, classifier):
    plugin.post_model_build(config(), classifier)
    assert decausal.unmasked_layers(classifier) == (2, 3)


def test_a_model_that_writes_text_is_unmasked_in_its_prompts(plugin, llama):
    model = llama()
    plugin.post_model_build(config(), model)
    assert model.config.decausal["scope"] == "prompt"


def test_a_tagger_is_saved_with_all_that_reading_it_needs(plugin, classifier, tagging):
    plugin.post_model_build(tagging, classifier)
    assert classifier.config.label2id == {"O": 0, "B-LOC": 1, "I-LOC": 2}
    assert classifier.config.architectures == ["LlamaForTokenClassification"]
    assert classifier.config.decausal["tagging"] == {
        "max_length": 8,
        "stride": 2,
        "label_position": "first",
        "num_copies": 1,
    }


def test_the_head_of_a_tagger_is_of_the_seed(plugin, tagging):
    drawn = []
    for seed in (None, 42, 7):
        torch.rand(3)
        plugin.pre_model_load(tagging | {"seed": seed})
        drawn.append(torch.rand(1).item())
    assert drawn[0] == drawn[1] != drawn[2]


def test_lora_is_kept_off_the_head(plugin, classifier, tagging):
    plugin.pre_lora_load(tagging, classifier)
    assert tagging.lora_exclude_modules == ["score"]


def test_what_lora_is_kept_off_is_no_setting_but_reaches_peft(plugin, classifier, tagging):
    assert "lora_exclude_modules" not in AxolotlInputConfig.model_fields
    plugin.pre_lora_load(tagging, classifier)
    tagging.update(lora_r=8, lora_alpha=8, lora_dropout=0.0, lora_target_linear=True)
    assert load_lora(classifier, tagging, config_only=True)[1].exclude_modules == {"score"}


def test_beside_an_adapter_the_head_is_in_float32_and_takes_what_the_layers_give(plugin, classifier, tagging):
    plugin.post_model_build(tagging, classifier.to(torch.bfloat16))
    assert classifier.score.weight.dtype == torch.float32
    assert logits(classifier, input_ids=IDS).dtype == torch.float32


@pytest.mark.parametrize(("setting", "value"), [("fsdp_config", {"fsdp_version": 2}), ("adapter", None)])
def test_under_fsdp_and_without_an_adapter_the_head_is_of_the_type_of_all_others(
    plugin, classifier, tagging, setting, value
):
    tagging[setting] = value
    plugin.post_model_build(tagging, classifier.to(torch.bfloat16))
    assert {parameter.dtype for parameter in classifier.parameters()} == {torch.bfloat16}


def test_a_checkpoint_that_records_another_pattern_is_refused(plugin, classifier):
    classifier.config.decausal = make_record(classifier.config, "1100")
    with pytest.raises(decausal.CheckpointError, match=r'unmask="1100".* asks for unmask="0011"'):
        plugin.post_model_build(config(), classifier)


def test_a_plugin_without_a_block_is_refused(plugin):
    with pytest.raises(ValueError, match="no block that says what to unmask"):
        plugin.register(config(decausal=None))


def test_merging_goes_through_the_model_which_knows_its_pattern(plugin, capsys):
    cfg = config(merge_method="memory_efficient")
    plugin.register(cfg)
    assert cfg["merge_method"] == "legacy"
    assert "decausal: Axolotl: merge_method: legacy, since" in capsys.readouterr().out


def test_a_tagger_whose_scope_is_prompt_is_refused(plugin, tagging):
    tagging.update(model_type=MODEL_TYPE, decausal={"unmask": "0011", "scope": "prompt"})
    with pytest.raises(ValueError, match=r"scope: prompt does not go with .*; leave it out"):
        plugin.register(tagging)


def test_a_yaml_that_axolotl_rejects_leaves_the_process_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(PluginManager, "_instance", None)
    save_pretrained = PeftModel.save_pretrained
    path = tmp_path / "run.yaml"
    path.write_text('plugins: [decausal.hosts.axolotl.DecausalPlugin]\ndecausal: {unmask: "0011"}\n')
    with pytest.raises(ValueError, match="either datasets or pretraining_dataset is required"):
        load_cfg(path)
    assert PeftModel.save_pretrained is save_pretrained


def test_a_yaml_that_is_loaded_twice_joins_the_process_once():
    save_pretrained = PeftModel.save_pretrained
    DecausalPlugin().register(config())
    last = DecausalPlugin()
    last.register(config())
    assert PeftModel.save_pretrained.__wrapped__ is save_pretrained
    last.post_train_unload(config())
    assert PeftModel.save_pretrained is save_pretrained


def test_ring_attention_is_refused(plugin, llama):
    with pytest.raises(decausal.UnsupportedModelError, match="context_parallel_size=2"):
        plugin.post_model_build(config(context_parallel_size=2), llama())


def test_the_key_is_where_axolotl_looks_for_it(plugin):
    assert plugin.get_input_args() == "decausal.hosts.axolotl.DecausalArguments"
    assert DecausalArguments(decausal={"unmask": "0011", "scope": "prompt"}).decausal.scope == "prompt"


def test_data_without_the_plugin_are_refused():
    with pytest.raises(ValueError, match="are read by our plugin: add plugins"):
        load(None, DictDefault({"sequence_len": 8}))


@pytest.fixture
def sentences():
    rows = [["the", "house", "was"] * 4, ["now"]]
    tags = [["O", "B-LOC", "I-LOC"] * 4, ["B-LOC"]]
    return datasets.Dataset.from_dict({"tokens": rows, "tags": tags})


def test_a_long_sentence_is_scored_as_one_whatever_the_order_of_its_windows(sentences, tagging):
    windows = Windows(small_tokenizers.smollm2(), tagging).wrap_dataset(sentences)
    assert len(windows) > 2
    windows = windows.select(reversed(range(len(windows))))
    perfect = [[*row, *[-100] * (8 - len(row))] for row in windows["labels"]]
    scores = score_windows(windows, perfect, dict(enumerate(LABELS)))
    assert (scores.strict.f1, scores.strict.support) == (100, 5)


def test_a_sentence_of_which_a_window_is_missing_is_left_out(sentences, tagging, capsys):
    windows = Windows(small_tokenizers.smollm2(), tagging).wrap_dataset(sentences)
    windows = windows.select(range(1, len(windows)))
    scores = score_windows(windows, [[0] * 8 for _ in windows], dict(enumerate(LABELS)))
    assert scores.strict.support == 1
    printed = capsys.readouterr().out
    assert "warning: 1 of 2 sentences not scored: windows of them are missing" in printed
    assert "give test_datasets" in printed


def test_a_sentence_of_one_sub_word_is_kept(tmp_path):
    (tmp_path / "train.tsv").write_text("now\tB-LOC\n\n")
    cfg = config(
        model_type=MODEL_TYPE,
        datasets=[{"path": str(tmp_path / "train.tsv"), "type": "decausal.hosts.axolotl_tagging"}],
        dataset_prepared_path=str(tmp_path / "prepared"),
    )
    fit_tagging(cfg)
    windows = datasets.Dataset.from_dict({"input_ids": [[7], [7, 8]]})
    assert len(handle_long_seq_in_dataset(windows, cfg.sequence_len, cfg)) == 2


def test_the_last_evaluation_batch_is_not_dropped_where_axolotl_drops_it(sentences, tagging, classifier, tmp_path):
    windows = Windows(small_tokenizers.smollm2(), tagging).wrap_dataset(sentences)
    arguments = AxolotlTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to=[],
        per_device_eval_batch_size=len(windows) - 1,
        dataloader_drop_last=True,
    )
    trainer = AxolotlTaggingTrainer(model=classifier, args=arguments, eval_dataset=windows)
    assert len(trainer.get_eval_dataloader()) == 2
    assert trainer.args.dataloader_drop_last
