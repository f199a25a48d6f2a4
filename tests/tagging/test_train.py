"""Whole runs on a small model, in this process; launchers are tested where processes are."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from transformers import AutoModelForTokenClassification

import decausal
from decausal.tagging.predict import Tagger
from decausal.tagging.train import main
from decausal.tagging.trainer import TaggingTrainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def run(tmp_path) -> Path:
    return tmp_path / "run"


@pytest.fixture(scope="module")
def finished(base_model, corpus, tmp_path_factory) -> Path:
    """A run of one epoch, six steps, with its checkpoint."""
    directory = tmp_path_factory.mktemp("runs") / "finished"
    recipe = directory.parent / "recipe.yaml"
    fields = {
        "model_name_or_path": base_model,
        "unmask": "1111",
        "train_file": str(corpus / "train.tsv"),
        "validation_file": str(corpus / "validation.tsv"),
        "num_train_epochs": 1,
        "per_device_train_batch_size": 16,
        "learning_rate": 1e-2,
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        "output_dir": str(directory),
    }
    recipe.write_text(yaml.safe_dump(fields))
    assert main([str(recipe)]) == 0
    return directory


def results_of(run: Path) -> dict:
    return json.loads((run / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("extra", [{}, {"load_in_4bit": True}, {"use_peft": False, "learning_rate": 3e-3}])
def test_what_only_the_right_context_decides_is_learned_unmasked(recipe, run, extra):
    assert main([recipe(num_train_epochs=30, **({"learning_rate": 5e-3} | extra))]) == 0
    assert results_of(run)["scores"]["test"]["f1"] > 90


def test_the_causal_twin_cannot_learn_it(recipe, run):
    assert main([recipe(num_train_epochs=30, learning_rate=5e-3, unmask="none")]) == 0
    assert results_of(run)["scores"]["test"]["f1"] < 75


@pytest.mark.parametrize("extra", [{}, {"load_in_4bit": True}, {"dtype": "bfloat16"}, {"use_peft": False}])
def test_a_saved_run_tags_as_it_did_while_training(recipe, run, corpus, extra):
    assert main([recipe(num_train_epochs=4, unmask="0111", **extra)]) == 0
    tagger = Tagger.from_pretrained(run)
    assert decausal.unmasked_layers(tagger.model) == (1, 2, 3)
    scores = tagger.evaluate(str(corpus / "test.tsv"))
    assert scores.to_dict() == results_of(run)["scores"]["test"]


def test_a_tagger_without_prefix_spaces_cuts_words_as_in_training(recipe, run, corpus):
    assert main([recipe(num_train_epochs=4, unmask="0111", add_prefix_space=False)]) == 0
    scores = Tagger.from_pretrained(run).evaluate(str(corpus / "test.tsv"))
    assert scores.to_dict() == results_of(run)["scores"]["test"]


def test_plain_transformers_does_not_load_an_adapter_run_silently(recipe, run):
    assert main([recipe()]) == 0
    with pytest.raises(OSError, match="no file named model"):
        AutoModelForTokenClassification.from_pretrained(run)


def test_a_run_says_everything_its_scores_depend_on(recipe, run, capsys):
    assert main([recipe(unmask="0011", seed=3)]) == 0
    printed = capsys.readouterr().out
    assert 'unmask="0011": layers 2-3 of 4 are bidirectional' in printed
    assert "audit passed" in printed
    results = results_of(run)
    assert (results["unmask"], results["seed"], results["steps"]) == ("0011", 3, 6)
    assert results["versions"]["decausal"]
    assert results["data"]["train"]["sentences"] == 96
    assert results["windows"]["test"]["sentences_in_several_windows"] == 0
    assert results["scores"]["test"]["types"].keys() == {"LOC", "PER"}


def test_a_run_has_a_model_card_that_warns_and_shows_scores(recipe, run):
    assert main([recipe()]) == 0
    card = (run / "README.md").read_text(encoding="utf-8")
    assert "Plain transformers knows nothing of the pattern" in card
    assert f"| test | {results_of(run)['scores']['test']['f1']:.2f} |" in card
    assert "### test, by type" in card
    assert (run / "training_curves.png").stat().st_size > 5000


def test_the_card_of_a_causal_run_does_not_speak_of_unmasked_layers(recipe, run):
    assert main([recipe(unmask="none")]) == 0
    card = (run / "README.md").read_text(encoding="utf-8")
    assert "Plain transformers" not in card
    assert f'Tagger.from_pretrained("{run}")' in card


def test_without_validation_data_the_card_says_that_the_last_weights_are_kept(recipe, run):
    assert main([recipe(validation_file=None)]) == 0
    assert "the last weights, seed" in (run / "README.md").read_text(encoding="utf-8")


def test_the_same_seed_gives_the_same_run(recipe, tmp_path):
    losses = []
    for name in ("a", "b"):
        assert main([recipe(), "--output_dir", str(tmp_path / name)]) == 0
        losses.append([entry.get("eval_loss") for entry in results_of(tmp_path / name)["log"]])
    assert losses[0] == losses[1]


def test_another_run_is_never_overwritten_without_being_asked(recipe, run, capsys):
    run.mkdir()
    (run / "precious").write_text("mine")
    assert main([recipe()]) == 1
    assert "is not empty and is left alone. It holds no run" in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == ["precious"]


def test_an_overwritten_run_leaves_nothing_behind(recipe, run, corpus):
    assert main([recipe()]) == 0
    (run / "mine.txt").write_text("kept")
    assert main([recipe(use_peft=False, overwrite_output_dir=True)]) == 0
    assert not (run / "adapter_config.json").exists()
    assert (run / "mine.txt").exists()
    scores = Tagger.from_pretrained(run).evaluate(str(corpus / "test.tsv"))
    assert scores.to_dict() == results_of(run)["scores"]["test"]


def test_what_is_used_of_a_file_is_said(recipe, run, capsys):
    assert main([recipe(max_train_samples=40, eval_strategy="no", load_best_model_at_end=False)]) == 0
    assert "96 sentences, " in capsys.readouterr().out
    lines = results_of(run)["data_lines"]
    assert "; the first 40 used as 40 windows" in lines["train"]
    assert "; used as 33 windows" in lines["test"]
    assert lines["train"] in (run / "README.md").read_text()


def test_resuming_gives_the_uninterrupted_runs_weights(recipe, run, tmp_path, capsys):
    whole = tmp_path / "whole"
    fields = {"num_train_epochs": 4, "load_best_model_at_end": False}
    assert main([recipe(**fields), "--output_dir", str(whole)]) == 0
    # Six steps make an epoch: stopped in the middle of the third, when a best checkpoint is there already.
    command = [sys.executable, "-W", "ignore", "-c", _STOPPED_AT_STEP_15, recipe(**fields)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 130
    assert not (run / "results.json").exists()
    assert (run / "checkpoint-15").is_dir()
    assert main([recipe(**fields), "--resume_from_checkpoint", "true"]) == 0
    assert f"going on from {run / 'checkpoint-15'}" in capsys.readouterr().out
    assert results_of(run)["scores"] == results_of(whole)["scores"]
    found, expected = (safetensors.torch.load_file(place / "adapter_model.safetensors") for place in (run, whole))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


_STOPPED_AT_STEP_15 = """
import os, signal, sys
from decausal.tagging import train
class Stop(train.StopOnSignal):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 15:
            os.kill(os.getpid(), signal.SIGINT)
        return super().on_step_end(args, state, control, **kwargs)
