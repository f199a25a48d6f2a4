"""The numbers of a report as plain tables."""

import csv

import pandas as pd
import pytest

from decausal.sweep.analysis import analyse
from decausal.sweep.grouping import group
from decausal.sweep.tables import (
    as_latex,
    tabulate_choice,
    tabulate_cost,
    tabulate_curves,
    tabulate_f1,
    tabulate_nested,
    tabulate_runs,
    tabulate_significance,
    tabulate_types,
    write_tables,
)

RIGHT, WRONG = (1, 1, 1), (0, 1, 1)


@pytest.fixture
def table(outcome):
    """The rows of a table of outcomes that are given by their arguments."""

    def build(tabulate, *runs):
        (found,) = group([outcome(**run) for run in runs])
        return tabulate(analyse(found))

    return build


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_f1_has_mean_deviation_and_interval_over_seeds_on_each_split(table):
    runs = [
        {"unmask": "0011", "seed": 120, "validation": {"f1": 71.0}, "test": {"f1": 60.0}},
        {"unmask": "0011", "seed": 121, "validation": {"f1": 73.0}, "test": {"f1": 60.0}},
    ]
    # 12.7062 is the 97.5th percentile of t with one degree of freedom, and the standard error is 1.
    assert table(tabulate_f1, *runs) == [
        {
            "pattern": "0011",
            "layers": "2-3",
            "seeds": 2,
            "validation_f1": 72,
            "validation_sd": pytest.approx(2**0.5),
            "validation_ci_low": pytest.approx(72 - 12.7062, abs=1e-4),
            "validation_ci_high": pytest.approx(72 + 12.7062, abs=1e-4),
            "test_f1": 60,
            "test_sd": 0,
            "test_ci_low": 60,
            "test_ci_high": 60,
        }
    ]


def test_one_seed_has_neither_deviation_nor_interval(table):
    (row,) = table(tabulate_f1, {"counts": {"validation": [RIGHT, RIGHT]}})
    assert row == {
        "pattern": "0000",
        "layers": "none",
        "seeds": 1,
        "validation_f1": 100,
        "validation_sd": None,
        "validation_ci_low": None,
        "validation_ci_high": None,
    }


def test_every_run_has_a_row(table):
    assert table(tabulate_runs, {"unmask": "0011", "seconds": 95.0}, {"validation": {"f1": 7.0}}) == [
        {"pattern": "0000", "seed": 120, "validation_f1": 7, "test_f1": 100, "train_seconds": 60, "seconds": 90},
        {"pattern": "0011", "seed": 120, "validation_f1": 100, "test_f1": 100, "train_seconds": 60, "seconds": 95},
    ]


def test_a_comparison_has_its_p_values_with_and_without_holm(table):
    rows = table(
        tabulate_significance,
        {"unmask": "0000", "counts": {"validation": [WRONG] * 4}},
        {"unmask": "0011", "counts": {"validation": [WRONG] * 4}},
        {"unmask": "1111", "counts": {"validation": [RIGHT] * 4}},
    )
    gain, no_gain = {"p_sentences": 1 / 8, "p_sentences_holm": 3 / 8}, {"p_sentences": 1, "p_sentences_holm": 1}
    rest = {"split": "validation", "seeds": 1, "p_seeds": None, "p_seeds_holm": None}
    assert sorted(rows, key=lambda row: row["difference"]) == [
        {"pattern": "0011", "baseline": "1111", "difference": -100} | gain | rest,
        {"pattern": "0011", "baseline": "0000", "difference": 0} | no_gain | rest,
        {"pattern": "1111", "baseline": "0000", "difference": 100} | gain | rest,
    ]


def test_the_papers_test_has_a_row_for_each_split_that_it_can_test(table):
    means = {"0010": 58.0, "0011": 60.0, "1000": 60.0, "1010": 63.0}
    (row,) = table(tabulate_nested, *({"unmask": name, "validation": {"f1": f1}} for name, f1 in means.items()))
    assert row == {
        "split": "validation",
        "pairs": 2,
        "t": pytest.approx(-5),
        "p": pytest.approx(0.0628330),
        "significant_at_0.01": False,
    }


def test_the_choice_is_told_with_its_regret_and_the_rank_correlation(table):
    rows = table(
        tabulate_choice,
        {"unmask": "0000", "validation": {"f1": 60.0}, "test": {"f1": 61.0}},
        {"unmask": "0011", "validation": {"f1": 70.0}, "test": {"f1": 72.5}},
        {"unmask": "1111", "validation": {"f1": 71.0}, "test": {"f1": 70.0}},
    )
    assert rows == [
        {
            "chosen": "1111",
            "validation_f1": 71,
            "test_f1": 70,
            "best_on_test": "0011",
            "best_test_f1": 72.5,
            "regret": 2.5,
            "spearman": pytest.approx(0.5),
            "p_spearman": pytest.approx(1),
        }
    ]


