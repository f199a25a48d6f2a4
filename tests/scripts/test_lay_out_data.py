"""Where `lay_out_data.sh` puts public corpora, of made-up ones."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "lay_out_data.sh"
FILES = ("conll2003/eng.train", "conll2003/eng.testa", "conll2003/eng.testb", "conll2000/test.txt")
FILES += ("rest14_iob2/train.txt", "rest14_iob2/valid.txt", "rest14_iob2/test.txt", "litbank_events/book.tsv")


def write(path: Path, num_paragraphs: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"word{i} O\nlast O\n\n" for i in range(num_paragraphs)), encoding="utf-8")


def count(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n\n")


@pytest.fixture
def source(tmp_path):
    for name in FILES:
        write(tmp_path / "source" / name, 2)
    write(tmp_path / "source" / "conll2000" / "train.txt", 9_000)
    return tmp_path / "source"


def lay_out(source: Path, data: Path) -> None:
    subprocess.run(["bash", str(SCRIPT), str(source), str(data)], check=True)


def test_what_has_no_split_is_split_and_the_source_is_left_alone(source, tmp_path):
    write(source / "wikigold" / "wikigold.conll.txt", 1_350)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    for _ in range(2):
        lay_out(source, tmp_path / "data")
    found = {
        (name, split): count(tmp_path / "data" / name / f"{split}.txt")
        for name in ("conll2000", "wikigold")
        for split in ("train", "validation", "test")
    }
    assert list(found.values()) == [8_000, 1_000, 2, 1_000, 300, 50]
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before


def test_corpora_that_are_not_there_are_left_out(source, tmp_path):
    write(source / "uner_da_ddt" / "da_ddt-ud-train.iob2", 3)
    write(source / "uner_da_ddt" / "da_ddt-ud-dev.iob2", 2)
    write(source / "uner_da_ddt" / "da_ddt-ud-test.iob2", 1)
    lay_out(source, tmp_path / "data")
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names == {"conll2003", "conll2000", "restaurants", "litbank", "uner_da_ddt"}
    assert count(tmp_path / "data" / "uner_da_ddt" / "validation.txt") == 2
