"""The command, and the table of a recipe's layouts."""

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_packed_rows_are_held_against_padded_batches(results_of):
    found = results_of("pack")
    assert list(found["results"]) == ["padded", "padded, grouped by length", "packed", "packed, causal"]
    assert found["share of real sub-words"]["packed"] > found["share of real sub-words"]["padded"]
    assert {len(row["figure"]["all"]) for row in found["results"].values()} == {3}
    assert found["results"]["padded"]["ratio"]["all"] == [1.0, 1.0, 1.0]
