"""The table of strategies, of a made-up sweep."""

import json

import pytest

import compare_searches

F1 = {"00": 50.0, "01": 56.0, "11": 41.0}


@pytest.fixture
def results(tmp_path):
    runs = [
        {"setting": {"unmask": pattern, "seed": seed}, "scores": {"validation": {"f1": f1}, "test": {"f1": 100 - f1}}}
        for pattern, f1 in F1.items()
        for seed in (1, 2)
    ]
    verdicts = [
        {"strategy": strategy, "validation_regret": regret, "test_regret": -regret}
        for strategy in compare_searches.STRATEGIES
        for regret in (1.0, 2.0)
    ]
    (tmp_path / "patterns-here.json").write_text(json.dumps({"runs": runs}))
    (tmp_path / "search-here.json").write_text(json.dumps({"verdicts": verdicts}))
    return tmp_path


def test_regret_is_told_of_strategies_of_fixed_patterns_and_of_chance(results, capsys):
    compare_searches.main(["here", "here", "--results", str(results)])
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [row for row in rows if row] == [
        ["one seed", *["1.50, -1.50"] * 3],
        ["search, budget 3", *["1.50, -1.50"] * 3],
        ["search", *["1.50, -1.50"] * 3],
        ["always 00", *["6.00, -6.00"] * 3],
        ["always 01", *["0.00, 0.00"] * 3],
        ["always 11", *["15.00, -15.00"] * 3],
        ["at random", *["7.00, -7.00"] * 3],
        ["standard error", "0.00, 0.00", "0.00, 0.00", ""],
        ["p if none is better", "0.00, 0.00", "0.00, 0.00", ""],
    ]
