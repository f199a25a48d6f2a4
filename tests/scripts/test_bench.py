"""The tables on a tiny model: what each compares."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
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
    assert list(found["results"]) == ["padded", "padded, grouped by length", "packed", "packed, causal"]
    assert found["share of real sub-words"]["packed"] > found["share of real sub-words"]["padded"]
    assert {len(row["figure"]["all"]) for row in found["results"].values()} == {3}
    assert found["results"]["padded"]["ratio"]["all"] == [1.0, 1.0, 1.0]


def test_unmasked_layers_are_held_against_the_untouched_model(recipe, tmp_path, monkeypatch):
    measured = []
    seconds = bench.Bench.time_steps

    def watched(self, batches):
        kernel = self.model.config._attn_implementation
        measured.append((kernel, "attention_mask" in batches[0], decausal.unmasked_layers(self.model)))
        return seconds(self, batches)

    monkeypatch.setattr(bench.Bench, "time_steps", watched)
    fields = ["--unmask", "1111"]  # the table has its own patterns
    found = results_of("hook", recipe, tmp_path, monkeypatch, *fields)
    patterns = {"untouched": (), "0011": (2, 3), "1111": (0, 1, 2, 3)}
    names = [
        f"{kernel}, {kind}, {name}"
        for kernel in ("sdpa", "eager") for kind in ("padded", "unpadded") for name in patterns
    ]  # fmt: skip
    assert list(found["results"]) == names
    expected = [
        (kernel, has_mask, layers)
        for kernel in ("sdpa", "eager") for has_mask in (True, False) for layers in patterns.values()
    ]  # fmt: skip
    assert measured == expected * 4
    assert found["results"]["eager, unpadded, untouched"]["ratio"]["all"] == [1.0, 1.0, 1.0]


def test_precisions_are_compared_on_the_same_rows(recipe, tmp_path, monkeypatch):
    found = results_of("train", recipe, tmp_path, monkeypatch)
    names = ["float32", "bfloat16", "4 bits, computed in float32", "4 bits, computed in bfloat16"]
    assert list(found["results"]) == list(found["profiles"]) == names
    assert found["results"]["bfloat16"]["ratio"]["all"] == [1.0, 1.0, 1.0]


def test_both_taggers_tag_the_same_sentences(recipe, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(bench, "BATCH_SIZES", (8,))
    monkeypatch.setattr(bench, "SENTENCES_PER_STEP", 8)
    monkeypatch.setattr(bench.Tagger, "tag", lambda self, sentences: seen.setdefault("decausal", sentences))
    piped = bench.pipeline

    def watched(*arguments, **settings):
        tag = piped(*arguments, **settings)
        return lambda texts, **options: seen.setdefault("pipeline", texts) and tag(texts, **options)

    monkeypatch.setattr(bench, "pipeline", watched)
    found = results_of("predict", recipe, tmp_path, monkeypatch)
    assert [" ".join(words) for words in seen["decausal"]] == seen["pipeline"]
    assert len(seen["pipeline"]) == found["sentences"] == 16
    names = ["pipeline", "pipeline, merged", "pipeline, merged, bfloat16", "decausal", "decausal, bfloat16"]
    assert list(found["results"]) == names
    assert [1.0, 1.0, 1.0] in [found["results"][name]["ratio"]["all"] for name in names[:3]]


def test_scale_changes_one_thing_at_a_time_and_leaves_the_depth_as_it_was(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "LENGTHS", (64, 128))
    depths = []
    seconds = bench.Bench.time_steps

    def watched(self, batches):
        depths.append((self.model.config.num_hidden_layers, tuple(batches[0]["input_ids"].shape)))
        return seconds(self, batches)

    monkeypatch.setattr(bench.Bench, "time_steps", watched)
    results_of("scale", recipe, tmp_path, monkeypatch, "--repetitions", "1")
    shapes = [(1, (2, 64)), (1, (1, 128))] * 2 + [(1, (1, 64)), (1, (4, 64)), (1, (16, 64))]
    shapes += [(layers, (16, 64)) for layers in (2, 3, 4)]
    assert depths == [shape for shape in shapes for _ in ("untouched", "1111")] * 2


def test_memory_is_measured_with_a_malloc_that_gives_back(recipe, tmp_path):
    path = tmp_path / "memory.json"
    fields = ["--steps", "1", "--repetitions", "1", "--per_device_train_batch_size", "64"]
    command = [sys.executable, "-W", "ignore", bench.__file__, "memory", recipe, str(path), *fields]
    environment = {name: value for name, value in os.environ.items() if name not in bench.MALLOC}
    subprocess.run(command, check=True, env=environment)
    assert all(row["figure"]["median"] > 0 for row in json.loads(path.read_text())["results"].values())
    assert path.with_suffix(".svg").is_file()


def test_peers_get_the_sentences_that_are_timed(recipe, tmp_path, monkeypatch):
    jobs = []

    def peer(command, **_):
        jobs.append((command, json.loads(Path(command[-1]).read_text())))
        return subprocess.CompletedProcess(command, 0, "what it printed\n7.5\n", "")

    monkeypatch.setattr(bench.subprocess, "run", peer)
    found = results_of("peers", recipe, tmp_path, monkeypatch)
    commands = [command[:3] for command, _ in jobs[:3]]
    assert commands == [
        [f".peers/{name}/bin/python", f"scripts/peers/run_{name}.py", what]
        for name, what in (("paper", "train"), ("billm", "train"), ("billm", "tag"))
    ]
    job = jobs[0][1]
    assert (len(job["tokens"]), job["layers"], job["batch_size"]) == (32, [0, 1, 2, 3], 16)
    assert {tag for tags in job["tags"] for tag in tags} <= set(job["labels"])
    assert found["results"]["train: BiLLM"]["figure"]["all"] == [7.5, 7.5, 7.5]


def test_a_peer_that_fails_is_told(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "no module named billm")
    monkeypatch.setattr(bench.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="no module named billm"):
        bench.ask_peer("billm", "train", {})
