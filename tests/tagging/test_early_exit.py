"""Only the first layers of a model: they are those of the whole one, from the recipe to the saved tagger."""

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, pipeline
from typer.testing import CliRunner

import decausal
import small_tokenizers
from decausal._checkpoint import read_record
from decausal.cli import app
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.bench import Bench
from decausal.tagging.model import build_model, describe_layers, describe_parameters
from decausal.tagging.pipeline import TaggerPipeline
from decausal.tagging.plan.plan import make_plan
from decausal.tagging.predict import Tagger
from decausal.tagging.train import main

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
IDS = torch.tensor([[5, 9, 23, 7, 41, 3], [8, 2, 60, 33, 12, 6]])
REAL = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])


def build(recipe: str) -> torch.nn.Module:
    return build_model(*parse_recipe([recipe]), LABELS, 0).eval()


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=REAL).logits


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["stories260k", "stories260k-mistral", "stories260k-qwen2", "stories260k-phi3"])
@pytest.mark.parametrize(("kept_unmask", "whole_unmask"), [("none", "none"), ("all", "0-2"), ("001", "2-2")])
def test_the_head_reads_the_whole_models_hidden_states_after_the_last_layer_that_is_kept(
    shared, recipe, name, attn_implementation, kept_unmask, whole_unmask
):
    fields = {
        "model_name_or_path": str(shared / "models" / name),
        "use_peft": False,
        "attn_implementation": attn_implementation,
    }
    kept = build(recipe(**fields, unmask=kept_unmask, num_hidden_layers=3))
    whole = build(recipe(**fields, unmask=whole_unmask))
    assert len(whole.model.layers) == 5
    with torch.no_grad():
        outputs = whole.model(input_ids=IDS, attention_mask=REAL, output_hidden_states=True)
        expected = kept.score(whole.model.norm(outputs.hidden_states[3]))
    assert torch.equal(logits(kept), expected)


def test_all_layers_may_be_kept(recipe):
    model = build(recipe(num_hidden_layers=4))
    assert describe_layers(model, "0011") == 'unmask="0011": layers 2-3 of 4 are bidirectional (0 = input side)'


def test_a_pattern_is_of_the_layers_that_are_kept_and_those_dropped_are_said(recipe):
    model = build(recipe(unmask="01", num_hidden_layers=2))
    assert decausal.unmasked_layers(model) == (1,)
    assert describe_layers(model, "01") == (
        'unmask="01": layers 1 of 2 are bidirectional (0 = input side); the base model has 4, of which the last 2 are '
        "dropped"
    )
    assert describe_layers(build(recipe(unmask="none", num_hidden_layers=3)), "none") == (
        'unmask="none": all 3 layers are causal; the base model has 4, of which the last 1 are dropped'
    )


def test_a_pattern_that_fits_the_whole_model_only_is_refused(recipe, capsys):
    assert main([recipe(unmask="3-3", num_hidden_layers=3)]) == 1
    assert "model has 3 decoder layers" in capsys.readouterr().err


