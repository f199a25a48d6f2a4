import pytest

from decausal import DataError
from decausal.tagging.reading.files import FileFormat, detect_format, detect_input_format, find_files
from decausal.tagging.reading.source import Source


@pytest.fixture
def folder(tmp_path):
    for name in ("b.tsv", "a.tsv", "c.txt", ".hidden", "README.md", "LICENSE.txt", "Licence"):
        (tmp_path / name).write_text("x O\n")
    (tmp_path / "sub").mkdir()
    return tmp_path


def test_a_directory_is_its_files_in_order_without_readme_licence_and_hidden_ones(folder):
    assert find_files(folder) == [folder / "a.tsv", folder / "b.tsv", folder / "c.txt"]


def test_a_pattern_is_the_files_that_match_in_order(folder):
    assert find_files(f"{folder}/*.tsv") == [folder / "a.tsv", folder / "b.tsv"]


def test_several_sources_keep_their_order(folder):
    assert find_files([folder / "c.txt", f"{folder}/a*"]) == [folder / "c.txt", folder / "a.tsv"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(folder):
    (folder / "[a].tsv").write_text("x O\n")
    assert find_files(folder / "[a].tsv") == [folder / "[a].tsv"]


def test_a_pattern_or_directory_without_files_is_an_error(folder):
    with pytest.raises(DataError, match=r"\*\.conll: holds no file of annotated text"):
        find_files(f"{folder}/*.conll")
    with pytest.raises(DataError, match="sub: holds no file of annotated text"):
        find_files(folder / "sub")


@pytest.mark.parametrize(
    ("name", "opening", "expected"),
    [
        ("a.txt", "EU O", FileFormat.CONLL),
        ("a.txt", "{ O", FileFormat.CONLL),
        ("a.txt", "1\tEU\tO", FileFormat.CONLLU),
        ("a.iob2", "# text = EU", FileFormat.CONLL),
        ("a.jsonl", "broken", FileFormat.JSONL),
        ("a.txt", ' {"tokens": []}', FileFormat.JSONL),
        ("a.XML", "broken", FileFormat.SEMEVAL),
        ("a", '<?xml version="1.0"?>', FileFormat.SEMEVAL),
        ("a", "<sentences>", FileFormat.SEMEVAL),
    ],
)
def test_the_format_is_told_by_suffix_or_content(name, opening, expected):
    assert detect_format(Source(name, ["", opening])) is expected


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        ("a.txt", ["Jordan said .", "", "Rome ."], FileFormat.WORDS),
        ("-", ["Type O", "blood types vary"], FileFormat.WORDS),
        ("a.txt", ["O", "O"], FileFormat.WORDS),
        ("a.txt", ["EU B-ORG", "", "said O"], FileFormat.CONLL),
        ("a.conll", ["EU NNP", "said VBD"], FileFormat.CONLL),
        ("a.txt", ["1\tEU\tO"], FileFormat.CONLLU),
        ("a.jsonl", ["{}"], FileFormat.JSONL),
    ],
)
def test_lines_to_predict_on_are_sentences_unless_all_end_in_a_tag(name, lines, expected):
    assert detect_input_format(Source(name, lines)) is expected


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="file_format='csv': expected one of conll, conllu, jsonl, semeval, parquet"):
        FileFormat("csv")
