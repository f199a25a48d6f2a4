"""The tables of the paper, of runs that never ran."""

import pytest

from decausal.sweep.analysis import analyse
from decausal.sweep.grouping import group
from made_up_sweep import make_sweep, outcome
from paper.tables import (
    tabulate_checkpoints,
    tabulate_dependencies,
    tabulate_gains,
    tabulate_patterns,
    tabulate_taggers,
)

__all__ = ["outcome"]

PATTERNS = ["00", "01", "11"]


@pytest.fixture(scope="module")
def found():
    """Sweeps of a model on two tasks; on one of them the model is better."""
    lifts = {"ner": 0.0, "aspects": 0.1}
    sweeps = {task: make_sweep(PATTERNS, (1, 2), 60, lift) for task, lift in lifts.items()}
    return [("llama", task, analyse(*group(runs))) for task, runs in sweeps.items()]


def test_every_pattern_of_every_run_is_a_row(found):
    rows = tabulate_taggers(found)
    assert [(row["run"], row["task"], row["pattern"], row["layers"]) for row in rows[:3]] == [
        ("llama", "ner", "00", "none"), ("llama", "ner", "01", "15-29"), ("llama", "ner", "11", "0-29"),
    ]  # fmt: skip
    runs = found[0][2].group
    assert rows[1]["test"] == runs.mean_f1("01", "test")
    assert rows[1]["validation"] == runs.mean_f1("01", "validation")
    first, second = runs.f1("01", "test")
    assert rows[1]["test_sd"] == pytest.approx(abs(first - second) / 2**0.5)
    assert [row["seeds"] for row in rows] == [2] * 6


def test_patterns_of_bits_are_rows_with_a_column_for_each_model_and_task(found):
    rows = tabulate_patterns(found)
    assert [row["pattern"] for row in rows] == PATTERNS
    assert [*rows[0]] == ["pattern", "llama: ner", "llama: aspects"]
    runs = found[1][2].group
    assert rows[2]["llama: aspects"].startswith(f"{runs.mean_f1('11', 'test'):.2f} ± ")


def test_gains_are_of_the_pattern_that_validation_data_choose(outcome):
    counts = {"00": (3, 4), "01": (5, 9), "11": (8, 5)}
    runs = [
        outcome(pattern, seed, counts={"validation": [(v, 10, 10)] * 4, "test": [(t, 10, 10)] * 4})
        for pattern, (v, t) in counts.items()
        for seed in (1, 2)
    ]
    [row] = tabulate_gains([("llama", "ner", analyse(*group(runs)))])
    assert (row["causal"], row["chosen"], row["chosen_f1"], row["all_open"]) == (40, "11", 50, 50)
    assert row["gain"] == 10
    assert 0 < row["p_sentences_holm"] <= 1


def test_where_no_open_pattern_helps_the_best_of_them_is_compared(outcome):
    counts = {"00": 9, "01": 5, "11": 2}
    runs = [
        outcome(pattern, 1, counts={split: [(right, 10, 10)] * 4 for split in ("validation", "test")})
        for pattern, right in counts.items()
    ]
    [row] = tabulate_gains([("llama", "ner", analyse(*group(runs)))])
    assert (row["chosen"], row["gain"], row["all_open"]) == ("01", -40, 20)


def test_a_gain_is_over_the_seeds_that_all_have(outcome):
    right = {("00", 1): 4, ("00", 2): 8, ("11", 1): 5, ("01", 1): 4, ("01", 2): 9}
    runs = [
        outcome(pattern, seed, counts={split: [(value, 10, 10)] * 4 for split in ("validation", "test")})
        for (pattern, seed), value in right.items()
    ]
    [row] = tabulate_gains([("llama", "ner", analyse(*group(runs)))])
    assert (row["seeds"], row["causal"], row["chosen_f1"], row["gain"]) == (1, 40, 50, 10)


def test_without_a_causal_run_there_is_no_gain(outcome):
    runs = [outcome("01", 1), outcome("11", 1)]
    assert tabulate_gains([("llama", "ner", analyse(*group(runs)))]) == []


def test_checkpoints_are_rows_in_the_order_of_their_steps(outcome):
    def checkpoint(step, right):
        return outcome(
            "none", 1, axes={"model_name_or_path": f"out/causal/checkpoint-{step}"},
            counts={split: [(right, 10, 10)] * 4 for split in ("validation", "test")},
        )  # fmt: skip

    groups = group([checkpoint(100, 7), checkpoint(20, 5)])
    assert tabulate_checkpoints([("encoder", "ner", analyse(runs)) for runs in groups]) == [
        {"step": 20, "encoder: ner": 50}, {"step": 100, "encoder: ner": 70},
    ]  # fmt: skip


def test_gains_are_ranked_with_the_ratios_where_three_tasks_have_both():
    gains = [{"run": "llama", "task": task, "gain": gain} for task, gain in (("a", 1.0), ("b", 3.0), ("c", 2.0))]
    assert tabulate_dependencies(gains, {"a": 0.4, "b": 0.6, "c": 0.5}) == [
        {"task": "b", "ratio": 0.6, "llama": 3.0},
        {"task": "c", "ratio": 0.5, "llama": 2.0},
        {"task": "a", "ratio": 0.4, "llama": 1.0},
        {"task": "Spearman", "ratio": None, "llama": pytest.approx(1.0)},
    ]
    assert tabulate_dependencies(gains[:2], {"a": 0.4, "b": 0.6})[-1] == {"task": "a", "ratio": 0.4, "llama": 1.0}
    assert tabulate_dependencies(gains, {}) == []