train.StopOnSignal = Stop
sys.exit(train.main(sys.argv[1:]))
"""


def test_resuming_with_other_training_data_is_refused(recipe, finished, corpus, capsys):
    fields = {"output_dir": str(finished), "resume_from_checkpoint": "true"}
    assert main([recipe(train_file=str(corpus / "validation.tsv"), **fields)]) == 1
    assert "was trained with training data (SHA-256)=" in capsys.readouterr().err


def test_resuming_with_other_labels_is_refused(recipe, run, corpus, tmp_path, capsys):
    assert main([recipe()]) == 0
    other = tmp_path / "other.tsv"
    other.write_text((corpus / "train.tsv").read_text().replace("LOC", "ORG"))
    assert main([recipe(train_file=str(other)), "--resume_from_checkpoint", "true"]) == 1
    assert "O, B-LOC, I-LOC, B-PER, I-PER, but the training data has O, B-ORG" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"unmask": "0011"}, "layers=[0, 1, 2, 3], but this run means [2, 3]"),
        ({"window": "full"}, "window=symmetric, but this run means full"),
        ({"label_position": "last"}, "label_position=first, but this run means last"),
        ({"max_length": 100}, "max_length=256, but this run means 100"),
        ({"lora_r": 3}, "lora_r=16, but this run means 3"),
        ({"use_peft": False}, "use_peft=True, but this run means False"),
        ({"load_in_4bit": True}, "load_in_4bit=False, but this run means True"),
        ({"lora_target_modules": ["q_proj"]}, "lora_target_modules=None, but this run means"),
        ({"seed": 7}, "seed=42, but this run means 7"),
        ({"learning_rate": 1e-4}, "learning_rate=0.01, but this run means 0.0001"),
        ({"max_train_samples": 90}, "max_train_samples=None, but this run means 90"),
    ],
)
def test_resuming_with_another_recipe_is_refused(recipe, finished, capsys, field, message):
    assert main([recipe(output_dir=str(finished), resume_from_checkpoint="true", **field)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("contents", "message"), [(b"short", "adapter_model.safetensors is damaged"), (None, "has no")]
)
def test_resuming_needs_whole_safetensors(recipe, finished, tmp_path, capsys, contents, message):
    run = shutil.copytree(finished, tmp_path / "copy")
    weights = next(run.glob("checkpoint-*")) / "adapter_model.safetensors"
    torch.save(safetensors.torch.load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    if contents:
        weights.write_bytes(contents)
    assert main([recipe(output_dir=str(run), resume_from_checkpoint="true")]) == 1
    assert message in capsys.readouterr().err


def test_a_checkpoint_whose_writing_was_cut_off_is_passed_over(recipe, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "copy")
    shutil.copytree(run / "checkpoint-6", run / "checkpoint-9")
    (run / "checkpoint-9" / "trainer_state.json").unlink()
    fields = {"output_dir": str(run), "num_train_epochs": 2}
    assert main([recipe(**fields, resume_from_checkpoint="true")]) == 0
    assert results_of(run)["steps"] == 12
    assert main([recipe(**fields, resume_from_checkpoint=str(run / "checkpoint-9"))]) == 1


@pytest.mark.parametrize("mistake", [{"train_file": "nothing.tsv"}, {"unmask": "00111"}])
def test_a_run_is_overwritten_only_when_the_new_one_can_begin(recipe, run, mistake):
    assert main([recipe()]) == 0
    before = results_of(run)
    assert main([recipe(overwrite_output_dir=True, **mistake)]) == 1
    assert results_of(run) == before
    assert (run / "adapter_model.safetensors").exists()


def test_a_model_inside_the_directory_to_overwrite_is_refused(recipe, run, capsys):
    assert main([recipe()]) == 0
    assert main([recipe(overwrite_output_dir=True, model_name_or_path=str(run))]) == 1
    assert "lies in output_dir" in capsys.readouterr().err


def test_resuming_from_nothing_is_refused(recipe, capsys):
    assert main([recipe(), "--resume_from_checkpoint", "true"]) == 1
    assert "holds no complete checkpoint" in capsys.readouterr().err


def test_one_command_begins_goes_on_and_ends_however_often_it_is_started(recipe, run, capsys):
    (run / "checkpoint-3").mkdir(parents=True)  # what a run leaves that is killed while it saves for the first time
    command = [recipe(), "--resume_from_checkpoint", "auto"]
    assert main(command) == 0
    assert not (run / "checkpoint-3").exists()
    results = results_of(run)
    assert "going on from" not in capsys.readouterr().out
    assert main(command) == 0
    assert f"going on from {run / 'checkpoint-6'}" in capsys.readouterr().out
    assert results_of(run)["scores"] == results["scores"]


def test_what_is_no_run_is_left_alone_by_such_a_command_too(recipe, run, capsys):
    run.mkdir()
    (run / "thesis.tex").touch()
    assert main([recipe(), "--resume_from_checkpoint", "auto"]) == 1
    assert "is not empty and is left alone" in capsys.readouterr().err


def test_labels_that_the_training_data_lacks_are_counted_and_missed(recipe, run, corpus, tmp_path, capsys):
    other = tmp_path / "other.tsv"
    other.write_text((corpus / "test.tsv").read_text().replace("LOC", "ORG"))
    assert main([recipe(test_file=str(other))]) == 0
    assert "test has" in capsys.readouterr().out
    assert results_of(run)["scores"]["test"]["types"]["ORG"]["recall"] == 0


@pytest.mark.parametrize(
    ("field", "contents", "message"),
    [
        ("train_file", None, "no such file"),
        ("train_file", b"", "empty"),
        ("train_file", b"a\0b\tO\n", "binary"),
        ("train_file", "caf\xe9\tO\n".encode("latin-1"), "UTF-8"),
        ("train_file", b"a\tO\n\nb\n", ":3"),
        ("train_file", b"a\tB-\n", ":1"),
    ],
)
def test_bad_data_is_one_message_and_exit_status_one(recipe, tmp_path, capsys, field, contents, message):
    path = tmp_path / "bad.tsv"
    if contents is not None:
        path.write_bytes(contents)
    assert main([recipe(**{field: str(path)})]) == 1
    error = capsys.readouterr().err
    assert error.count("error:") == 1
    assert "bad.tsv" in error
    assert message.lower() in error.lower()


def test_a_loss_that_is_no_number_stops_the_run(recipe, run, capsys, monkeypatch):
    monkeypatch.setattr(
        "decausal.tagging.trainer.token_mean_loss",
        lambda outputs, labels, **_: outputs.logits.sum() * float("nan"),
    )
    assert main([recipe()]) == 1
    assert "the loss of step 1 is nan: lower learning_rate (0.01)" in capsys.readouterr().err
    assert not (run / "results.json").exists()


def test_a_failed_audit_stops_the_run_before_its_first_step(recipe, run, capsys, monkeypatch):
    def forget(model, *_, **__):
        return decausal.Handle(model, (), "nothing was attached")

    monkeypatch.setattr("decausal.tagging.model.unmask", forget)
    assert main([recipe()]) == 1
    assert "the audit failed before the first step" in capsys.readouterr().err
    assert not (run / "results.json").exists()


# The adapter takes 0.27 MB and the optimizer's state 0.57 MB: one limit stops the first, the other the second.
@pytest.mark.parametrize("limit", [pytest.param(100_000, marks=pytest.mark.long), 400_000])
def test_a_full_disk_is_one_message_and_leaves_no_checkpoint_to_resume(recipe, run, limit):
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from decausal.tagging.train import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, recipe()]
    outcome = subprocess.run(command, check=False, capture_output=True, text=True)
    assert outcome.returncode == 1
    assert f"error: {run / 'checkpoint-6'} could not be written (" in outcome.stderr
    assert " MiB are free there)." in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert main([recipe(), "--resume_from_checkpoint", "true"]) == 1


def test_training_data_without_an_entity_is_refused(recipe, tmp_path, capsys):
    path = tmp_path / "plain.tsv"
    path.write_text("a\tO\nhouse\tO\n\n")
    assert main([recipe(train_file=str(path))]) == 1
    assert "none of its 2 words is tagged as anything but O" in capsys.readouterr().err


def test_windows_in_which_nothing_is_labelled_are_left_out_of_training(recipe, tmp_path, capsys):
    path = tmp_path / "long_word.tsv"
    path.write_text("a\tO\nhouse\tB-PER\nnow\tO\n\n" + "o" * 90 + "\tO\n\n")
    fields = {"train_file": str(path), "max_length": 8, "stride": 0, "per_device_train_batch_size": 1}
    assert main([recipe(**fields)]) == 0
    assert "without a labelled word left out" in capsys.readouterr().out


def test_windows_are_no_longer_than_the_model_has_positions(recipe, run, capsys):
    assert main([recipe(max_steps=1)]) == 0
    assert "max_length=512 is more than the 256 positions of the model" in capsys.readouterr().out
    record = json.loads((run / "config.json").read_text())["decausal"]
    assert record["tagging"] == {"max_length": 256, "stride": 64, "label_position": "first", "num_copies": 1}


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"report_to": "wandb"}, "report_to="),
        ({"model_name_or_path": "./nowhere"}, "./nowhere: no such directory"),
        ({"model_name_or_path": "nowhere/nothing"}, "model_name_or_path=nowhere/nothing: no model"),
        ({"attn_implementation": "flash_attention_2"}, "FlashAttention2"),
    ],
)
def test_what_is_not_installed_is_one_message(recipe, capsys, field, message):
    assert main([recipe(**field)]) == 1
    assert message in capsys.readouterr().err


def test_a_signal_during_a_validation_saves_at_once_and_the_validation_is_made_up_for(recipe, run, tmp_path, capsys):
    assert main([recipe(num_train_epochs=2), "--output_dir", str(tmp_path / "whole")]) == 0
    command = [sys.executable, "-W", "ignore", "-c", _STOPPED_IN_LAST_VALIDATION, recipe(num_train_epochs=2)]
    outcome = subprocess.run(command, check=False, capture_output=True, text=True)
    assert outcome.returncode == 130
    assert "stopped by SIGTERM" in outcome.stdout
    assert main([recipe(num_train_epochs=2), "--resume_from_checkpoint", "true"]) == 0
    assert f"going on from {run / 'checkpoint-12'}" in capsys.readouterr().out
    scores = [[entry.get("eval_f1") for entry in results_of(place)["log"]] for place in (run, tmp_path / "whole")]
    assert [score for score in scores[0] if score is not None] == [score for score in scores[1] if score is not None]
    assert results_of(run)["scores"] == results_of(tmp_path / "whole")["scores"]


_STOPPED_IN_LAST_VALIDATION = """
import os, signal, sys
from decausal.tagging import train
class Stop(train.StopOnSignal):
    def on_prediction_step(self, args, state, control, **kwargs):
        if state.global_step == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        super().on_prediction_step(args, state, control, **kwargs)
