import pytest

from decausal import DataError
from decausal.tagging.reading.records import read_json_lines, to_sentence, to_words
from decausal.tagging.reading.source import Source

SOURCE = Source("a.jsonl", ["{...}"])


@pytest.mark.parametrize(
    ("record", "columns"),
    [
        ({"tokens": ["EU", "said"], "ner_tags": ["B-ORG", "O"], "tags": ["x", "x"]}, None),
        ({"words": ["EU", "said"], "tags": ["B-ORG", "O"], "text": "EU said"}, None),
        ({"form": ["EU", "said"], "ne": ["B-ORG", "O"], "tokens": ["x"], "tags": ["x"]}, "form, ne"),
        ({"text": "EU said", "spans": [{"start": 0, "end": 2, "label": "ORG"}]}, None),
        ({"text": "EU said", "entities": [[0, 2, "ORG"]], "tokens": [{"text": "EU"}]}, None),
        ({"text": "EU said", "label": [(0, 2, "ORG")]}, None),
        ({"body": "EU said", "marks": [[0, 2, "ORG"]]}, "body,marks"),
    ],
)
def test_words_with_tags_and_text_with_spans_become_the_same_sentence(record, columns):
    sentence = to_sentence(record, columns, 1, SOURCE)

    assert (sentence.words, sentence.tags, sentence.numbers) == (["EU", "said"], ["B-ORG", "O"], [1, 1])


def test_only_spans_can_be_dropped_and_each_is_described():
    assert to_sentence({"tokens": ["EU"], "tags": ["O"]}, None, 1, SOURCE).dropped is None
    assert to_sentence({"text": "EU", "spans": [[0, 1, "ORG"]]}, None, 1, SOURCE).dropped == [
        "'E' (ORG) does not begin and end where words do"
    ]


def test_an_empty_word_keeps_its_place():
    assert to_sentence({"tokens": ["", "EU"], "tags": ["O", "O"]}, None, 1, SOURCE).words == ["", "EU"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"tokens": ["EU"], "id": 1},
            "expected the keys tokens and ner_tags or tags, or text and .* found tokens, id",
        ),
        ({}, "found none"),
        ({"tokens": ["EU", "said"], "tags": ["O"]}, "a tag for each word, found 2 tokens and 1 tags"),
        (
            {"tokens": ["EU"], "tags": [3]},
            r"tags\[0\] is the number 3, which only a data set with a ClassLabel",
        ),
        ({"tokens": ["EU", None], "tags": ["O", "O"]}, r"expected text in tokens\[1\], found None"),
        ({"tokens": ["EU"], "tags": "O"}, "expected a list under 'tags', found 'O'"),
        ({"text": "EU", "spans": {"start": 0}}, "expected a list under 'spans'"),
        ({"text": "EU", "spans": [[0, 3, "ORG"]]}, r"0 <= start < end <= 2, .* found \[0, 3, 'ORG'\]"),
        ({"text": "EU", "spans": [[1, 1, "ORG"]]}, "expected a span"),
        ({"text": "EU", "spans": [[0, 2, ""]]}, "expected a span"),
        ({"text": "EU", "spans": [[0, 2]]}, "expected a span"),
        ({"text": "EU", "spans": [{"from": 0, "to": 2, "label": "ORG"}]}, "expected a span"),
    ],
)
def test_a_record_that_is_not_as_it_should_be_is_an_error_at_its_line(record, message):
    with pytest.raises(DataError, match=rf"^a\.jsonl:1: .*{message}"):
        to_sentence(record, None, 1, SOURCE)


def test_columns_of_records_are_two_keys():
    with pytest.raises(ValueError, match="columns='tokens': expected two keys"):
        to_sentence({"tokens": []}, "tokens", 1, SOURCE)
    with pytest.raises(DataError, match="expected the keys tokens,ne, found tokens"):
        to_sentence({"tokens": []}, "tokens,ne", 1, SOURCE)


def test_objects_are_read_line_by_line():
    lines = ['{"tokens": ["\\ud83d\\ude00"]}', "", '{"text": "x"}']

    assert list(read_json_lines(Source("a.jsonl", lines))) == [
        (1, {"tokens": ["\U0001f600"]}),
        (3, {"text": "x"}),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"tokens": ["EU"]',
            "a.jsonl:2: is not JSON: Expecting ',' delimiter at character 18; expected one object",
        ),
        ("[1]", "a.jsonl:2: expected one JSON object a line, found a list"),
        ('{"tokens": ["\\ud83d"]}', "a.jsonl:2: holds half of a surrogate pair"),
    ],
)
def test_a_line_that_is_no_json_object_is_an_error_at_its_line(line, message):
    with pytest.raises(DataError, match=message):
        list(read_json_lines(Source("a.jsonl", ["{}", line])))


def test_words_need_no_annotation():
    assert to_words({"tokens": ["U.S."]}, None, 1, SOURCE) == ["U.S."]
    assert to_words({"text": "U.S."}, None, 1, SOURCE) == ["U", ".", "S", "."]
    assert to_words({"tokens": ["U.S."], "body": "U.S."}, "body, marks", 1, SOURCE) == ["U", ".", "S", "."]
    with pytest.raises(DataError, match=r"a\.jsonl:1: expected tokens or text, found the keys id"):
        to_words({"id": 1}, None, 1, SOURCE)
    with pytest.raises(DataError, match=r"a\.jsonl:1: expected form,ne, found the keys id"):
        to_words({"id": 1}, "form,ne", 1, SOURCE)
