import io
import os
import sys
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from decausal import DataError
from decausal.tagging.reading.source import Lines, Source


@pytest.fixture
def write(tmp_path):
    def _write(content: bytes) -> Path:
        path = tmp_path / "train.txt"
        path.write_bytes(content)
        return path

    return _write


def test_lines_lose_their_ends_and_the_file_its_byte_order_mark(write):
    source = Source.read(Lines(write(b"\xef\xbb\xbfEU B-ORG\r\n\r\nlast O")))

    assert list(source.lines) == ["EU B-ORG", "", "last O"]


def test_characters_that_only_python_takes_for_line_ends_stay_inside_words(write):
    assert list(Source.read(Lines(write("a\x85b O\nc\u2028d\re O\n".encode()))).lines) == ["a\x85b O", "c\u2028d\re O"]


def test_a_hyphen_is_the_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"EU rejects\n")))

    source = Source.read(Lines(Path("-")))

    assert source.name == "standard input"
    assert list(source.lines) == list(source.lines) == ["EU rejects"]


def test_a_file_is_not_held_in_memory(write):
    path = write(b"x O\n" * 1_000_000)
    tracemalloc.start()
    source = Source.read(Lines(path))
    num_lines = sum(1 for _ in source.lines)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert num_lines == 1_000_000
    assert peak < path.stat().st_size / 4


def test_the_copy_of_the_standard_input_goes_with_its_lines(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"EU rejects\n")))

    source = Source.read(Lines(Path("-")))
    path = source.lines.path
    assert path.exists()
    del source
    assert not path.exists()


def test_an_empty_standard_input_is_called_by_its_name(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\n")))

    with pytest.raises(DataError, match="standard input: is empty; there are no words in it"):
        Source.read(Lines(Path("-")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"ab\0c", "is binary or UTF-16 .a zero byte at offset 2"),
        ("EU O\n".encode("utf-16"), "is binary or UTF-16"),
        (
            "EU B-ORG\nGenève B-LOC\n".encode("latin-1"),
            "train.txt:2: is not UTF-8: byte 0xe8 at offset 12",
        ),
    ],
)
def test_what_is_no_utf8_text_is_refused_with_the_place(write, content, message):
    with pytest.raises(DataError, match=message):
        Source.read(Lines(write(content)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.txt: cannot be read: No such file"):
        Lines(tmp_path / "absent.txt")


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        Lines(tmp_path)


def test_an_error_shows_file_line_and_a_short_form_of_the_line():
    error = Source("a.txt", ["x O", "y" * 100]).error(2, "expected a tag")

    assert str(error) == f"a.txt:2: expected a tag; the line is '{'y' * 80}'..."


def test_an_error_in_a_data_set_shows_the_row():
    assert str(Source("wnut (train)", unit=", row ").error(7, "expected text")) == "wnut (train), row 7: expected text"


def test_a_pipe_is_read_once_and_looped_over_twice(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("EU O\n",))
    writer.start()
    source = Source.read(Lines(tmp_path / "pipe"))
    writer.join()

    assert source.name == str(tmp_path / "pipe")
    assert list(source.lines) == list(source.lines) == ["EU O"]
