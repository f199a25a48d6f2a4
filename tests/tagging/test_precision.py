"""bfloat16 where the processor has it, and the same numbers from weights that are stored in it."""

import json

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification

import decausal
from decausal.tagging.arguments import TaggingTrainingArguments, parse_recipe
from decausal.tagging.model import build_model
from decausal.tagging.precision import computes_in_bfloat16, mixed_precision, store_frozen_weights
from decausal.tagging.predict import Tagger
from decausal.tagging.train import main

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(params=[True, False])
def processor(request, monkeypatch) -> bool:
    """Whether this processor is one that has instructions for bfloat16."""
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: request.param)
    return request.param


@pytest.mark.parametrize("use_cpu", [True, False])
def test_the_processor_decides_where_a_recipe_does_not(processor, use_cpu, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    training = TaggingTrainingArguments(output_dir=str(tmp_path), use_cpu=use_cpu)
    assert (training.bf16, training.use_cpu, training.device.type) == (processor, use_cpu, "cpu")


@pytest.mark.parametrize("asked", [True, False])
def test_a_recipe_decides_whatever_the_processor(processor, asked, recipe):
    assert parse_recipe([recipe(bf16=asked)])[2].bf16 is asked


@pytest.mark.parametrize(("asked", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_a_launch_file_that_asks_for_a_precision_decides(processor, asked, dtype, monkeypatch, tmp_path):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", asked)
    assert mixed_precision(TaggingTrainingArguments(output_dir=str(tmp_path), use_cpu=True)) is dtype


def test_a_launcher_that_asks_for_the_cpu_has_the_cpu_decide(processor, monkeypatch, tmp_path):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    assert TaggingTrainingArguments(output_dir=str(tmp_path)).bf16 is processor


def test_of_other_devices_nothing_is_claimed():
    assert not computes_in_bfloat16("mps")


@pytest.mark.parametrize("fields", [{}, {"gradient_checkpointing": True}, {"attn_implementation": "eager"}])
def test_stored_weights_give_the_same_numbers_to_the_bit(recipe, fields):
    arguments = parse_recipe([recipe(bf16=True, lora_dropout=0.0, **fields)])
    found = []
    for is_stored in (False, True):
        torch.manual_seed(0)
        model = build_model(*arguments, ["O", "B-PER", "B-LOC"], 0).train()
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02)
        if is_stored:
            store_frozen_weights(model, mixed_precision(arguments[2]))
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=torch.arange(5, 29).view(2, 12)).logits
        logits.float().square().sum().backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
        found.append((logits, gradients, {weight.dtype for weight in model.parameters() if not weight.requires_grad}))
    (logits, gradients, _), (same, others, dtypes) = found
    assert torch.equal(logits, same)
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)
    assert dtypes == {torch.float32, torch.bfloat16}


def test_weights_that_are_trained_stay_as_they_are():
    model = BertForTokenClassification(
        BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    )
    store_frozen_weights(model, torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("bf16", [True, False])
def test_a_run_says_what_it_computes_in_and_its_tagger_does_the_same(
    recipe, tmp_path, corpus, capsys, monkeypatch, bf16
):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    assert main([recipe(bf16=bf16, num_train_epochs=4)]) == 0
    assert ("computing in bf16" in capsys.readouterr().out) is bf16
    tagger = Tagger.from_pretrained(tmp_path / "run")
    assert tagger.dtype is (torch.bfloat16 if bf16 else None)
    found = tagger.evaluate(str(corpus / "test.tsv")).accuracy
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found == pytest.approx(results["scores"]["test"]["accuracy"], abs=2 if bf16 else 1e-9)


def test_a_run_stores_its_frozen_weights_once_it_is_audited(recipe, monkeypatch):
    stored = []
    monkeypatch.setattr("decausal.tagging.begin.store_frozen_weights", lambda _, dtype: stored.append(dtype))
    assert main([recipe(bf16=True)]) == 0
    assert stored == [torch.bfloat16]


def test_a_run_does_not_go_on_in_another_precision(recipe, capsys):
    assert main([recipe(bf16=False, num_train_epochs=1)]) == 0
    assert main([recipe(bf16=True, num_train_epochs=2), "--resume_from_checkpoint", "true"]) == 1
    assert "computed in=None, but this run means bfloat16" in capsys.readouterr().err


def test_dora_reads_frozen_weights_itself_so_they_stay(recipe):
    arguments = parse_recipe([recipe(bf16=True, use_dora=True)])
    model = build_model(*arguments, ["O", "B-PER", "B-LOC"], 0)
    store_frozen_weights(model, torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_a_type_that_is_asked_for_is_what_a_tagger_computes_in(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    assert main([recipe(bf16=True)]) == 0
    tagger = Tagger.from_pretrained(tmp_path / "run", dtype=torch.float32)
    assert (tagger.dtype, tagger.model.dtype) == (None, torch.float32)


def test_a_run_in_bfloat16_is_tagged_in_float32_where_the_processor_has_no_other(recipe, tmp_path, monkeypatch):
    assert main([recipe(bf16=True)]) == 0
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    tagger = Tagger.from_pretrained(tmp_path / "run")
    assert tagger.dtype is None
    assert {weight.dtype for weight in tagger.model.parameters()} == {torch.float32}
    assert not any("lora_" in name for name, _ in tagger.model.named_parameters())


def test_a_merged_adapter_computes_what_it_did_beside_the_model(recipe, tmp_path):
    assert main([recipe(num_train_epochs=4)]) == 0
    beside, _ = decausal.load(tmp_path / "run")
    merged = Tagger.from_pretrained(tmp_path / "run").model
    assert not any("lora_" in name for name, _ in merged.named_parameters())
    batch = {"input_ids": torch.arange(5, 29).view(2, 12), "attention_mask": torch.ones(2, 12, dtype=torch.long)}
    batch["attention_mask"][1, 7:] = 0
    with torch.no_grad():
        logits = beside.eval()(**batch).logits
        with beside.disable_adapter():
            assert not torch.allclose(beside(**batch).logits, logits, atol=1e-2)
        torch.testing.assert_close(merged.eval()(**batch).logits, logits, rtol=0, atol=1e-5)
