import json
from collections import Counter

import pytest

from decausal import DataError
from decausal.tagging.reading.maven import is_document, read_sentences, read_words
from decausal.tagging.reading.source import Source

CONTENT = [{"sentence": "", "tokens": ["Troops", "took", "off"]}, {"sentence": "", "tokens": ["A", "war"]}]


def event(event_type: object, *mentions: tuple[object, object]):
    return {"type": event_type, "mention": [{"sent_id": sent_id, "offset": offset} for sent_id, offset in mentions]}


def document(*events: object):
    return {"id": "x", "content": CONTENT, "events": events, "negative_triggers": [{"sent_id": 0, "offset": [0, 1]}]}


def read(*documents: object, skipped: Counter[str] | None = None):
    lines = [json.dumps(one) for one in documents]
    return list(read_sentences(Source("a.jsonl", lines), Counter() if skipped is None else skipped))


def test_the_mentions_of_events_are_tagged_in_their_sentences_with_the_type_as_it_is_spelt():
    found = read(document(event("Hostile_encounter", (1, [1, 2])), event("Departing", (0, [1, 3]))), document())

    assert [(sentence.words, sentence.tags, sentence.numbers) for sentence in found] == [
        (["Troops", "took", "off"], ["O", "B-Departing", "I-Departing"], [1, 1, 1]),
        (["A", "war"], ["O", "B-Hostile_encounter"], [1, 1]),
        (["Troops", "took", "off"], ["O", "O", "O"], [2, 2, 2]),
        (["A", "war"], ["O", "O"], [2, 2]),
    ]


def test_an_overwritten_mention_is_named_with_its_place_and_a_repeated_one_counted():
    skipped = Counter[str]()

    found = read(document(event("War", (1, [1, 2]), (1, [1, 2])), event("Attack", (1, [1, 2]))), skipped=skipped)

    assert [sentence.dropped for sentence in found] == [
        [],
        ["content[1]: 'war' (War) is overwritten by 'war' (Attack)"],
    ]
    assert skipped == {"repeated mentions": 1}


def test_the_test_file_has_words_to_predict_on():
    lines = [json.dumps({"content": CONTENT, "candidates": []})]

    assert list(read_words(Source("a.jsonl", lines))) == [["Troops", "took", "off"], ["A", "war"]]


def test_a_document_is_told_by_the_tokens_of_its_sentences():
    assert is_document(json.dumps(document()))
    assert not is_document('{"content": ["a"], "events": ["B-x"]}')
    assert not is_document('{"tokens": ["a"], "tags": ["O"]}')
    assert not is_document("broken")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"content": CONTENT, "candidates": [{"sent_id": 0, "offset": [0, 1]}]},
            "expected events, found candidates without their types: MAVEN keeps those of its test file to itself",
        ),
        ({"content": CONTENT, "id": 1}, "expected events, found the keys content, id; train and score on"),
        ({"events": []}, "expected a list under 'content', found None"),
        ({"content": ["a"], "events": []}, r"expected in content\[0\] an object with tokens, found 'a'"),
        ({"content": [{"sentence": "a"}], "events": []}, r"expected in content\[0\] an object with tokens, found \{"),
        ({"content": [{"tokens": ["a", 1]}]}, r"content\[0\].tokens\[1\] is the number 1"),
        (document(5), r"expected in events\[0\] a type and mention, found 5"),
        (document({"type": "War"}), r"expected in events\[0\] a type and mention"),
        (document({"type": "War", "mention": 1}), r"expected a list under 'events\[0\].mention', found 1"),
        (
            document(event("War"), event("War", (0, [0, 1]), (2, [0, 1]))),
            r"expected in events\[1\].mention\[1\] a sent_id below 2, the number of sentences, and two offsets, found",
        ),
        (document(event("War", (0, [1]))), "a sent_id below 2, the number of sentences, and two offsets"),
        (
            document(event("War", (1, [1, 3]))),
            r"events\[0\].mention\[0\] a type, and 0 <= start < end <= 2, the number",
        ),
    ],
)
def test_what_is_no_document_with_events_is_an_error_at_its_line_and_place(record, message):
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{message}"):
        read(document(), record)
