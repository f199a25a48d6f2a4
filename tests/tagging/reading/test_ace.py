import json
from collections import Counter

import pytest

from decausal import DataError
from decausal.tagging.reading.ace import read_sentences, read_words
from decausal.tagging.reading.source import Source


def event(start: object, end: object, event_type: object = "Life:Die"):
    return {"trigger": {"text": "", "start": start, "end": end}, "arguments": [], "event_type": event_type}


def item(words: str, *events: object):
    return {"sentence": words, "golden-entity-mentions": [], "golden-event-mentions": events, "words": words.split()}


def read(text: str, skipped: Counter[str] | None = None):
    return list(read_sentences(Source("a.json", text.split("\n")), Counter() if skipped is None else skipped))


ITEMS = [item("He was shot dead", event(2, 4)), item("Quiet here"), item("war , war", event(2, 3, "Conflict:Attack"))]


@pytest.mark.parametrize("indent", [None, 2])
def test_the_words_of_a_trigger_have_its_type_in_lower_case_and_its_end_is_that_of_the_next_word(indent):
    assert [(sentence.words, sentence.tags) for sentence in read(json.dumps(ITEMS, indent=indent))] == [
        (["He", "was", "shot", "dead"], ["O", "O", "B-life:die", "I-life:die"]),
        (["Quiet", "here"], ["O", "O"]),
        (["war", ",", "war"], ["O", "O", "B-conflict:attack"]),
    ]


def test_words_for_prediction_need_no_usable_events():
    text = json.dumps([item("He died", event(7, 9))])

    assert list(read_words(Source("a.json", [text]))) == [["He", "died"]]


def test_each_sentence_knows_the_line_on_which_its_object_begins():
    text = '[ {"words": ["a"],\n "golden-event-mentions": []},\n{"words": ["b", "c"], "golden-event-mentions": []}\n]\n'

    assert [sentence.numbers for sentence in read(text)] == [[1], [3, 3]]


def test_an_overwritten_trigger_is_named_with_its_place_and_a_repeated_one_counted():
    skipped = Counter[str]()
    items = [item("Quiet"), item("He died", event(1, 2), event(1, 2), event(1, 2, "Conflict:Attack"))]

    sentences = read(json.dumps(items), skipped)

    assert [sentence.dropped for sentence in sentences] == [
        [],
        ["[1]: 'died' (life:die) is overwritten by 'died' (conflict:attack)"],
    ]
    assert skipped == {"repeated mentions": 1}


def test_an_empty_array_has_no_sentences():
    assert read(" [ ]\n") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"words": []}', r"a.json:1: expected a JSON array, which begins with \["),
        ('[\n{"words": [,', r"a.json:2: \[0\] is not JSON: Expecting value at character 12"),
        ("[", r"a.json:1: \[0\] is not JSON: Expecting value at character 2"),
        (f"[\n{json.dumps(ITEMS[0])}\n", r"a.json:2: expected , or \] behind \[0\], which ends here"),
        (f"[{json.dumps(ITEMS[0])},\n]x", r"a.json:2: expected nothing behind the JSON array that ends here"),
        ("[\n[]]", r"a.json:2: expected in \[0\] an object with the keys words and golden-event-mentions, .*a list"),
        ('[{"tokens": [], "tags": []}]', r"found the keys tokens, tags; records of other kinds stand one a line"),
        (json.dumps([item("a"), item("b") | {"words": "b"}], indent=1), r"a.json:10: .* '\[1\].words', found 'b'"),
        (json.dumps([item("a") | {"words": ["a", 5]}]), r"\[0\].words\[1\] is the number 5"),
        (json.dumps([item("a") | {"words": ["\ud83d"]}]), "a.json:1: holds half of a surrogate pair"),
        (
            json.dumps([item("a") | {"golden-event-mentions": {}}]),
            r"expected a list under '\[0\].golden-event-mentions', found \{\}",
        ),
        (
            json.dumps([item("He died", event(1, 3))]),
            r"in \[0\].golden-event-mentions\[0\] a type, and 0 <= start < end <= 2, .* type 'life:die' and 1 to 3",
        ),
        (
            json.dumps([item("He died", {"trigger": "died", "event_type": "Life:Die"})]),
            r"expected in \[0\].golden-event-mentions\[0\] a trigger with start and end, and event_type, found",
        ),
        (json.dumps([item("He died", event(1, 2, 5))]), "a trigger with start and end, and event_type, found"),
    ],
)
def test_what_the_preprocessing_does_not_write_is_an_error_at_its_line_and_place(text, message):
    with pytest.raises(DataError, match=message):
        read(text)
