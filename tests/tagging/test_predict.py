import json
import os
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import decausal
from decausal.cli import app, main
from decausal.tagging.predict import TaggedSentence, Tagger
from decausal.tagging.train import main as train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def checkpoint(base_model, corpus, tmp_path_factory):
    """A tagger that has learned the small task, layers 1-3 unmasked."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    recipe = directory.parent / "recipe.yaml"
    files = "".join(f"{split}_file: {corpus / f'{split}.tsv'}\n" for split in ("train", "validation", "test"))
    recipe.write_text(
        f"model_name_or_path: {base_model}\nunmask: '0111'\n{files}num_train_epochs: 8\nlearning_rate: 1.0e-2\n"
        f"per_device_train_batch_size: 16\nuse_cpu: true\ndisable_tqdm: true\noutput_dir: {directory}\n"
    )
    assert train([str(recipe)]) == 0
    return directory


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


def test_the_command_line_tags_a_file_as_columns_and_as_json(checkpoint, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a house now .\nthe then .\n")
    columns = CliRunner().invoke(app, ["predict", str(checkpoint), str(path)])
    assert columns.output.startswith("a\tO\nhouse\tB-PER\nnow\tO\n.\tO\n\nthe\tB-LOC\n")
    lines = CliRunner().invoke(app, ["predict", str(checkpoint), str(path), "--output", "jsonl"]).output.splitlines()
    assert json.loads(lines[1])["tags"] == ["B-LOC", "O", "O"]


def test_the_command_line_tags_standard_input_in_color(checkpoint):
    result = CliRunner().invoke(app, ["predict", str(checkpoint), "-", "--output", "color"], input="a house now .\n")
    assert "house" in result.output
    assert "PER" in result.output
    assert "\033[" in result.output


def test_the_command_line_scores_a_file(checkpoint, corpus):
    result = CliRunner().invoke(app, ["evaluate", str(checkpoint), "--test_file", str(corpus / "test.tsv"), "--json"])
    saved = json.loads((checkpoint / "results.json").read_text())
    assert json.loads(result.stdout) == saved["scores"]["test"]


def test_the_command_line_reads_any_columns(checkpoint, tmp_path):
    path = tmp_path / "columns.csv"
    path.write_text("1;B-PER;house\n2;O;now\n3;O;.\n")
    options = [str(checkpoint), "--separator", ";", "--file_format", "conll", "--columns", "2,1"]
    tagged = CliRunner().invoke(app, ["predict", *options, str(path)])
    assert tagged.output == "house\tB-PER\nnow\tO\n.\tO\n\n"
    scores = CliRunner().invoke(app, ["evaluate", *options, "--test_file", str(path), "--json"])
    assert json.loads(scores.stdout)["f1"] == 100


def test_the_command_line_launches_a_run_with_a_launch_file(recipe, tmp_path):
    launch = tmp_path / "launch.yaml"
    launch.write_text("compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nnum_processes: 1\nuse_cpu: true\n")
    command = ["train", recipe(), "--launch", str(launch), "--unmask", "0011", "--max_steps", "1"]
    subprocess.run([sys.executable, "-m", "decausal.cli", *command], check=True, timeout=240)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["unmask"] == "0011"


def test_the_command_line_ends_with_the_runs_one_message(recipe):
    command = [sys.executable, "-W", "ignore", "-m", "decausal.cli", "train", recipe(), "--unmsak", "0011"]
    outcome = subprocess.run(command, timeout=240, check=False, capture_output=True, text=True)
    assert outcome.returncode == 1
    assert "did you mean 'unmask'?" in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_line_waits_until_a_stopped_run_is_saved(recipe, tmp_path, number):
    fields = ["--num_train_epochs", "100", "--logging_steps", "1", "--eval_strategy", "no"]
    command = [sys.executable, "-u", "-W", "ignore", "-m", "decausal.cli", "train", recipe(), *fields]
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


def test_errors_of_the_command_line_are_one_message(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["decausal", "predict", str(tmp_path), str(tmp_path / "none.txt")])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 1
    assert capsys.readouterr().err.startswith("error: ")