train.StopOnSignal = Stop
sys.exit(train.main(sys.argv[1:]))
"""


def test_ctrl_c_before_training_is_one_message(recipe, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("decausal.tagging.train.build_model", interrupted)
    assert main([recipe()]) == 130
    assert "stopped by SIGINT" in capsys.readouterr().err


def test_a_sentence_longer_than_the_limit_is_scored_word_by_word(recipe, run, tmp_path):
    path = tmp_path / "long.tsv"
    path.write_text("".join(f"{word}\t{tag}\n" for word, tag in [("a", "O"), ("house", "B-PER"), ("now", "O")] * 30))
    assert main([recipe(test_file=str(path), max_length=24, stride=8)]) == 0
    results = results_of(run)
    assert results["windows"]["test"]["sentences_in_several_windows"] == 1
    assert results["scores"]["test"]["support"] == 30


def test_early_stopping_ends_a_run_that_no_longer_gains(recipe, run):
    assert main([recipe(num_train_epochs=30, early_stopping_patience=2, learning_rate=0.0)]) == 0
    assert results_of(run)["epochs"] == 3


@pytest.mark.parametrize(("loss", "status"), [(1.0, 0), (float("nan"), 1)])
def test_signals_are_listened_to_only_while_training(recipe, monkeypatch, loss, status):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(
        "decausal.tagging.trainer.token_mean_loss",
        lambda outputs, labels, **_: outputs.logits.sum() * loss,
    )
    assert main([recipe()]) == status
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_the_last_step_lets_a_run_end_that_has_nothing_to_validate(recipe, run, monkeypatch):
    step = TaggingTrainer.training_step

    def interrupted(self, *args, **kwargs):
        if self.state.global_step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(TaggingTrainer, "training_step", interrupted)
    assert main([recipe(validation_file=None)]) == 0
    assert results_of(run)["steps"] == 6
