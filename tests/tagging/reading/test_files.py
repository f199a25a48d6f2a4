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
        ("a.json", "[", FileFormat.ACE),
        ("a", ' [ {"sentence": "EU"}', FileFormat.ACE),
        ("a.txt", "[ O", FileFormat.CONLL),
        ("a.json", '{"content": [{"tokens": ["EU"]}]}', FileFormat.MAVEN),
        ("a", '{"content": [{"tokens": ["EU"]}]}', FileFormat.MAVEN),
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
        ("-", ["1 man was hurt in the house"], FileFormat.WORDS),
        ("-", ["1 house now", "2 houses then"], FileFormat.WORDS),
        ("-", ["1\tThey like it here", "2\tWe like it too"], FileFormat.WORDS),
        ("-", ["I take vitamin O"], FileFormat.WORDS),
        ("-", ["I take vitamin O", "You need vitamin O"], FileFormat.WORDS),
        ("-", ["We took the S-Bahn", "They flew a B-52"], FileFormat.WORDS),
        ("-", ["Her blood is O", "", "They flew a B-52"], FileFormat.WORDS),
        ("-", ["Tyger Tyger , burning bright ,", "In the forests of the night ;"], FileFormat.WORDS),
        ("-", ["s1\tJordan borders the sea .", "s2\tRome is old ."], FileFormat.WORDS),
        ("-", ["# one more heading", "", "# and another heading"], FileFormat.WORDS),
        ("a.txt", ["EU B-ORG", "said O", "", "no O"], FileFormat.CONLL),
        ("a.txt", ["-DOCSTART- -X- O O", "", "EU NNP B-NP B-ORG", "said VBD O"], FileFormat.WORDS),
        ("a.txt", ["-DOCSTART- -X- O", "", "EU NNP B-ORG", "said VBD O", "no O"], FileFormat.CONLL),
        ("a.txt", ["# id 1 domain=en", "EU _ B-ORG", "said _ O"], FileFormat.CONLL),
        ("a.txt", ["EU\tO"], FileFormat.CONLL),
        ("a.txt", ["EU\tO", "said\tO", "broken"], FileFormat.CONLL),
        ("a.txt", ["1 EU B-ORG", "2 said O"], FileFormat.CONLLU),
        ("a.txt", ["# text = EU", "1\tEU\tO", "2\t20 000\tO", "3\tx\tO"], FileFormat.CONLLU),
        ("a.conll", ["EU NNP", "said VBD"], FileFormat.CONLL),
        ("a.txt", ["1\tEU\tO"], FileFormat.CONLLU),
        ("a.jsonl", ["{}"], FileFormat.JSONL),
    ],
)
def test_lines_to_predict_on_are_sentences_unless_they_must_be_columns(name, lines, expected):
    assert detect_input_format(Source(name, lines)) is expected


def test_an_array_whose_first_object_begins_on_the_next_line_is_told_by_both_lines():
    assert detect_format(Source("a", ["[", "    {", '"sentence"'])) is FileFormat.ACE


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match="file_format='csv': expected one of conll, conllu, jsonl, semeval, ace, maven, parquet"
    ):
        FileFormat("csv")
