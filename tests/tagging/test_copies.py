"""Sequence repetition: a window is given several times in a row and tagged in its last copy."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForTokenClassification, pipeline
from typer.testing import CliRunner

import decausal
import small_tokenizers
from decausal._tokenizer import prepare_tokenizer
from decausal.cli import app
from decausal.tagging.align import align
from decausal.tagging.copies import describe_copies, repeat
from decausal.tagging.pipeline import TaggerPipeline
from decausal.tagging.plan.plan import make_plan
from decausal.tagging.predict import Tagger
from decausal.tagging.train import main

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

NOW, THEN = ["the", "house", "was", "sold"], ["the", "house", "was", "built"]


@pytest.fixture(scope="module")
def llama3():
    """One special token in front."""
    return prepare_tokenizer(small_tokenizers.llama3())


@pytest.fixture(scope="module")
def causal_model(llama3) -> LlamaForTokenClassification:
    """Two layers of random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(llama3), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    return LlamaForTokenClassification(config).eval()


@pytest.fixture(scope="module")
def run(write_recipe, tmp_path_factory):
    """A causal tagger that was given every window twice."""
    directory = tmp_path_factory.mktemp("runs")
    fields = {"unmask": "none", "num_copies": 2, "max_length": 32, "num_train_epochs": 30, "learning_rate": 5e-3}
    assert main([write_recipe(directory, **fields)]) == 0
    return directory / "run"


def results_of(run) -> dict:
    return json.loads((run / "results.json").read_text(encoding="utf-8"))


def logits_of_words(model, tokenizer, tokens, num_copies) -> torch.Tensor:
    """The logits with which each word is tagged."""
    features = align([tokens], None, tokenizer, {}, max_length=64, stride=0, num_copies=num_copies)
    with torch.no_grad():
        [logits] = model(input_ids=torch.tensor(features["input_ids"])).logits
    return logits[torch.tensor(features["word_idx"][0]) >= 0]


def test_a_model_is_given_all_copies_and_read_in_the_last():
    input_ids, word_idx = repeat([1, 7, 8, 9], [-1, 0, -1, 1], num_copies=3)
    assert input_ids == [1, 7, 8, 9, 1, 7, 8, 9, 1, 7, 8, 9]
    assert word_idx == [-1, -1, -1, -1, -1, -1, -1, -1, -1, 0, -1, 1]


def test_a_window_given_once_is_the_window():
    assert repeat([1, 7, 8, 9], [-1, 0, -1, 1], num_copies=1) == ([1, 7, 8, 9], [-1, 0, -1, 1])
    assert describe_copies(1) == ""


@pytest.mark.parametrize("num_copies", [2, 3])
def test_a_causal_model_sees_the_words_to_the_right_in_the_last_copy(causal_model, llama3, num_copies):
    now, then = (logits_of_words(causal_model, llama3, tokens, num_copies) for tokens in (NOW, THEN))
    assert ((now - then).abs().amax(-1) > 1e-4).tolist() == [True, True, True, True]


def test_it_does_not_see_them_in_a_window_given_once(causal_model, llama3):
    now, then = (logits_of_words(causal_model, llama3, tokens, 1) for tokens in (NOW, THEN))
    assert ((now - then).abs().amax(-1) > 1e-6).tolist() == [False, False, False, True]


def test_what_only_the_right_context_decides_is_learned_by_a_causal_model(run):
    model, _ = decausal.load(run)
    assert decausal.unmasked_layers(model) == ()
    assert results_of(run)["scores"]["test"]["f1"] > 90


def test_a_saved_run_tags_as_it_did_while_training(run, corpus):
    tagger = Tagger.from_pretrained(run)
    assert tagger.evaluate(str(corpus / "test.tsv")).to_dict() == results_of(run)["scores"]["test"]


