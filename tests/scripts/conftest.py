"""Lets the tests import the scripts by name, as the scripts import each other; makes tables of a tiny model."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

import now_and_then
import small_tokenizers

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))


@pytest.fixture
def recipe(tmp_path) -> str:
    """A recipe for a random 4-layer Llama."""
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


@pytest.fixture
def results_of(recipe, tmp_path, monkeypatch) -> Callable[..., dict[str, Any]]:
    """Runs `bench.py TABLE` on the recipe, with further arguments, and reads what it has written."""
    import bench

    def run(table: str, *arguments: str) -> dict[str, Any]:
        path = tmp_path / "results" / f"{table}.json"
        settings = ["--steps", "2", "--repetitions", "3", *arguments]
        monkeypatch.setattr("sys.argv", ["bench.py", table, recipe, str(path), *settings])
        bench.main()
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    return run
