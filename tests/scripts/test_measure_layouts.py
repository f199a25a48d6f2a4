"""What an epoch's batches are made of, without timing them."""

import json

import pytest

import measure_layouts

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_each_layout_has_its_share_and_its_shapes(recipe, tmp_path, monkeypatch):
    path = tmp_path / "layouts.json"
    monkeypatch.setattr("sys.argv", ["measure_layouts.py", str(path), recipe, "--pad_to_multiple_of", "1"])
    measure_layouts.main()
    found = json.loads(path.read_text())["results"]
    assert list(found) == [f"{how}, {drawn}" for drawn in ("random", "group_by_length") for how in ("padded", "packed")]
    padded, packed = found["padded, random"], found["packed, random"]
    assert padded["share of real sub-words"] < packed["share of real sub-words"] <= 1
    assert 1 <= found["padded, group_by_length"]["shapes"] <= 6  # batches of an epoch
