"""The benchmark on a tiny model: what it compares, and that it compares the same work."""

import json

import pytest
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

import bench
import decausal
import now_and_then
import small_tokenizers

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def recipe(tmp_path) -> str:
    tokenizer = small_tokenizers.smollm2()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    fields = {
        "model_name_or_path": str(tmp_path / "model"),
        "train_file": str(now_and_then.write(tmp_path, train=96, validation=1, test=1) / "train.tsv"),
        "validation_file": "a file that no benchmark reads",
        "unmask": "1111",
        "per_device_train_batch_size": 16,
        "use_cpu": True,
        "output_dir": str(tmp_path / "unused"),
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(fields))
    return str(path)


def results_of(table: str, recipe: str, tmp_path, monkeypatch, *arguments: str) -> dict:
    path = tmp_path / "results" / f"{table}.json"
    settings = ["--steps", "2", "--repetitions", "3", *arguments]
    monkeypatch.setattr("sys.argv", ["bench.py", table, recipe, str(path), *settings])
    bench.main()
    return json.loads(path.read_text())


def test_packed_rows_are_held_against_padded_batches(recipe, tmp_path, monkeypatch):
    found = results_of("pack", recipe, tmp_path, monkeypatch)
    assert list(found["results"]) == ["padded", "padded, grouped by length", "packed"]
    assert found["share of real sub-words"]["packed"] > found["share of real sub-words"]["padded"]
    assert {len(row["figure"]["all"]) for row in found["results"].values()} == {3}
    assert found["results"]["padded"]["ratio"]["all"] == [1.0, 1.0, 1.0]


def test_unmasked_layers_are_held_against_the_untouched_model(recipe, tmp_path, monkeypatch):
    measured = []
    seconds = bench.Bench.seconds

    def watched(self, batches):
        measured.append(("attention_mask" in batches[0], decausal.unmasked_layers(self.model)))
        return seconds(self, batches)

    monkeypatch.setattr(bench.Bench, "seconds", watched)
    fields = ["--attn_implementation", "eager", "--unmask", "1111"]  # the table has its own patterns
    found = results_of("hook", recipe, tmp_path, monkeypatch, *fields)
    assert list(found["results"]) == [
        "padded, untouched", "padded, 0011", "padded, 1111", "unpadded, untouched", "unpadded, 0011", "unpadded, 1111"
    ]  # fmt: skip
    layers = [(), (2, 3), (0, 1, 2, 3)]
    assert measured == [(has_mask, seen) for has_mask in (True, False) for seen in layers] * 4
    assert found["results"]["unpadded, untouched"]["ratio"]["all"] == [1.0, 1.0, 1.0]
    assert found["attention"] == "eager"


def test_packed_and_padded_steps_do_the_same_work(recipe):
    found = bench.Bench([recipe, "--lora_dropout", "0"])
    found.model.eval()
    [batch] = found.batches("random", 1)
    losses = []
    for made in (found.padded(batch), found.packed(batch)):
        labels = made.pop("labels")
        losses.append(bench.token_mean_loss(found.model(**made), labels).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_ratio_is_taken_within_a_repetition():
    found = bench.compare([2.0, 30.0, 4.0], [1.0, 10.0, 4.0])
    assert found["ratio"] == {"median": 2.0, "min": 1.0, "max": 3.0, "all": [2.0, 3.0, 1.0]}
    assert found["figure"]["median"] == 4.0


def test_batches_come_from_all_over_the_epoch(recipe):
    found = bench.Bench([recipe])
    batches = found.batches("sequential", 3)
    assert [batch[0] for batch in batches] == [0, 32, 64]
    assert torch.tensor([len(batch) for batch in batches]).eq(16).all()
