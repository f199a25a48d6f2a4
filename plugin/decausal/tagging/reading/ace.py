"""Sentences from ACE 2005 as preprocessed by nlpcl-lab/ace2005-preprocessing, or by JMEE before it: a JSON array."""

import json
import re
from collections import Counter
from collections.abc import Iterator

from decausal.tagging.reading.mentions import Mention, check_mention, tag_mentions
from decausal.tagging.reading.records import Record, check_characters, to_list, to_strings
from decausal.tagging.reading.source import Sentence, Source

_WORDS, _EVENTS = "words", "golden-event-mentions"
_PUNCTUATION = re.compile(r"\s*([\[\],]?)\s*")

Item = tuple[int, str, Record]
"""The line on which an object of the array begins, its place in the array, such as `[0]`, and the object."""


def read_items(source: Source) -> Iterator[Item]:
    """Each object of the array. All of the text is in memory: the corpus is a fixed one, of 17,000 sentences.

    Raises:
        DataError: If the text is no JSON array of objects with words and events.
    """
    text = "\n".join(source.lines)
    decoder = json.JSONDecoder()
    opening = _PUNCTUATION.match(text)
    assert opening is not None  # it matches nothing, too
    number, counted, place = 1, 0, opening.end()
    if opening[1] != "[":
        raise source.error(1, "expected a JSON array, which begins with [")
    idx = 0
    while text[place : place + 1] != "]":
        try:
            record, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise source.error(error.lineno, f"[{idx}] is not JSON: {error.msg} at character {error.colno}") from error
        number, counted = number + text.count("\n", counted, place), place
        yield number, f"[{idx}]", _check_keys(record, f"[{idx}]", number, source)
        closing = _PUNCTUATION.match(text, end)
        if closing is None or closing[1] not in (",", "]"):
            raise source.error(
                number + text.count("\n", counted, end), f"expected , or ] behind [{idx}], which ends here"
            )
        idx, place = idx + 1, closing.end() if closing[1] == "," else closing.start(1)
    if text[place + 1 :].strip():
        raise source.error(1 + text.count("\n", 0, place), "expected nothing behind the JSON array that ends here")


def read_words(source: Source) -> Iterator[list[str]]:
    """The words of each sentence without regard to its events.

    Raises:
        DataError: As `read_sentences`, but for events.
    """
    for number, place, record in read_items(source):
        yield to_strings(record[_WORDS], f"{place}.{_WORDS}", number, source)


def read_sentences(source: Source, skipped: Counter[str]) -> Iterator[Sentence]:
    """The words of each sentence, those of a trigger tagged with its event type in lower case.

    Args:
        source: The file. `end` of a trigger is that of the word behind it.
        skipped: Counts the events whose trigger and type another one has too.

    Raises:
        DataError: If the file is not as the preprocessing writes it.
    """
    for number, place, record in read_items(source):
        words = to_strings(record[_WORDS], f"{place}.{_WORDS}", number, source)
        events = to_list(record[_EVENTS], f"{place}.{_EVENTS}", number, source)
        tagged = tag_mentions(
            words,
            [
                _to_trigger(event, len(words), f"{place}.{_EVENTS}[{idx}]", number, source)
                for idx, event in enumerate(events)
            ],
        )
        skipped["repeated mentions"] += tagged.num_repeated
        dropped = [f"{place}: {message}" for message in tagged.dropped]
        yield Sentence(words, tagged.tags, source, [number] * len(words), dropped)


def _check_keys(record: object, place: str, number: int, source: Source) -> Record:
    if not isinstance(record, dict) or not {_WORDS, _EVENTS} <= set(record):
        found = f"the keys {', '.join(record) or 'none'}" if isinstance(record, dict) else f"a {type(record).__name__}"
        raise source.error(
            number,
            f"expected in {place} an object with the keys {_WORDS} and {_EVENTS}, as in preprocessed ACE 2005, found "
            f"{found}; records of other kinds stand one a line, without brackets around them (JSON lines)",
        )
    check_characters(record, number, source)
    return record


def _to_trigger(event: object, num_words: int, place: str, number: int, source: Source) -> Mention:
    match event:
        case {"trigger": {"start": start, "end": end}, "event_type": str(label)}:
            return check_mention(start, end, label.lower(), num_words, place, number, source)
    raise source.error(number, f"expected in {place} a trigger with start and end, and event_type, found {event!r}")
