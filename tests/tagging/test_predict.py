import io
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForTokenClassification
from typer.testing import CliRunner

import decausal
import small_tokenizers
from decausal._checkpoint import make_record
from decausal.cli import app, main
from decausal.tagging.data import read_sentences
from decausal.tagging.predict import TaggedSentence, Tagger
from decausal.tagging.train import main as train

HINT = "if it was meant otherwise, say so with --file_format"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def checkpoint(write_recipe, tmp_path_factory):
    """A tagger that has learned the small task, layers 1-3 unmasked."""
    directory = tmp_path_factory.mktemp("runs")
    assert train([write_recipe(directory, unmask="0111", num_train_epochs=8)]) == 0
    return directory / "run"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A BERT of random weights, saved as a run with the pattern none saves it."""
    directory = tmp_path_factory.mktemp("runs") / "encoder"
    tokenizer = small_tokenizers.bert()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    config.decausal = make_record(config, "none")
    BertForTokenClassification(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def fail(monkeypatch, capsys):
    """Runs a command that ends with status 1, and returns what it writes to the standard error."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["decausal", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        assert exit_info.value.code == 1
        return capsys.readouterr().err

    return run


def test_sentences_come_back_in_their_order_whatever_the_batch_size(checkpoint):
    sentences = [["a", "house", "now", "."], [], ["the", "then", "."], ["a", "a", "in", "now", "."]] * 3
    one = Tagger.from_pretrained(checkpoint, batch_size=1).tag(sentences)
    many = Tagger.from_pretrained(checkpoint, batch_size=32).tag(sentences)
    assert [sentence.tokens for sentence in many] == sentences
    assert [sentence.tags for sentence in one] == [sentence.tags for sentence in many]
    assert many[0].tags == ["O", "B-PER", "O", "O"]
    assert many[2].tags == ["B-LOC", "O", "O"]
    assert all(0.2 < score <= 1 for sentence in many for score in sentence.scores)


def test_a_word_that_the_tokenizer_drops_still_gets_a_tag(checkpoint):
    tagged = Tagger.from_pretrained(checkpoint).tag([["a", "", "house", "now"]])[0]
    assert len(tagged.tags) == 4
    assert tagged.tags[1] == "O"


def test_entities_are_read_from_tags():
    sentence = TaggedSentence(list("abcde"), ["B-A", "I-A", "B-A", "I-B", "O"], [None] * 5)
    assert sentence.entities == [("A", 0, 2), ("A", 2, 3)]


def test_another_tasks_file_is_refused(checkpoint, tmp_path):
    path = tmp_path / "other.tsv"
    path.write_text("dogs\tB-NP\nbark\tB-VP\n")
    with pytest.raises(decausal.DataError, match="nothing in common"):
        Tagger.from_pretrained(checkpoint).evaluate(str(path))


