from collections import Counter

import pytest
from datasets import Dataset, disable_progress_bars

from decausal import DataError
from decausal.tagging.reading.files import FileFormat
from decausal.tagging.reading.readers import annotated_sentences, dataset_sentences, plain_sentences
from decausal.tagging.reading.source import Lines

disable_progress_bars()
XML = """<sentences><sentence><text>EU said</text>
<aspectTerm term="EU" polarity="org" from="0" to="2"/></sentence></sentences>"""
ACE = """[{"words": ["EU", "said"], "golden-event-mentions": [
{"trigger": {"start": 0, "end": 1}, "event_type": "org"}]}]"""
MAVEN = """{"content": [{"tokens": ["EU", "said"]}], "events": [
{"type": "org", "mention": [{"sent_id": 0, "offset": [0, 1]}]}]}""".replace("\n", "")
FILES = [
    ("a.txt", "EU NNP B-org\nsaid VBD O\n", "conll"),
    ("a.iob2", "1\tEU\tB-org\t-\n2\tsaid\tO\t-\n", "conllu"),
    ("a.jsonl", '{"tokens": ["EU", "said"], "tags": ["B-org", "O"]}\n', "jsonl"),
    ("a.xml", XML, "semeval"),
    ("a.json", ACE, "ace"),
    ("a.jsonl", MAVEN, "maven"),
]


@pytest.fixture
def write(tmp_path):
    def _write(name: str, content: str):
        path = tmp_path / name
        path.write_text(content)
        return Lines(path)

    return _write


@pytest.mark.parametrize(("name", "content", "expected"), FILES)
def test_every_format_gives_the_same_sentence(write, name, content, expected):
    file_format, read = annotated_sentences(write(name, content), None, None, None)

    assert file_format is FileFormat(expected)
    assert [(sentence.words, sentence.tags) for sentence in read(Counter())] == [(["EU", "said"], ["B-org", "O"])]


@pytest.mark.parametrize(("name", "content", "expected"), FILES)
def test_every_format_gives_its_words_for_prediction(write, name, content, expected):
    file_format, read = plain_sentences(write(name, content), FileFormat(expected), None, None)

    assert file_format is FileFormat(expected)
    assert list(read()) == [["EU", "said"]]


def test_parquet_and_data_sets_are_read_alike(tmp_path):
    dataset = Dataset.from_dict({"tokens": [["EU"]], "tags": [["B-ORG"]]})
    dataset.to_parquet(tmp_path / "a.parquet")

    file_format, read = annotated_sentences(Lines(tmp_path / "a.parquet"), None, None, None)

    assert file_format is FileFormat.PARQUET
    assert [sentence.tags for sentence in read(Counter())] == [["B-ORG"]]
    assert [sentence.tags for sentence in dataset_sentences(dataset, "demo", None)] == [["B-ORG"]]


def test_a_format_named_by_the_user_wins_over_what_the_content_suggests(write):
    _, read = annotated_sentences(write("a.txt", "1 2 O\n2 3 O\n"), FileFormat.CONLL, None, None)

    assert next(read(Counter())).words == ["1", "2"]


def test_the_column_of_word_numbers_is_not_taken_for_words(write):
    path = write("a.iob2", "1\tEU\tB-ORG\n2\tsaid\tO\n")
    with pytest.raises(DataError, match="columns='0,-1' takes for words the first column, which numbers them"):
        list(annotated_sentences(path, None, "0,-1", None)[1](Counter()))


def test_running_text_is_cut_into_words_and_given_words_are_not(write):
    path = write("a.txt", "U.S. said\n")

    assert list(plain_sentences(path, None, None, None)[1]()) == [["U.S.", "said"]]
    assert list(plain_sentences(path, FileFormat.TEXT, None, None)[1]()) == [["U", ".", "S", ".", "said"]]


def test_words_for_prediction_stand_between_ascii_blanks_and_a_blank_line_has_none(write):
    path = write("a.txt", " 20\u00a0000  men\t\n\n\u3000 x\n")

    assert list(plain_sentences(path, None, None, None)[1]()) == [["20\u00a0000", "men"], [], ["\u3000", "x"]]


@pytest.mark.parametrize(("columns", "separator"), [("0,-1", None), (None, " ")])
def test_a_column_or_a_separator_named_by_the_user_makes_columns_of_any_text(write, columns, separator):
    file_format, read = plain_sentences(write("a.txt", "EU x\nsaid y\n"), None, columns, separator)

    assert file_format is FileFormat.CONLL
    assert list(read()) == [["EU", "said"]]


def test_a_key_named_by_the_user_holds_the_words_to_predict_on(write):
    path = write("a.jsonl", '{"tokens": ["no"], "form": ["EU"]}\n')

    assert list(plain_sentences(path, None, "form,ne", None)[1]()) == [["EU"]]


def test_plain_formats_have_no_tags_to_train_on(write):
    with pytest.raises(DataError, match="file_format=text has no tags; it is for prediction only"):
        annotated_sentences(write("a.txt", "EU said"), FileFormat.TEXT, None, None)


def test_parquet_is_not_read_for_prediction(write):
    with pytest.raises(DataError, match="words are not read from Parquet"):
        plain_sentences(write("a.txt", "EU said"), FileFormat.PARQUET, None, None)
    with pytest.raises(DataError, match="words are not read from Parquet"):
        plain_sentences(write("a.parquet", "EU said"), None, None, None)
