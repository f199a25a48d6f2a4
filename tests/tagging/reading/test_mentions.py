import pytest

from decausal import DataError
from decausal.tagging.reading.mentions import Mention, check_mention, tag_mentions
from decausal.tagging.reading.source import Source

WORDS = ["He", "was", "shot", "dead"]


def test_the_words_of_mentions_become_iob2_tags():
    tagged = tag_mentions(WORDS, [Mention(2, 4, "die"), Mention(0, 1, "x"), Mention(1, 2, "x")])

    assert tagged.tags == ["B-x", "B-x", "B-die", "I-die"]
    assert (tagged.dropped, tagged.num_repeated) == ([], 0)


def test_a_mention_that_overlaps_a_later_one_is_dropped_as_a_whole_and_named():
    tagged = tag_mentions(WORDS, [Mention(1, 4, "attack"), Mention(3, 4, "die")])

    assert tagged.tags == ["O", "O", "O", "B-die"]
    assert tagged.dropped == ["'was shot dead' (attack) is overwritten by 'dead' (die)"]


def test_of_two_types_of_the_same_words_the_later_one_is_kept():
    tagged = tag_mentions(WORDS, [Mention(2, 3, "die"), Mention(2, 3, "attack")])

    assert (tagged.tags, len(tagged.dropped)) == (["O", "O", "B-attack", "O"], 1)


def test_a_mention_that_is_there_twice_loses_nothing_and_is_counted():
    tagged = tag_mentions(WORDS, [Mention(2, 3, "die"), Mention(2, 3, "die")])

    assert (tagged.tags, tagged.dropped, tagged.num_repeated) == (["O", "O", "B-die", "O"], [], 1)


@pytest.mark.parametrize(
    ("start", "end", "label"),
    [(0, 5, "die"), (2, 2, "die"), (-1, 2, "die"), (0, 2, ""), (0, 2, None), (0.0, 2, "die"), ("0", "2", "die")],
)
def test_a_mention_outside_of_its_sentence_or_without_a_type_is_an_error(start, end, label):
    with pytest.raises(
        DataError, match=r"a\.json:7: expected in events\[1\] a type, and 0 <= start < end <= 4, the nu"
    ):
        check_mention(start, end, label, 4, "events[1]", 7, Source("a.json"))
