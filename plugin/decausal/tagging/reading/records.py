"""Sentences as records: lines of JSON, rows of a data set, or whatever else comes with keys."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from decausal.tagging.reading.source import Sentence, Source
from decausal.tagging.reading.spans import FindWords, Span, find_words, split_words, tag_spans

_WORD_KEYS: tuple[str, ...] = ("tokens", "words")
_TAG_KEYS: tuple[str, ...] = ("ner_tags", "tags")
_TEXT_KEYS: tuple[str, ...] = ("text",)
_SPAN_KEYS: tuple[str, ...] = ("spans", "entities", "label")

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

Record = Mapping[str, Any]


def read_json_lines(source: Source) -> Iterator[tuple[int, Record]]:
    """The object on each line that is not blank, with its number.

    Raises:
        DataError: If a line is no JSON object.
    """
    for number, line in enumerate(source.lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            message = f"is not JSON: {error.msg} at character {error.colno}; expected one object a line"
            raise source.error(number, message) from error
        if not isinstance(record, dict):
            raise source.error(number, f"expected one JSON object a line, found a {type(record).__name__}")
        if _SURROGATE.search(line):
            check_characters(record, number, source)
        yield number, record


def check_characters(record: Record, number: int, source: Source) -> None:
    """Refuses text that UTF-8 has no bytes for, and that JSON can nevertheless spell.

    Raises:
        DataError: If there is any.
    """
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise source.error(number, "holds half of a surrogate pair, which is no character") from error


def find_keys(record: Record, columns: str | None, number: int, source: Source) -> tuple[str, str]:
    """The key of the words or the text, and that of the tags or the spans.

    Args:
        record: The record to look in.
        columns: Two keys, such as `"tokens,ner_tags"`; by default the first of the usual ones that are there.
        number: The line or row of the record.
        source: Where it is from.

    Raises:
        DataError: If the record lacks either.
    """
    if columns is not None:
        keys = tuple(key.strip() for key in columns.split(","))
        if len(keys) != 2:
            raise ValueError(f"columns={columns!r}: expected two keys, words and tags, such as tokens,ner_tags")
        pairs: list[tuple[tuple[str, ...], tuple[str, ...]]] = [((keys[0],), (keys[1],))]
    else:
        pairs = [(_WORD_KEYS, _TAG_KEYS), (_TEXT_KEYS, _SPAN_KEYS)]
    for input_keys, annotation_keys in pairs:
        found_input = [key for key in input_keys if key in record]
        found_annotation = [key for key in annotation_keys if key in record]
        if found_input and found_annotation:
            return found_input[0], found_annotation[0]
    expected = columns or "tokens and ner_tags or tags, or text and spans or entities"
    raise source.error(
        number, f"expected the keys {expected}, found {', '.join(record) or 'none'}; choose two with columns"
    )


def to_sentence(
    record: Record, columns: str | None, number: int, source: Source, find_words: FindWords = find_words
) -> Sentence:
    """A record of words and tags, or of a text and spans, as a sentence.

    Args:
        record: Words and tags are lists of strings, a text is a string; a span is `[start, end, label]`, in
            characters of the text, or an object with these keys.
        columns: The two keys to use, see `find_keys`.
        number: The line or row of the record.
        source: Where it is from.
        find_words: What cuts a text.

    Raises:
        DataError: If a key is missing, or its value is something else.
    """
    input_key, annotation_key = find_keys(record, columns, number, source)
    content = record[input_key]
    if isinstance(content, str):
        annotation = to_list(record[annotation_key], annotation_key, number, source)
        tagged = tag_spans(content, [_to_span(value, content, number, source) for value in annotation], find_words)
        dropped = [f"{content[span.start : span.end]!r} ({span.label}) {why}" for span, why in tagged.dropped]
        return Sentence(tagged.words, tagged.tags, source, [number] * len(tagged.words), dropped)
    words = to_strings(content, input_key, number, source)
    tags = to_strings(record[annotation_key], annotation_key, number, source)
    if len(words) != len(tags):
        raise source.error(
            number,
            f"expected a tag for each word, found {len(words)} {input_key} and {len(tags)} {annotation_key}",
        )
    return Sentence(words, tags, source, [number] * len(words))


def to_words(record: Record, columns: str | None, number: int, source: Source) -> list[str]:
    """The words of a record without regard to its annotation; a text is cut into words.

    Args:
        record: As for `to_sentence`.
        columns: The key to use, or that and the key of the annotation.
        number: The line or row of the record.
        source: Where it is from.

    Raises:
        DataError: If it has neither words nor a text.
    """
    keys = (columns.split(",")[0].strip(),) if columns else (*_WORD_KEYS, *_TEXT_KEYS)
    for key in keys:
        if isinstance(record.get(key), str):
            return split_words(record[key])
        if key in record:
            return to_strings(record[key], key, number, source)
    raise source.error(number, f"expected {columns or 'tokens or text'}, found the keys {', '.join(record) or 'none'}")


def to_list(value: Any, key: str, number: int, source: Source) -> list[Any]:
    """What stands under a key, as a list.

    Raises:
        DataError: If it is none.
    """
    if not isinstance(value, list | tuple):
        raise source.error(number, f"expected a list under {key!r}, found {value!r}")
    return list(value)


def to_strings(value: Any, key: str, number: int, source: Source) -> list[str]:
    """What stands under a key, as a list of strings.

    Raises:
        DataError: If it is none.
    """
    strings = to_list(value, key, number, source)
    for idx, string in enumerate(strings):
        if isinstance(string, int):
            message = f"{key}[{idx}] is the number {string}, which only a data set with a ClassLabel can name"
            raise source.error(number, f"{message}; write text, such as B-PER")
        if not isinstance(string, str):
            raise source.error(number, f"expected text in {key}[{idx}], found {string!r}")
    return strings


def _to_span(value: Any, text: str, number: int, source: Source) -> Span:
    match value:
        case {"start": int(start), "end": int(end), "label": str(label)} | [int(start), int(end), str(label)]:
            if label and 0 <= start < end <= len(text):
                return Span(start, end, label)
    expected = f"expected a span [start, end, label] with 0 <= start < end <= {len(text)}, the length of the text"
    raise source.error(number, f"{expected}, found {value!r}")
