"""What the GPU benchmark and the QLoRA test do there, on a CPU and tiny."""

import json

import pytest
import torch

import decausal
import gpu_steps
import random_qlora
from random_model import write_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    directory = tmp_path_factory.mktemp("random") / "tiny"
    write_model(directory, "tiny", "cpu")
    return directory


def test_the_benchmark_measures_every_pattern_in_every_repetition(tiny, tmp_path, monkeypatch):
    arguments = ["--device", "cpu", "--rows", "4", "--length", "16", "--steps", "1", "--repetitions", "2"]
    monkeypatch.setattr("sys.argv", ["gpu_steps.py", str(tiny), str(tmp_path / "results.json"), *arguments])
    assert gpu_steps.main() == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["results"]) == ["sdpa 0000", "sdpa 0011", "sdpa 1111"]
    assert {result["repetitions"] for result in results["results"].values()} == {2}
    assert results["batch"] == {"rows": 4, "length": 16, "real_tokens": 52}
    assert results["errors"] == {}


def test_speeds_are_given_as_median_and_extremes():
    found = gpu_steps.summarise([2.0, 1.0, 4.0], [10, 30, 20], num_tokens=8)
    assert found["tokens_per_second"] == {"median": 4.0, "min": 2.0, "max": 8.0}
    assert found["peak_bytes"] == 30
    assert found["repetitions"] == 3


@pytest.mark.parametrize(("pattern", "unmasked"), [("0000", []), ("0011", [2, 3]), ("1111", [0, 1, 2, 3])])
def test_a_pattern_is_what_is_left_of_two_halves(llama, pattern, unmasked):
    model = llama()
    halves = {half: decausal.unmask(model, half) for half in gpu_steps.HALVES}
    with gpu_steps.only(pattern, halves):
        report = decausal.audit(model)
    assert [layer.layer for layer in report.layers if layer.sees_future] == unmasked


def test_a_batch_is_padded_and_its_padding_has_no_label():
    batch = gpu_steps.make_batch(4, 16, 512, "cpu")
    assert batch["attention_mask"].sum(-1).tolist() == [16, 14, 12, 10]
    assert torch.equal(batch["labels"] == -100, batch["attention_mask"] == 0)


def test_a_quantised_model_is_audited_and_learns(tiny, tmp_path):
    facts = random_qlora.train(tiny, tmp_path / "run", "cpu", "0011", steps=4)
    assert facts["audit"].endswith("unmask=0011 of 4 layers (unmasked: 2-3): audit passed")
    assert len(facts["losses"]) == 4
    assert facts["losses"][-1] < facts["losses"][0]
    assert facts["peak_bytes"] is None