@pytest.mark.parametrize(
    "extra",
    [
        {"unmask": "0011"},
        {"unmask": "011", "num_hidden_layers": 3},
        {"unmask": "none", "num_hidden_layers": 2, "num_copies": 3, "label_position": "last"},
        {"unmask": "1111", "use_peft": False},
    ],
)
def test_so_it_does_with_any_pattern_and_any_layers(recipe, tmp_path, corpus, extra):
    assert main([recipe(**{"num_copies": 2, "num_train_epochs": 4} | extra)]) == 0
    tagger = Tagger.from_pretrained(tmp_path / "run")
    assert tagger.evaluate(str(corpus / "test.tsv")).to_dict() == results_of(tmp_path / "run")["scores"]["test"]


def test_the_pipeline_tags_as_the_tagger_does_in_long_texts_too(run):
    model, tokenizer = decausal.load(run)
    tag = pipeline("token-classification", model, tokenizer=tokenizer, pipeline_class=TaggerPipeline)
    words = ["a", "house", "now", ".", "the", "then", "."] * 10
    [sentence] = Tagger.from_pretrained(run).tag([words])
    found = tag(" ".join(words), ignore_labels=[])
    assert [word["entity"] for word in found] == sentence.tags
    assert [word["score"] for word in found] == pytest.approx(sentence.scores, abs=1e-5)
    assert len(sentence.entities) >= 10
    assert [word["entity"] for word in tag("a house now .")] == ["B-PER"]
    assert [word["entity"] for word in tag("a house then .")] == ["B-LOC"]


def test_the_commands_tag_as_the_tagger_does(run, corpus):
    outcome = CliRunner().invoke(app, ["evaluate", str(run), "--test_file", str(corpus / "test.tsv"), "--json"])
    assert json.loads(outcome.stdout) == results_of(run)["scores"]["test"]
    outcome = CliRunner().invoke(app, ["predict", str(run), "-"], input="a house now .\n")
    assert outcome.stdout.startswith("a\tO\nhouse\tB-PER\nnow\tO\n.\tO\n")


def test_a_run_its_record_and_its_card_tell_of_the_copies(recipe, tmp_path, capsys):
    said = "num_copies=3: every window is given 3 times in a row, and tagged in the last copy"
    assert main([recipe(num_copies=3, unmask="none", max_steps=1)]) == 0
    printed = capsys.readouterr().out
    assert said in printed
    assert "positions of the model: windows are of 256, in 3 copies of 85" in printed
    record = json.loads((tmp_path / "run" / "config.json").read_text())["decausal"]
    assert record["tagging"] == {"max_length": 256, "stride": 21, "label_position": "first", "num_copies": 3}
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"all 4 layers are causal; {said}." in card
    assert "gives it every window once, without a message" in card


def test_a_run_whose_windows_are_given_once_does_not_speak_of_copies(recipe, tmp_path, capsys):
    assert main([recipe(max_steps=1)]) == 0
    assert "cop" not in capsys.readouterr().out
    assert "every window" not in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.parametrize("number", [1, 3])
def test_resuming_with_another_number_of_copies_is_refused(recipe, run, capsys, number):
    fields = {"unmask": "none", "max_length": 32, "num_train_epochs": 30, "learning_rate": 5e-3}
    assert main([recipe(**fields, num_copies=number, output_dir=str(run), resume_from_checkpoint="true")]) == 1
    assert f"was trained with num_copies=2, but this run means {number}: resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_copies": 0}, "num_copies=0: give at least 1, or leave it out."),
        ({"num_copies": -1}, "num_copies=-1: give at least 1, or leave it out."),
        ({"num_copies": 9, "max_length": 8}, "max_length=8, num_copies=9, stride=0: with 0 special tokens each of 9"),
        ({"num_copies": 2, "max_length": 32, "stride": 16}, "2 copies of a window holds 16 sub-words, and neighbours"),
    ],
)
def test_copies_that_cannot_be_are_one_message(recipe, capsys, fields, message):
    assert main([recipe(**fields)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("error:") == 1


def test_a_plan_counts_the_sub_words_of_all_copies(recipe):
    twice, once = (make_plan([recipe(num_copies=number)]) for number in (2, 1))
    assert twice.epoch.tokens == 2 * once.epoch.tokens
    assert twice.epoch.longest > once.epoch.longest
    assert "Sub-words are those of 2 copies of every window." in twice.notes
