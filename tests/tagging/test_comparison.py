from decausal.tagging.comparison import Table, compare


def test_a_ratio_is_taken_within_a_repetition():
    found = compare([2.0, 30.0, 4.0], [1.0, 10.0, 4.0])
    assert found["ratio"] == {"median": 2.0, "min": 1.0, "max": 3.0, "all": [2.0, 3.0, 1.0]}
    assert found["figure"]["median"] == 4.0


def test_candidates_take_turns_after_a_warm_up():
    called = []
    table = Table("", {name: lambda name=name: called.append(name) or 1.0 for name in "ab"}, {"a": "a", "b": "a"})
    measured = table.measure()
    next(measured), next(measured)
    assert called == list("ab" * 3)


def test_multiples_are_of_the_same_figures():
    table = Table("", {"a": lambda: 3.0}, {"a": "a"}, multiples={"FLOP/s": {"a": 2.0}})
    row = next(table.measure())["a"]
    assert list(row) == ["figure", "ratio", "FLOP/s"]
    assert row["FLOP/s"] == {"median": 6.0, "min": 6.0, "max": 6.0, "all": [6.0]}
