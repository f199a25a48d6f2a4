"""Sentences from MAVEN: JSON lines, each a document with its events."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

from decausal.tagging.reading.mentions import Mention, check_mention, tag_mentions
from decausal.tagging.reading.records import Record, read_json_lines, to_list, to_strings
from decausal.tagging.reading.source import Sentence, Source


def is_document(line: str) -> bool:
    """True for a line of MAVEN: its sentences are objects with tokens."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return False
    match record:
        case {"content": [{"tokens": _}, *_]}:
            return True
    return False


def read_words(source: Source) -> Iterator[list[str]]:
    """The words of each sentence without regard to its events.

    Raises:
        DataError: As `read_sentences`, but for events.
    """
    for number, record in read_json_lines(source):
        yield from _words(record, number, source)


def read_sentences(source: Source, skipped: Counter[str]) -> Iterator[Sentence]:
    """The words of each sentence, those of a trigger tagged with its event type as MAVEN spells it.

    Args:
        source: The file. The second offset of a mention is that of the word behind it.
        skipped: Counts the mentions whose words and type another one has too.

    Raises:
        DataError: If a document is not as MAVEN's are, or has candidates instead of events.
    """
    for number, record in read_json_lines(source):
        sentences = _words(record, number, source)
        found = _mentions(record, [len(words) for words in sentences], number, source)
        for idx, words in enumerate(sentences):
            tagged = tag_mentions(words, found[idx])
            skipped["repeated mentions"] += tagged.num_repeated
            dropped = [f"content[{idx}]: {message}" for message in tagged.dropped]
            yield Sentence(words, tagged.tags, source, [number] * len(words), dropped)


def _words(record: Record, number: int, source: Source) -> list[list[str]]:
    sentences = []
    for idx, sentence in enumerate(to_list(record.get("content"), "content", number, source)):
        if not isinstance(sentence, dict) or "tokens" not in sentence:
            raise source.error(number, f"expected in content[{idx}] an object with tokens, found {sentence!r}")
        sentences.append(to_strings(sentence["tokens"], f"content[{idx}].tokens", number, source))
    return sentences


def _mentions(record: Record, lengths: list[int], number: int, source: Source) -> dict[int, list[Mention]]:
    """The mentions of each sentence, by its index, in the order of their events."""
    if "events" not in record:
        found = "candidates without their types: MAVEN keeps those of its test file to itself" * (
            "candidates" in record
        )
        raise source.error(
            number,
            f"expected events, found {found or 'the keys ' + ', '.join(record)}; train and score on files that have "
            f"events, such as its train.jsonl and valid.jsonl",
        )
    mentions = defaultdict[int, list[Mention]](list)
    for event_idx, event in enumerate(to_list(record["events"], "events", number, source)):
        if not isinstance(event, dict) or not {"type", "mention"} <= set(event):
            raise source.error(number, f"expected in events[{event_idx}] a type and mention, found {event!r}")
        for idx, mention in enumerate(to_list(event["mention"], f"events[{event_idx}].mention", number, source)):
            place = f"events[{event_idx}].mention[{idx}]"
            match mention:
                case {"sent_id": int(sent_id), "offset": [start, end]} if 0 <= sent_id < len(lengths):
                    mentions[sent_id].append(
                        check_mention(start, end, event["type"], lengths[sent_id], place, number, source)
                    )
                case _:
                    expected = f"a sent_id below {len(lengths)}, the number of sentences, and two offsets"
                    raise source.error(number, f"expected in {place} {expected}, found {mention!r}")
    return mentions
