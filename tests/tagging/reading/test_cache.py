import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Features, List, Value

from decausal import DataError
from decausal.tagging import data
from decausal.tagging.data import read_dataset, read_sentences
from decausal.tagging.reading import cache
from decausal.tagging.reading.cache import read_once
from decausal.tagging.reading.corpus import ReadReport, assemble

ROWS = {"tokens": [["EU"], ["UN", "said"]], "tags": [["B-ORG"], ["B-ORG", "O"]]}


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path) -> Path:
    """Where sentences are kept, at first nothing."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "decausal"


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "train.txt"
    path.write_text("EU B-ORG\n\nUN B-ORG\nsaid O\n")
    return path


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of what has really been read."""
    names: list[str] = []

    def count(*args, name: str, **kwargs):
        names.append(name)
        return assemble(*args, name=name, **kwargs)

    monkeypatch.setattr(data, "assemble", count)
    return names


def test_a_file_is_read_once_and_found_again_with_its_account(source, reads):
    first, first_report = read_sentences(source)
    second, second_report = read_sentences(source)

    assert reads == [str(source)]
    assert first[:] == second[:] == ROWS
    assert first_report == second_report
    assert first._fingerprint == second._fingerprint


def test_a_file_of_the_same_size_and_age_with_other_words_is_read_anew(source, reads):
    read_sentences(source)
    age = source.stat().st_mtime_ns
    source.write_text(source.read_text().replace("EU", "US"))
    os.utime(source, ns=(age, age))

    dataset, _ = read_sentences(source)

    assert dataset["tokens"][0] == ["US"]
    assert len(reads) == 2


@pytest.mark.parametrize(
    "options", [{"columns": "0,1"}, {"tag_scheme": "IOB2"}, {"separator": " "}, {"file_format": "conll"}]
)
def test_who_asks_otherwise_reads_anew(source, reads, options):
    read_sentences(source)
    read_sentences(source, **options)

    assert len(reads) == 2


def test_other_code_reads_anew(source, reads, monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_PACKAGE", tmp_path / "package")
    (tmp_path / "package" / "reading").mkdir(parents=True)
    for code in ("EU = 1", "EU = 2"):
        (tmp_path / "package" / "reading" / "rules.py").write_text(code)
        cache._hash_code.cache_clear()
        read_sentences(source)
    cache._hash_code.cache_clear()

    assert len(reads) == 2


def test_a_saved_data_set_is_read_once(tmp_path, reads):
    datasets.Dataset.from_dict(ROWS).save_to_disk(tmp_path / "ds")

    assert read_dataset(str(tmp_path / "ds"))[0][:] == read_dataset(str(tmp_path / "ds"))[0][:] == ROWS
    assert len(reads) == 1


def test_a_saved_data_set_whose_label_names_were_corrected_is_read_anew(tmp_path):
    features = Features({"tokens": List(Value("string")), "tags": List(ClassLabel(names=["O", "B-OGR"]))})
    datasets.Dataset.from_dict({"tokens": [["EU"]], "tags": [[1]]}, features=features).save_to_disk(tmp_path / "ds")
    assert read_dataset(str(tmp_path / "ds"))[0]["tags"][0] == ["B-OGR"]
    info = tmp_path / "ds" / "dataset_info.json"
    info.write_text(info.read_text().replace("OGR", "ORG"))

    assert read_dataset(str(tmp_path / "ds"))[0]["tags"][0] == ["B-ORG"]


def test_a_saved_data_set_with_other_rows_under_the_same_fingerprint_is_read_anew(tmp_path):
    for name, word in (("ds", "EU"), ("other", "US")):
        datasets.Dataset.from_dict({"tokens": [[word]], "tags": [["B-ORG"]]}).save_to_disk(tmp_path / name)
    read_dataset(str(tmp_path / "ds"))
    [rows] = (tmp_path / "ds").glob("*.arrow")
    shutil.copy(tmp_path / "other" / rows.name, rows)

    assert read_dataset(str(tmp_path / "ds"))[0]["tokens"][0] == ["US"]


def test_dropped_spans_are_shown_whenever_a_file_is_read(tmp_path, caplog):
    (tmp_path / "a.jsonl").write_text('{"text": "EU said", "spans": [[0, 1, "ORG"]]}\n')
    with caplog.at_level(logging.WARNING, logger="decausal.tagging.data"):
        read_sentences(tmp_path / "a.jsonl")
        read_sentences(tmp_path / "a.jsonl")
    place = f"{tmp_path / 'a.jsonl'}:1: 'E' (ORG) does not begin and end where words do"

    assert caplog.messages == [f"1 spans dropped, the first of them:\n  {place}"] * 2


def test_a_file_that_changes_while_it_is_read_is_refused_and_not_kept(source, monkeypatch, kept):
    def change(*args, **kwargs):
        source.write_text("US B-LOC\n")
        return assemble(*args, **kwargs)

    monkeypatch.setattr(data, "assemble", change)
    with pytest.raises(DataError, match=r"train\.txt: has changed while it was read"):
        read_sentences(source)

    assert list(kept.iterdir()) == []


@pytest.mark.parametrize("lost", ["sentences.arrow", "report.json"])
def test_what_is_left_of_an_entry_is_replaced(source, reads, kept, lost):
    read_sentences(source)
    [entry] = kept.iterdir()
    (entry / lost).unlink()

    assert read_sentences(source)[0][:] == ROWS
    assert len(reads) == 2


def test_without_caches_everything_is_read_anew_and_nothing_is_kept(source, reads, kept):
    datasets.disable_caching()
    try:
        assert read_sentences(source)[0][:] == read_sentences(source)[0][:] == ROWS
    finally:
        datasets.enable_caching()

    assert len(reads) == 2
    assert not kept.exists()


def test_nothing_is_kept_of_a_file_that_is_broken(source, kept):
    source.write_text("EU B-ORG\n\nUN\n")
    with pytest.raises(DataError, match="expected 2 columns"):
        read_sentences(source)

    assert list(kept.iterdir()) == []


def test_of_two_that_read_at_once_the_slower_finds_what_the_faster_kept(source, kept):
    _, report = read_sentences(source)
    [entry] = kept.iterdir()

    def write(path: Path) -> ReadReport:
        shutil.copytree(entry, kept / "key")
        path.write_text("of the slower one")
        return report

    dataset, _ = read_once("demo", "key", write)

    assert dataset[:] == ROWS


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(source, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file")
    with pytest.raises(DataError, match=r"train\.txt: cannot be kept in .*file: .*Not a directory.*set HF_DATA"):
        read_sentences(source)


def test_the_account_names_the_source_as_it_was_asked_for_this_time(source, kept):
    _, report = read_sentences(source)
    [entry] = kept.iterdir()

    assert read_once("demo", entry.name, lambda _: report)[1] == replace(report, source="demo")
