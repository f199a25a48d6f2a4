"""One adapter for many patterns."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

import decausal
from decausal.tagging import shared
from decausal.tagging.predict import Tagger
from decausal.tagging.train import main

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

PATTERNS = ("00", "01", "10", "11")


@pytest.fixture
def run(tmp_path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def steps(monkeypatch) -> list[tuple[int, ...]]:
    """The layers that were open in every forward of a training step."""
    seen: list[tuple[int, ...]] = []
    compute_loss = shared.SharedTrainer.compute_loss

    def watched(trainer, model, *args, **kwargs):
        seen.append(decausal.unmasked_layers(model))
        return compute_loss(trainer, model, *args, **kwargs)

    monkeypatch.setattr(shared.SharedTrainer, "compute_loss", watched)
    return seen


def results_of(run: Path) -> dict:
    return json.loads((run / "results.json").read_text(encoding="utf-8"))


def shared_run(**fields: object) -> dict[str, object]:
    return {"unmask": "all", "shared_patterns": "groups:2", "eval_strategy": "no", **fields}


def test_every_round_of_steps_trains_each_pattern_once(recipe, run, steps):
    assert main([recipe(**shared_run(max_steps=8))]) == 0
    layers = {"00": (), "01": (2, 3), "10": (0, 1), "11": (0, 1, 2, 3)}
    training = steps[:8]
    assert Counter(training[:4]) == Counter(training[4:]) == Counter(layers.values())
    assert len(set(map(tuple, (training[:4], training[4:])))) == 2, "every round has an order of its own"


def test_the_micro_batches_of_a_step_have_one_pattern(recipe, run, steps):
    fields = {"shared_patterns": "01 11", "max_steps": 2, "gradient_accumulation_steps": 3}
    assert main([recipe(**shared_run(per_device_train_batch_size=4, **fields))]) == 0
    assert len({*steps[:3]}) == len({*steps[3:6]}) == 1
    assert steps[0] != steps[3]


def test_the_adapter_is_scored_as_a_tagger_with_each_pattern_scores(recipe, run, corpus):
    assert main([recipe(**shared_run(num_train_epochs=6))]) == 0
    scores = results_of(run)["patterns"]
    assert tuple(scores) == PATTERNS
    assert len({facts["loss"] for facts in scores.values()}) == 4, "each pattern tags in its own way"
    tagger = Tagger.from_pretrained(run)
    handle = decausal.Handle.of(tagger.model)
    for pattern, facts in scores.items():
        with handle.only(pattern):
            found = tagger.evaluate(str(corpus / "validation.tsv"))
        assert {name: facts[name] for name in ("f1", "precision", "recall", "accuracy")} == found.headline()


def test_what_needs_the_right_context_is_learned_where_the_pattern_has_it(recipe, run):
    assert main([recipe(**shared_run(num_train_epochs=60, learning_rate=5e-3))]) == 0
    f1 = {pattern: facts["f1"] for pattern, facts in results_of(run)["patterns"].items()}
    assert min(f1["01"], f1["10"], f1["11"]) > 90
    assert f1["00"] < 75


def test_a_run_that_goes_on_draws_what_an_uninterrupted_one_does(recipe, run, steps):
    fields = shared_run(max_steps=8, save_strategy="steps", save_steps=3, save_total_limit=9)
    assert main([recipe(**fields)]) == 0
    whole, first = results_of(run)["patterns"], list(steps[:8])
    for name in ("checkpoint-6", "checkpoint-8", "results.json"):
        path = run / name
        path.rename(run / f"old-{name}")
    steps.clear()
    assert main([recipe(**fields), "--resume_from_checkpoint", "true"]) == 0
    assert steps[:5] == first[3:]
    assert results_of(run)["patterns"] == whole


def test_a_shared_run_never_stops_early(recipe, run, capsys):
    fields = {"early_stopping_patience": 1, "eval_strategy": "epoch", "load_best_model_at_end": True}
    assert main([recipe(**shared_run(num_train_epochs=3, learning_rate=1e-9, **fields))]) == 0
    assert results_of(run)["epochs"] == 3
    assert "early_stopping_patience has no effect" in capsys.readouterr().out


def test_packed_rows_train_as_padded_ones_do(recipe, base_model, tmp_path):
    model = tmp_path / "without dropout"
    shutil.copytree(base_model, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"classifier_dropout": 0.0}))
    fields = {"model_name_or_path": str(model), "lora_dropout": 0.0, "max_steps": 4, "logging_steps": 1}
    fields["train_sampling_strategy"] = "sequential"
    losses = []
    for packing in (False, True):
        output = tmp_path / f"packing {packing}"
        assert main([recipe(**shared_run(packing=packing, output_dir=str(output), **fields))]) == 0
        results = results_of(output)
        losses.append([entry["loss"] for entry in results["log"] if "loss" in entry])
        assert "with all layers closed" in results["audit"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_card_says_that_the_weights_are_shared(recipe, run):
    assert main([recipe(**shared_run(max_steps=4))]) == 0
    assert "shared by 4 patterns**, 00, 01, 10, 11" in (run / "README.md").read_text()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"unmask": "01"}, r"shared_patterns='groups:2': 10 has layers that unmask='01' does not open"),
        ({"shared_patterns": "groups:9"}, "the model has 4 decoder layers"),
        ({"validation_file": None}, "give validation_file"),
        ({"max_steps": 3}, "has 4 patterns, and the run 3 steps"),
        ({"shared_patterns": 11}, "write one text in quotes"),
    ],
)
def test_patterns_that_cannot_share_an_adapter_are_refused(recipe, run, capsys, fields, message):
    assert main([recipe(**shared_run(**fields))]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (run / "results.json").exists()
