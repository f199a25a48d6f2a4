import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    LlamaConfig,
)

import decausal
import small_tokenizers
from decausal._checkpoint import make_record, read_record

IDS = torch.tensor([[5, 9, 23, 7, 41, 3]])


@pytest.fixture
def saved(stories, tmp_path):
    """A saved tagger on stories260k, unmasked 0011, and its logits."""
    from decausal._tokenizer import load_tokenizer

    model = AutoModelForTokenClassification.from_pretrained(stories, num_labels=3).eval()
    decausal.unmask(model, "0011")
    model.save_pretrained(tmp_path)
    load_tokenizer(stories).save_pretrained(tmp_path)
    with torch.no_grad():
        return tmp_path, model(IDS).logits


def edit(directory, **changes) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["decausal"].update(changes)
    path.write_text(json.dumps(config))


def test_a_saved_model_comes_back_unmasked(saved):
    directory, logits = saved
    model, _ = decausal.load(directory)
    assert decausal.unmasked_layers(model) == (3, 4)
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, logits)
    assert decausal.audit(model).ok


def test_a_saved_adapter_comes_back_unmasked(stories, tmp_path):
    from decausal._tokenizer import load_tokenizer

    model = AutoModelForTokenClassification.from_pretrained(stories, num_labels=3)
    decausal.unmask(model, "1100")
    adapted = get_peft_model(
        model, LoraConfig(task_type="TOKEN_CLS", target_modules=["q_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    load_tokenizer(stories).save_pretrained(tmp_path)
    loaded, _ = decausal.load(tmp_path)
    assert isinstance(loaded, PeftModel)
    assert decausal.unmasked_layers(loaded) == (0, 1, 2)
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, adapted.eval()(IDS).logits)


def test_the_task_of_an_adapter_says_its_class_where_the_configuration_is_the_base_models(stories, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(stories, num_labels=2)
    model.config.pad_token_id = 0
    decausal.unmask(model, "1100")
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    AutoTokenizer.from_pretrained(stories).save_pretrained(tmp_path)
    loaded, _ = decausal.load(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, adapted.eval()(IDS).logits)


def test_a_model_that_writes_text_reads_it_as_its_tokenizer_was_saved(smollm2_like, tmp_path):
    model, tokenizer = smollm2_like
    decausal.unmask(model, "11", scope="prompt")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    _, loaded = decausal.load(tmp_path)
    assert loaded("the house")["input_ids"] == tokenizer("the house")["input_ids"]


@pytest.fixture
def smollm2_like(llama):
    """A causal LM, and a tokenizer that cuts a text's first word otherwise than a later one."""
    tokenizer = small_tokenizers.smollm2()
    assert tokenizer("the")["input_ids"] != tokenizer(" the")["input_ids"]
    return llama(), tokenizer


def test_an_adapter_that_was_saved_without_a_tokenizer_comes_with_that_of_its_base_model(stories, tmp_path):
    model = AutoModelForTokenClassification.from_pretrained(stories, num_labels=3)
    decausal.unmask(model, "1100")
    model.config.architectures = [type(model).__name__]
    get_peft_model(model, LoraConfig(task_type="TOKEN_CLS", target_modules=["q_proj"])).save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    _, tokenizer = decausal.load(tmp_path)
    assert tokenizer.vocab_size == 512


def test_an_adapter_without_a_configuration_is_refused_with_the_call_that_saves_it(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(decausal.CheckpointError, match=r"model\.config\.save_pretrained"):
        decausal.load(tmp_path)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(decausal.CheckpointError, match="is no directory"):
        decausal.load(tmp_path / "nothing")
    with pytest.raises(decausal.CheckpointError, match=r"no config\.json in it"):
        decausal.load(tmp_path)


def test_a_checkpoint_without_a_pattern_is_refused_with_both_ways_out(stories):
    with pytest.raises(decausal.CheckpointError, match=r'no "decausal" entry.*trained causal.*decausal\.unmask'):
        decausal.load(stories)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 32}, r"num_hidden_layers=32.*num_hidden_layers=5"),
        ({"model_type": "mistral"}, r"model_type='mistral'.*model_type='llama'"),
        ({"layers": [0, 1]}, r"means the layers \[3, 4\].*recorded layers are \[0, 1\]"),
        ({"unmask": "000011"}, "6 groups"),
        ({"unmask": 9}, "in quotes"),
        ({"scope": "answer"}, r"scope='answer', window='symmetric' are unknown"),
        ({"window": None}, r"scope='all', window=None are unknown"),
    ],
)
def test_a_pattern_that_contradicts_the_model_is_refused(saved, changes, message):
    directory, _ = saved
    edit(directory, **changes)
    with pytest.raises(decausal.CheckpointError, match=message):
        decausal.load(directory)


def test_a_truncated_weights_file_is_refused_by_name(saved):
    directory, _ = saved
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(decausal.CheckpointError, match=r"model\.safetensors is damaged"):
        decausal.load(directory)


def test_weights_that_are_missing_are_refused_and_not_made_up(saved):
    directory, _ = saved
    weights = load_file(directory / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(decausal.CheckpointError, match=r"lacks 1 of the weights of LlamaForT.*score\.weight"):
        decausal.load(directory)


def test_a_damaged_tokenizer_is_refused_with_its_place(saved):
    directory, _ = saved
    (directory / "tokenizer.json").write_text("{")
    with pytest.raises(decausal.CheckpointError, match=rf"{directory}: the tokenizer cannot be read"):
        decausal.load(directory)


def test_pickled_weights_are_refused(saved):
    directory, _ = saved
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(decausal.CheckpointError, match="weights are read from safetensors only"):
        decausal.load(directory)


def test_plain_transformers_keeps_the_entry_that_tells_of_the_pattern(saved):
    directory, _ = saved
    model = AutoModelForTokenClassification.from_pretrained(directory)
    assert decausal.unmasked_layers(model) == ()
    assert not decausal.audit(model).ok


def test_a_record_is_read_as_it_was_made(tmp_path):
    config = LlamaConfig(num_hidden_layers=4)
    config.decausal = make_record(config, "0,-1", "full")
    config.save_pretrained(tmp_path)
    record = read_record(AutoConfig.from_pretrained(tmp_path), tmp_path)
    assert (record["unmask"], record["layers"], record["window"]) == ("0,-1", [0, 3], "full")