def test_without_test_data_the_choice_is_alone(table):
    assert table(tabulate_choice, {"counts": {"validation": [RIGHT]}}) == [{"chosen": "0000", "validation_f1": 100}]


def test_types_have_the_mean_of_each_pattern_the_most_frequent_first(table):
    rare, often = {"f1": 10.0, "support": 3}, {"f1": 20.0, "support": 9}
    rows = table(
        tabulate_types,
        {"unmask": "0000", "seed": 120, "types": {"rare": rare, "often": often}},
        {"unmask": "0000", "seed": 121, "types": {"rare": rare, "often": {"f1": 30.0, "support": 9}}},
        {"unmask": "0011", "seed": 120, "types": {"rare": rare, "often": often, "made up": {"f1": 0.0, "support": 0}}},
    )
    assert rows == [
        {"type": "often", "entities": 9, "0000": 25, "0011": 20},
        {"type": "rare", "entities": 3, "0000": 10, "0011": 10},
        {"type": "made up", "entities": 0, "0000": None, "0011": 0},
    ]


def test_curves_are_means_at_the_epochs_that_all_runs_of_a_pattern_have(table):
    rows = table(
        tabulate_curves,
        {"seed": 120, "curve": [{"epoch": 1.0, "f1": 50.0}, {"epoch": 2.0, "f1": 60.0}]},
        {"seed": 121, "curve": [{"epoch": 1.0, "f1": 52.0}]},
        {"unmask": "0011", "curve": []},
    )
    assert rows == [{"pattern": "0000", "epoch": 1, "validation_f1": 51}]


def test_cost_is_the_mean_over_runs_and_its_ratio_to_the_causal_pattern(table):
    rows = table(
        tabulate_cost,
        {"unmask": "0000", "train_seconds": 100.0, "seconds": 150.0},
        {"unmask": "0011", "seed": 120, "train_seconds": 110.0, "seconds": 160.0},
        {"unmask": "0011", "seed": 121, "train_seconds": 130.0, "seconds": 180.0},
    )
    assert rows == [
        {"pattern": "0000", "runs": 1, "train_seconds": 100, "seconds": 150, "ratio_to_causal": 1},
        {"pattern": "0011", "runs": 2, "train_seconds": 120, "seconds": 170, "ratio_to_causal": 1.2},
    ]


def test_without_a_causal_pattern_cost_has_no_ratio(table):
    (row,) = table(tabulate_cost, {"unmask": "0011"})
    assert row["ratio_to_causal"] is None


def test_every_table_is_written_as_csv_and_latex(sweep, tmp_path):
    written = write_tables([analyse(found) for found in group(sweep(num_sentences=20))], tmp_path)
    assert sorted(path.name for path in written) == sorted(path.name for path in tmp_path.iterdir())
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == [
        "table_choice.csv",
        "table_cost.csv",
        "table_curves.csv",
        "table_f1.csv",
        "table_nested.csv",
        "table_runs.csv",
        "table_significance.csv",
        "table_types.csv",
    ]
    assert len(list(tmp_path.glob("*.tex"))) == 8


def test_csv_keeps_bits_and_all_digits(outcome, tmp_path):
    (found,) = group([outcome("0011", validation={"f1": 200 / 3})])
    write_tables([analyse(found)], tmp_path)
    (row,) = read(tmp_path / "table_runs.csv")
    assert (row["pattern"], float(row["validation_f1"])) == ("0011", 200 / 3)


def test_groups_share_a_table_that_names_their_axes(outcome, tmp_path):
    runs = [outcome(axes={"learning_rate": 1e-4}), outcome(axes={"learning_rate": 5e-4, "window": "symmetric"})]
    write_tables([analyse(found) for found in group(runs)], tmp_path)
    rows = read(tmp_path / "table_f1.csv")
    assert [(row["learning_rate"], row["window"]) for row in rows] == [("0.0001", ""), ("0.0005", "symmetric")]


def test_a_table_without_rows_is_not_written(outcome, tmp_path):
    write_tables([analyse(group([outcome(curve=[])])[0])], tmp_path)
    assert not (tmp_path / "table_curves.csv").exists()
    assert not (tmp_path / "table_significance.tex").exists()


def test_latex_is_booktabs_with_rounded_numbers_and_escaped_names():
    table = pd.DataFrame([{"type": "A&B_c", "f1": 66.666, "p_seeds": 0.04567}, {"type": "d", "f1": 1, "p_seeds": None}])
    assert as_latex(table).splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"type & f1 & p\_seeds \\",
        r"\midrule",
        r"A\&B\_c & 66.67 & 0.0457 \\",
        r"d & 1.00 & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_thousands_of_types_are_all_written(outcome, tmp_path):
    types = {f"type {number}": {"f1": 1.0, "support": number} for number in range(3000)}
    write_tables([analyse(group([outcome(types=types)])[0])], tmp_path)
    rows = read(tmp_path / "table_types.csv")
    assert (len(rows), rows[0]["type"]) == (3000, "type 2999")
