"""The contract with Axolotl: the hooks that it calls, the block of its YAML, and the data that it is handed."""

import datasets
import pytest
from transformers import LlamaForTokenClassification

import decausal
import small_tokenizers

pytest.importorskip("axolotl", reason="needs Axolotl, in an environment of its own: bash scripts/test_hosts.sh axolotl")
from axolotl.integrations.base import BasePlugin
from axolotl.utils.dict import DictDefault

from decausal.hosts._axolotl_trainer import score_windows
from decausal.hosts.axolotl import DecausalArguments, DecausalBlock, DecausalPlugin
from decausal.hosts.axolotl_tagging import Windows, load

pytestmark = pytest.mark.host
LABELS = ["O", "B-LOC", "I-LOC"]


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
    hooks = {"register", "get_input_args", "get_training_args", "post_model_build", "pre_lora_load", "get_trainer_cls"}
    assert hooks | {"post_train_unload"} <= set(vars(BasePlugin))


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
    assert classifier.config.decausal["tagging"] == {"max_length": 8, "stride": 2, "label_position": "first"}


def test_lora_is_kept_off_the_head(plugin, classifier, tagging):
    plugin.pre_lora_load(tagging, classifier)
    assert tagging.lora_exclude_modules == ["score"]


def test_a_plugin_without_a_block_is_refused(plugin):
    with pytest.raises(ValueError, match="no block that says what to unmask"):
        plugin.register(config(decausal=None))


def test_merging_goes_through_the_model_which_knows_its_pattern(plugin):
    cfg = config()
    plugin.register(cfg)
    assert cfg["merge_method"] == "legacy"


def test_ring_attention_is_refused(plugin, llama):
    with pytest.raises(decausal.UnsupportedModelError, match="context_parallel_size=2"):
        plugin.post_model_build(config(context_parallel_size=2), llama())


def test_an_unquoted_pattern_is_refused_with_the_quoted_form():
    with pytest.raises(ValueError, match="in quotes"):
        DecausalBlock(unmask=9)


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
    assert "1 sentences are not scored" in capsys.readouterr().out