def test_the_weights_of_dropped_layers_are_neither_loaded_nor_spoken_of(
    recipe, base_model, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    directory = shutil.copytree(base_model, tmp_path / "model")
    weights = load_file(directory / "model.safetensors")
    for name in weights:
        if name.startswith(("model.layers.2.", "model.layers.3.")):
            weights[name] = weights[name][:1]  # of no shape that could be loaded
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    model = build(recipe(model_name_or_path=str(directory), unmask="11", num_hidden_layers=2, use_peft=False))
    assert {name.split(".")[2] for name in model.state_dict() if ".layers." in name} == {"0", "1"}
    assert caplog.text == ""


def test_weights_that_a_kept_layer_lacks_are_still_an_error(recipe, base_model, tmp_path):
    directory = shutil.copytree(base_model, tmp_path / "model")
    weights = load_file(directory / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(decausal.CheckpointError, match=r"lacks 1 of the weights.*layers\.1\.mlp\.up_proj"):
        build(recipe(model_name_or_path=str(directory), unmask="11", num_hidden_layers=2))


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (5, "num_hidden_layers=5: the model has 4 layers; give at most 4, or leave it out to keep all."),
        (0, "num_hidden_layers=0: give at least 1, or leave it out."),
        (-1, "num_hidden_layers=-1: give at least 1, or leave it out."),
    ],
)
def test_a_number_of_layers_that_the_model_cannot_have_is_one_message(recipe, capsys, number, message):
    assert main([recipe(num_hidden_layers=number)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("error:") == 1


@pytest.mark.parametrize("extra", [{}, {"load_in_4bit": True}, {"dtype": "bfloat16"}, {"use_peft": False}])
def test_a_saved_run_tags_as_it_did_while_training(recipe, tmp_path, corpus, base_model, capsys, extra):
    run = tmp_path / "run"
    assert main([recipe(num_train_epochs=4, unmask="011", num_hidden_layers=3, **extra)]) == 0
    assert "layers 1-2 of 3 are bidirectional (0 = input side); the base model has 4" in capsys.readouterr().out
    elsewhere = shutil.copytree(base_model, tmp_path / "elsewhere")
    tagger = Tagger.from_pretrained(run, base_model=str(elsewhere))
    assert decausal.unmasked_layers(tagger.model) == (1, 2)
    results = json.loads((run / "results.json").read_text())
    assert results["recipe"]["num_hidden_layers"] == 3
    assert tagger.evaluate(str(corpus / "test.tsv")).to_dict() == results["scores"]["test"]


@pytest.fixture(scope="module")
def run(write_recipe, tmp_path_factory):
    """A LoRA tagger on the first three of four layers, of which the last two are unmasked."""
    directory = tmp_path_factory.mktemp("runs")
    assert main([write_recipe(directory, unmask="011", num_hidden_layers=3, num_train_epochs=20)]) == 0
    return directory / "run"


def test_the_record_of_a_checkpoint_tells_of_the_dropped_layers(run):
    model, _ = decausal.load(run)
    record = read_record(model.config, run)
    assert (record["layers"], record["num_hidden_layers"], record["num_dropped_layers"]) == ([1, 2], 3, 1)
    assert json.loads((run / "recipe.json").read_text())["layers"] == [1, 2]
    assert len(model.get_base_model().model.layers) == 3
    assert decausal.audit(model).ok


def test_the_commands_read_such_a_checkpoint(run, corpus, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("a house now .\n")
    for command, found in (
        (["audit", str(run), "--unmask", "011"], "unmasked, as the pattern says"),
        (["evaluate", str(run), "--test_file", str(corpus / "test.tsv")], "all (strict)"),
        (["predict", str(run), str(words)], "house\tB-PER"),
    ):
        outcome = CliRunner().invoke(app, command)
        assert outcome.exit_code == 0, outcome.output
        assert found in outcome.output


def test_the_pipeline_tags_as_the_tagger_does(run):
    model, tokenizer = decausal.load(run)
    tag = pipeline("token-classification", model, tokenizer=tokenizer, pipeline_class=TaggerPipeline)
    [entity] = tag("a house now .")
    assert (entity["word"], entity["entity"]) == ("house", "B-PER")


def test_the_card_tells_of_the_dropped_layers_and_that_peft_does_not_know_them(run):
    card = (run / "README.md").read_text()
    assert "layers 1-2 of 3 are bidirectional (0 = input side); the base model has 4, of which the last 1" in card
    assert "PEFT alone would put the adapter on the whole base model" in card


def test_a_run_with_all_layers_has_a_card_that_does_not_speak_of_it(recipe, tmp_path):
    assert main([recipe(max_steps=1)]) == 0
    assert "PEFT alone" not in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.parametrize(("number", "meant"), [(2, "2"), (4, "4"), (None, "None")])
def test_resuming_with_another_number_of_layers_is_refused(recipe, run, corpus, capsys, number, meant):
    fields = {"output_dir": str(run), "resume_from_checkpoint": "true", "num_train_epochs": 20}
    assert main([recipe(unmask="1-1", num_hidden_layers=number, **fields)]) == 1
    assert f"was trained with num_hidden_layers=3, but this run means {meant}: resume" in capsys.readouterr().err


def test_a_tagger_with_all_weights_can_be_cut_once_more(recipe, tmp_path):
    assert main([recipe(max_steps=1, unmask="111", use_peft=False, num_hidden_layers=3)]) == 0
    shorter = build(recipe(model_name_or_path=str(tmp_path / "run"), unmask="11", num_hidden_layers=2))
    assert "layers 0-1 of 2 are" in (found := describe_layers(shorter, "11"))
    assert "the base model has 3, of which the last 1 are dropped" in found


def test_a_plan_and_a_benchmark_are_of_the_layers_that_are_kept(recipe):
    kept, whole = (make_plan([recipe(unmask="11", num_hidden_layers=number)]) for number in (2, None))
    assert kept.needs[False].total < whole.needs[False].total
    assert "Planned with the first 2 layers of the model." in kept.notes
    bench = Bench([recipe(num_hidden_layers=2, unmask="01")])
    assert bench.facts()["parameters"] == describe_parameters(build(recipe(unmask="01", num_hidden_layers=2)))
    assert "the base model has 4, of which the last 2 are dropped" in bench.facts()["layers"]


def test_encoders_may_be_cut_too(recipe, tmp_path):
    tokenizer = small_tokenizers.bert()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8
    )
    directory = tmp_path / "bert"
    BertModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    fields = {"model_name_or_path": str(directory), "unmask": "none", "use_peft": False}
    kept, whole = build(recipe(**fields, num_hidden_layers=2)), build(recipe(**fields))
    with torch.no_grad():
        hidden = whole.bert(input_ids=IDS, attention_mask=REAL, output_hidden_states=True).hidden_states[2]
        assert torch.equal(logits(kept), kept.classifier(hidden))
    assert describe_layers(kept, "none").endswith("both sides); the base model has 3, of which the last 1 are dropped")