def test_tags_that_the_model_lacks_are_a_warning_with_their_number(checkpoint, tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("house\tB-PER\nnow\tO\n\nhouse\tB-CITY\n")
    with pytest.warns(UserWarning, match=r"test\.tsv has 1 tags of B-CITY, which the model lacks"):
        scores = Tagger.from_pretrained(checkpoint).evaluate(str(path))
    assert scores.strict.support == 2


def test_repairs_are_a_warning_with_their_number(checkpoint, tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("house\tI-PER\nnow\tO\n")
    with pytest.warns(UserWarning, match="tags repaired: 1"):
        Tagger.from_pretrained(checkpoint).evaluate(str(path), tag_scheme="IOB2")


@pytest.mark.parametrize("part", ["score.weight", "layers.0.self_attn.q_proj.lora_B"])
def test_an_adapter_file_that_lacks_a_part_is_refused(checkpoint, tmp_path, part):
    run = shutil.copytree(checkpoint, tmp_path / "copy")
    weights = load_file(run / "adapter_model.safetensors")
    save_file({k: w for k, w in weights.items() if part not in k}, run / "adapter_model.safetensors")
    with pytest.raises(decausal.CheckpointError, match=f"the adapter cannot be loaded.*{part}"):
        Tagger.from_pretrained(run)


def test_bare_tags_are_scored_as_those_of_the_training_data_were_read(recipe, tmp_path):
    (tmp_path / "train.tsv").write_text("a\tO\nhouse\tPER\nnow\tO\n")
    (tmp_path / "test.tsv").write_text("the\tPER\nhouse\tPER\nin\tO\na\tO\nwas\tO\n")
    files = {"train_file": str(tmp_path / "train.tsv"), "validation_file": None, "test_file": None}
    assert train([recipe(**files)]) == 0
    assert Tagger.from_pretrained(tmp_path / "run").evaluate(str(tmp_path / "test.tsv")).strict.support == 2
    options = ["evaluate", str(tmp_path / "run"), "--test_file", str(tmp_path / "test.tsv")]
    assert "bare-words" in CliRunner().invoke(app, options).stderr
    assert "bare-runs" in CliRunner().invoke(app, [*options, "--tag_scheme", "auto"]).stderr


def test_sentences_in_memory_are_scored_as_those_of_a_file(checkpoint, corpus):
    tagger = Tagger.from_pretrained(checkpoint)
    sentences, _ = read_sentences(corpus / "test.tsv")
    assert tagger.score(sentences) == tagger.evaluate(str(corpus / "test.tsv"))


def test_the_command_line_tags_a_file_as_columns_and_as_json(checkpoint, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a house now .\nthe then .\n")
    columns = CliRunner().invoke(app, ["predict", str(checkpoint), str(path)])
    assert columns.stderr == f"{path} (words): 2 sentences, 7 words; {HINT}\n"
    assert columns.stdout.startswith("a\tO\nhouse\tB-PER\nnow\tO\n.\tO\n\nthe\tB-LOC\n")
    lines = CliRunner().invoke(app, ["predict", str(checkpoint), str(path), "--output", "jsonl"]).stdout.splitlines()
    assert json.loads(lines[1])["tags"] == ["B-LOC", "O", "O"]


def test_a_file_is_tagged_piece_by_piece(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "words.txt"
    path.write_text("a house now .\n\nthe then .\na b c\n")
    command = ["predict", str(checkpoint), str(path), "--output", "jsonl"]
    whole = CliRunner().invoke(app, command).stdout
    monkeypatch.setattr("decausal.cli.taggers._SENTENCES_AT_ONCE", 1)
    assert len(whole.splitlines()) == 4
    assert CliRunner().invoke(app, command).stdout == whole


def test_the_command_line_tags_standard_input_in_color(checkpoint):
    result = CliRunner().invoke(app, ["predict", str(checkpoint), "-", "--output", "color"], input="a house now .\n")
    assert "house" in result.output
    assert "PER" in result.output
    assert "\033[" in result.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 man was hurt in the house\n", "1 man was hurt in the house"),
        ("I take vitamin O\n", "I take vitamin O"),
        ("1 house now\n2 houses then\n", "1 house now  2 houses then"),
    ],
)
def test_the_command_line_tags_every_word_of_a_text(checkpoint, text, words):
    tagged = CliRunner().invoke(app, ["predict", str(checkpoint), "-"], input=text).stdout.splitlines()
    assert " ".join(line.partition("\t")[0] for line in tagged) == f"{words} "


def test_the_command_line_writes_a_line_for_every_line_even_a_blank_one(checkpoint):
    command, text = ["predict", str(checkpoint), "-", "--output"], "a house now .\n\nthe then .\n"
    lines = CliRunner().invoke(app, [*command, "jsonl"], input=text).stdout.splitlines()
    assert json.loads(lines[1]) == {"tokens": [], "tags": [], "scores": []}
    assert json.loads(lines[2])["tags"] == ["B-LOC", "O", "O"]
    colored = CliRunner().invoke(app, [*command, "color"], input=text).stdout.splitlines()
    assert [bool(line) for line in colored] == [True, False, True]
    columns = CliRunner().invoke(app, [*command, "conll"], input=text).stdout
    assert columns.count("\n\n") == 2
    assert "\n\n\n" not in columns


@pytest.mark.parametrize("word", ["New\tYork", "New\nYork", ""])
def test_the_command_line_refuses_columns_that_a_word_would_break(checkpoint, tmp_path, fail, word):
    path = tmp_path / "words.jsonl"
    path.write_text(json.dumps({"tokens": []}) + "\n" + json.dumps({"tokens": ["in", word]}))
    assert f"error: sentence 2 has the word {word!r}" in fail("predict", checkpoint, path)


def test_an_empty_standard_input_has_no_words(checkpoint, fail, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert fail("predict", checkpoint) == "error: standard input: is empty; there are no words in it\n"


def test_an_interrupted_command_ends_with_status_130(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["decausal", "predict", str(checkpoint)])
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setattr("decausal.tagging.data.read_words", _interrupt)
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 130
    assert capsys.readouterr().err == ""


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_command_line_warns_of_unknown_and_repaired_tags_beside_the_json(checkpoint, tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("house\tI-PER\nnow\tO\n\nhouse\tB-CITY\n")
    options = ["--test_file", str(path), "--tag_scheme", "IOB2", "--json"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        result = CliRunner().invoke(app, ["evaluate", str(checkpoint), *options])
    assert json.loads(result.stdout)["support"] == 2
    assert f"{path} (conll, IOB2): 2 sentences, 3 words, 2 entities; tags repaired: 1\n" in result.stderr
    assert f"warning: {path} has 1 tags of B-CITY, which the model lacks" in result.stderr


def test_the_command_line_scores_a_file(checkpoint, corpus):
    result = CliRunner().invoke(app, ["evaluate", str(checkpoint), "--test_file", str(corpus / "test.tsv"), "--json"])
    saved = json.loads((checkpoint / "results.json").read_text())
    assert json.loads(result.stdout) == saved["scores"]["test"]


@pytest.mark.parametrize("text", ["a house now .", ["a house now ."]])
def test_running_text_is_no_list_of_words(checkpoint, text):
    with pytest.raises(TypeError, match=r"a sentence is a list of words here.*TaggerPipeline"):
        Tagger.from_pretrained(checkpoint).tag(text)


def test_the_command_line_reads_any_columns(checkpoint, tmp_path):
    path = tmp_path / "columns.csv"
    path.write_text("1;B-PER;house\n2;O;now\n3;O;.\n")
    options = [str(checkpoint), "--separator", ";", "--file_format", "conll", "--columns", "2,1"]
    tagged = CliRunner().invoke(app, ["predict", *options, str(path)])
    assert tagged.stdout == "house\tB-PER\nnow\tO\n.\tO\n\n"
    scores = CliRunner().invoke(app, ["evaluate", *options, "--test_file", str(path), "--json"])
    assert json.loads(scores.stdout)["f1"] == 100


def test_the_command_line_launches_a_run_with_a_launch_file(recipe, tmp_path):
    launch = tmp_path / "launch.yaml"
    launch.write_text("compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nnum_processes: 1\nuse_cpu: true\n")
    command = ["train", recipe(), "--launch", str(launch), "--unmask", "0011", "--max_steps", "1"]
    subprocess.run([sys.executable, "-m", "decausal", *command], check=True, timeout=240)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["unmask"] == "0011"


def test_the_command_line_ends_with_the_runs_one_message(recipe):
    command = [sys.executable, "-W", "ignore", "-m", "decausal", "train", recipe(), "--unmsak", "0011"]
    outcome = subprocess.run(command, timeout=240, check=False, capture_output=True, text=True)
    assert outcome.returncode == 1
    assert "did you mean 'unmask'?" in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_line_waits_until_a_stopped_run_is_saved(recipe, tmp_path, number):
    fields = ["--num_train_epochs", "100", "--logging_steps", "1", "--eval_strategy", "no"]
    command = [sys.executable, "-u", "-W", "ignore", "-m", "decausal", "train", recipe(), *fields]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}, **pipes) as run:
        next(line for line in run.stdout if "'loss'" in line)
        # Ctrl-C reaches every process of the terminal, a scheduler's SIGTERM may reach the launcher alone.
        (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)
        rest, errors = run.communicate(timeout=240)
    assert run.returncode == 1
    assert f"stopped by {number.name}; go on with the same command and --resume_from_checkpoint true" in rest
    assert "Traceback" not in errors
    assert next((tmp_path / "run").glob("checkpoint-*/trainer_state.json"))


def test_the_command_line_audits_a_saved_run(checkpoint):
    result = CliRunner().invoke(app, ["audit", str(checkpoint)])
    assert result.exit_code == 0
    assert "audit passed" in result.output


def test_an_audit_needs_no_tokenizer(checkpoint, tmp_path):
    bare = shutil.copytree(checkpoint, tmp_path / "bare")
    for file in bare.glob("tokenizer*"):
        file.unlink()
    assert CliRunner().invoke(app, ["audit", str(bare)]).exit_code == 0


def test_a_table_that_is_no_terminals_is_never_cut(checkpoint):
    output = CliRunner().invoke(app, ["audit", str(checkpoint)]).output
    assert output.count("LlamaAttention") == 4
    assert output.count("unmasked, as the pattern says") == 3


def test_an_encoder_has_no_pattern_to_audit_and_takes_none(encoder, fail):
    result = CliRunner().invoke(app, ["audit", str(encoder)])
    assert result.exit_code == 0
    assert "an encoder (model_type='bert'), which sees both sides" in result.output
    assert CliRunner().invoke(app, ["audit", str(encoder), "--unmask", "none"]).exit_code == 0
    assert "(model_type='bert') is an encoder" in fail("audit", encoder, "--unmask", "11")


def test_a_directory_without_a_model_is_called_so(tmp_path, fail):
    assert fail("audit", tmp_path) == f"error: {tmp_path} is no model directory: there is no config.json in it.\n"
    assert fail("audit", tmp_path / "nowhere") == f"error: {tmp_path / 'nowhere'}: no such directory.\n"


def test_weights_that_are_damaged_or_do_not_fit_are_one_line_that_names_them(base_model, tmp_path, fail):
    damaged, other = tmp_path / "damaged", tmp_path / "other"
    shutil.copytree(base_model, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert fail("audit", damaged).startswith(f"error: {weights} is damaged")
    shutil.copytree(base_model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    message = fail("audit", other)
    assert message.startswith(f"error: {other} cannot be loaded: ")
    assert message.count("\n") == 1


def test_a_kernel_that_cannot_run_here_is_one_line(base_model, fail):
    message = fail("audit", base_model, "--attn_implementation", "flash_attention_2")
    assert message.startswith(f"error: {base_model} cannot be loaded: ")
    assert message.count("\n") == 1


def test_the_command_line_holds_a_saved_run_against_another_pattern(checkpoint):
    assert CliRunner().invoke(app, ["audit", str(checkpoint), "--unmask", "0011"]).exit_code == 1


def test_the_command_line_audits_a_base_model_with_a_pattern(base_model):
    assert CliRunner().invoke(app, ["audit", base_model, "--unmask", "0011"]).exit_code == 0
    assert "unmask=none of 4 layers" in CliRunner().invoke(app, ["audit", base_model]).output


def test_an_audit_that_disagrees_ends_with_status_one(checkpoint, monkeypatch):
    import decausal._checkpoint as checkpoints

    monkeypatch.setattr(checkpoints, "unmask", lambda *_, **__: None)
    result = CliRunner().invoke(app, ["audit", str(checkpoint)])
    assert result.exit_code == 1
    assert "is causal, the pattern says unmasked" in " ".join(result.output.split())


def test_a_missing_extra_is_named(monkeypatch, fail, tmp_path):
    monkeypatch.setitem(sys.modules, "accelerate.commands.launch", None)
    (tmp_path / "recipe.yaml").touch()
    assert "pip install 'decausal[train]'" in fail("train", tmp_path / "recipe.yaml")


def test_errors_of_the_command_line_are_one_message(tmp_path, fail):
    assert fail("predict", tmp_path, tmp_path / "none.txt").startswith("error: ")
