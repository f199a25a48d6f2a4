"""Timing a tiny model: what is compared, and that it is the same work."""

import itertools
import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

import decausal
from decausal.cli import app
from decausal.tagging.bench import Bench, Layout, compare_layouts, measure_share
from decausal.tagging.trainer import token_mean_loss

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
NO_FILES = {"validation_file": "a file that no benchmark reads", "test_file": None}


def test_packed_and_padded_steps_do_the_same_work(recipe):
    found = Bench([recipe(**NO_FILES, lora_dropout=0.0)])
    found.model.eval()
    [batch] = found.draw_batches("random", 1)
    losses = []
    for made in (found.pad(batch), found.pack(batch)):
        labels = made.pop("labels")
        losses.append(token_mean_loss(found.model(**made), labels).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_repetitions_compute_the_same(recipe):
    bench = Bench([recipe(**NO_FILES)])
    before = {name: weight.clone() for name, weight in bench.model.named_parameters()}
    bench.time_steps([bench.pad(batch) for batch in bench.draw_batches("random", 2)])
    assert all(torch.equal(weight, before[name]) for name, weight in bench.model.named_parameters())


def test_steps_take_the_numbers_that_flash_kernels_get_beside_tensors(recipe, monkeypatch):
    bench = Bench([recipe(**NO_FILES)])
    received = []
    bench.model.register_forward_pre_hook(
        lambda _, args, given: received.append(given.pop("longest")), with_kwargs=True
    )
    [batch] = bench.draw_batches("random", 1)
    assert bench.time_steps([{**bench.pad(batch), "longest": 7}]) > 0
    assert received == [7]


def test_windows_are_as_long_as_in_training(recipe, base_model, tmp_path):
    shorter = shutil.copytree(base_model, tmp_path / "shorter")
    config = json.loads((shorter / "config.json").read_text())
    (shorter / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 6}))
    bench = Bench([recipe(**NO_FILES, model_name_or_path=str(shorter))])
    assert max(bench.lengths) <= 6 < max(Bench([recipe(**NO_FILES)]).lengths)


def test_batches_stand_for_an_epoch(recipe):
    bench = Bench([recipe(**NO_FILES)])
    bench.lengths = list(range(96, 0, -1))
    assert [batch[0] for batch in bench.draw_batches("sequential", 3)] == [64, 32, 0]
    assert [len(batch) for batch in bench.draw_batches("random", 6)] == [16] * 6


def test_shares_are_those_of_the_batches_of_an_epoch(recipe):
    bench = Bench([recipe(**NO_FILES, packing_length=32)])
    made = {False: bench.pad, True: bench.pack}
    assert all(len(bench.pack(batch)["input_ids"]) > 1 for batch in bench.draw_epoch("random"))
    for strategy, is_packed in itertools.product(("random", "group_by_length"), made):
        slots = sum(made[is_packed](batch)["input_ids"].numel() for batch in bench.draw_epoch(strategy))
        assert measure_share(bench, Layout(strategy, is_packed)) == pytest.approx(sum(bench.lengths) / slots)


def test_packed_rows_are_timed_unmasked_and_causal(recipe, monkeypatch):
    bench = Bench([recipe(**NO_FILES, unmask="0011")])
    seen = []
    monkeypatch.setattr(Bench, "time_steps", lambda self, batches: seen.append(_look(self, batches)) or 1.0)
    table = compare_layouts(bench, steps=2)
    seen.clear()
    results = next(table.measure())
    assert list(results) == ["padded", "padded, grouped by length", "packed", "packed, causal"]
    assert seen == [(True, (2, 3)), (True, (2, 3)), (False, (2, 3)), (False, ())] * 2
    assert table.facts["share of real sub-words"]["packed"] > table.facts["share of real sub-words"]["padded"]


def _look(bench: Bench, batches: list) -> tuple[bool, tuple[int, ...]]:
    return "attention_mask" in batches[0], decausal.unmasked_layers(bench.model)


def test_what_cannot_be_packed_is_timed_padded(recipe, monkeypatch):
    bench = Bench([recipe(**NO_FILES, use_cache=True)])
    assert "use_cache=true" in bench.why_not_packed
    assert list(compare_layouts(bench, steps=1).candidates) == ["padded", "padded, grouped by length"]


def test_the_command_prints_a_table_and_writes_all_of_it(recipe, tmp_path):
    output = tmp_path / "bench.json"
    arguments = ["bench", recipe(**NO_FILES), "--seconds", "1", "--output", str(output), "--unmask", "1100"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    for words in (
        "packed, causal",
        "ratio to padded",
        'unmask="1100"',
        "most of a step's time (packed):",
    ):
        assert words in done.stdout
    found = json.loads(output.read_text())
    assert found["unmask"] == "1100"
    assert len(found["results"]["packed"]["figure"]["all"]) >= 3
    assert set(found["profiles"]) == set(found["results"]) - {"packed, causal"}
    assert all(sum(profile.values()) == pytest.approx(1) for profile in found["profiles"].values())


def test_a_file_that_could_not_be_written_is_known_at_once(recipe, tmp_path):
    done = CliRunner().invoke(app, ["bench", recipe(**NO_FILES), "--output", str(tmp_path / "none" / "bench.json")])
    assert "there is no directory" in str(done.exception)
