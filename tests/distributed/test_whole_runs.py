"""Whole runs under every strategy: scored, saved and loaded as those of one process are."""

import json
from pathlib import Path

import pytest

from decausal.tagging.predict import Tagger
from launching import ROOT

WORKER = str(Path(__file__).with_name("worker.py"))
METHODS = {
    "LoRA": {"learning_rate": 1e-2},
    "full": {"use_peft": False, "learning_rate": 3e-3},
    "early exit": {"num_hidden_layers": 4, "use_peft": False, "learning_rate": 3e-3},
}
TEXTS = [text.split() for text in ("Jordan borders the sea .", "Jordan said no .", "We met in Paris today .")]

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="session")
def train_whole(launch, write_recipe, once):
    """A run of each method under one strategy; no split divides into batches or processes without a rest."""

    def train(strategy: str) -> Path:
        def fill(directory: Path) -> None:
            corpus = ROOT / "examples" / "right_context"
            recipes = [
                write_recipe(
                    directory / name,
                    **{f"{split}_file": str(corpus / f"{split}.tsv") for split in ("validation", "test")},
                    # Ten steps in this order learn enough for a score that says something.
                    max_train_samples=80,
                    train_sampling_strategy="sequential",
                    max_eval_samples=33,
                    max_test_samples=31,
                    per_device_train_batch_size=8 if strategy == "one process" else 4,
                    per_device_eval_batch_size=4,
                    eval_strategy="steps",
                    eval_steps=5,
                    save_strategy="steps",
                    save_steps=5,
                    **fields,
                )
                for name, fields in METHODS.items()
            ]
            launch(strategy, WORKER, *recipes)

        return once(f"whole_{strategy.replace(' ', '_')}", fill)

    return train


@pytest.mark.parametrize(
    "strategy", [*(pytest.param(name, marks=pytest.mark.long) for name in ("DDP", "ZeRO-2")), "ZeRO-3", "FSDP2"]
)
def test_scores_and_saved_weights_are_those_of_one_process(train_whole, strategy):
    expected, found = train_whole("one process"), train_whole(strategy)
    for method in METHODS:
        expected_run, found_run = (json.loads((run / method / "results.json").read_text()) for run in (expected, found))
        assert expected_run["scores"]["test"]["f1"] > 0
        assert found_run["scores"] == expected_run["scores"], method
        evaluations = [
            [(entry["step"], entry["eval_f1"]) for entry in run["log"] if "eval_f1" in entry]
            for run in (expected_run, found_run)
        ]
        assert [step for step, _ in evaluations[0]] == [5, 10]
        assert evaluations[0] == evaluations[1], method
        expected_tags, found_tags = (Tagger.from_pretrained(run / method).tag(TEXTS) for run in (expected, found))
        assert [sentence.tags for sentence in found_tags] == [sentence.tags for sentence in expected_tags], method
        for some, others in zip(found_tags, expected_tags, strict=True):
            assert some.scores == pytest.approx(others.scores, abs=1e-3), method
