"""Annotated sentences become prompts and completions; a run of any kind is loaded, and answers."""

import json

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import decausal
import tagging_as_text
from launching import ROOT
from tagging_as_text import generate, load

PROMPTS = ["One day the dog saw a cat", "The sun", "Lily went to the park with her friend Tim"]


def test_a_file_becomes_prompts_and_completions(tmp_path, monkeypatch, capsys):
    source, output = tmp_path / "train.tsv", tmp_path / "data" / "train.jsonl"
    source.write_text("Jörg\tB-PER\nleft\tO\n\nIt\tO\nrained\tO\n\nAmman\tB-LOC\nwaits\tO\n", encoding="utf-8")
    arguments = ["tagging_as_text.py", "prepare", str(source), str(output), "--max_samples", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    tagging_as_text.main()
    assert [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()] == [
        {"prompt": "Sentence: Jörg left\nEntities:", "completion": " PER: Jörg"},
        {"prompt": "Sentence: It rained\nEntities:", "completion": " none"},
    ]
    assert "Jörg" in output.read_text(encoding="utf-8")
    assert "3 sentences" in capsys.readouterr().out


def test_with_instructions_these_are_written_beside_the_data_and_lost_answers_are_counted(tmp_path, capsys):
    source, output = tmp_path / "train.tsv", tmp_path / "train.jsonl"
    source.write_text("Jordan\tO\nmet\tO\nJordan\tB-PER\n\nAmman\tB-LOC\nwaits\tO\n", encoding="utf-8")
    instructions = ["--instructions", str(ROOT / "recipes" / "instruct" / "ner.yaml")]
    tagging_as_text.main(["prepare", str(source), str(output), *instructions])
    assert [json.loads(line)["completion"] for line in output.read_text().splitlines()] == [
        "Jordan:person", "Amman:location",
    ]  # fmt: skip
    assert "2 written to" in (shown := capsys.readouterr().out)
    assert "of 1 the answer means other tags" in shown
    types = yaml.safe_load(output.with_suffix(".yaml").read_text())["types"]
    assert [*types.values()] == ["person", "location", "organization", "miscellaneous"]


@pytest.fixture
def run(stories, tmp_path):
    """Saves what a run saves, a whole model or an adapter, and returns the directory and the model."""

    def save(pattern: str, adapter: bool):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(stories)
        decausal.unmask(model, pattern, scope="prompt")
        if adapter:
            config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False)
            model = get_peft_model(model, config)
        model.save_pretrained(tmp_path)
        if adapter and pattern != "none":
            model.base_model.model.config.save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(stories).save_pretrained(tmp_path)
        return tmp_path, model.eval()

    return save


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
@pytest.mark.parametrize(("pattern", "layers"), [("none", ()), ("00111", (2, 3, 4))])
def test_a_run_is_loaded_as_it_was_trained(run, pattern, layers, adapter):
    checkpoint, trained = run(pattern, adapter)
    model, tokenizer = load(checkpoint)
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert decausal.unmasked_layers(model) == layers
    ids = tokenizer(PROMPTS[0], return_tensors="pt").input_ids
    with torch.no_grad():
        expected, found = (one(ids, use_cache=True).logits for one in (trained, model))
    assert torch.allclose(found, expected, atol=1e-4)


def test_answers_come_in_the_order_of_their_prompts_and_padding_changes_none(run):
    model, tokenizer = load(run("00111", False)[0])
    one_by_one = generate(model, tokenizer, PROMPTS, batch_size=1)
    assert len(set(one_by_one)) == 3
    assert generate(model, tokenizer, PROMPTS, batch_size=2) == one_by_one


def test_answers_that_are_drawn_depend_on_the_seed_alone(run):
    model, tokenizer = load(run("00111", False)[0])
    drawn = [generate(model, tokenizer, PROMPTS, 3, 8, sample_seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_run_is_scored_on_what_it_answers(run, tmp_path, capsys):
    checkpoint, _ = run("none", False)
    source, results = tmp_path / "test.tsv", tmp_path / "results.json"
    source.write_text("Jordan\tB-PER\nmet\tO\n\nAmman\tB-LOC\nwaits\tO\n", encoding="utf-8")
    instructions = ["--instructions", str(ROOT / "recipes" / "instruct" / "ner.yaml"), "--max_new_tokens", "4"]
    tagging_as_text.main(["score", str(checkpoint), str(source), "--output", str(results), *instructions])
    found = json.loads(results.read_text())
    assert (found["sentences"], found["f1"], found["recall"]) == (2, 0.0, 0.0)
    assert found["failures"] >= found["sentences with failures"] > 0
