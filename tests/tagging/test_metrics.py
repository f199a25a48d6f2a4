"""Strict and conlleval scores on cases worked out by hand, and on real gold tags."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decausal.tagging.metrics import EntityScores, count_entities, score

WNUT = Path(__file__).parents[3] / "shared" / "data" / "wnut17" / "emerging.test.annotated"

PERFECT = EntityScores(100, 100, 100, 1)
NOTHING = EntityScores(0, 0, 0, 0)


def test_precision_recall_and_f1_are_counted_over_entities_in_percent():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "O", "B-PER", "O"]]
    predicted = [["B-PER", "I-PER", "O", "B-PER"], ["O", "O", "B-PER", "O"]]
    scores = score(gold, predicted)
    assert scores.strict == EntityScores(pytest.approx(200 / 3), 50, pytest.approx(400 / 7), 4)
    assert scores.types == {
        "LOC": EntityScores(0, 0, 0, 1),
        "PER": EntityScores(pytest.approx(200 / 3), pytest.approx(200 / 3), pytest.approx(200 / 3), 3),
    }
    assert scores.conlleval == scores.strict
    assert scores.accuracy == 75


def test_an_entity_counts_only_with_both_borders_and_its_type():
    scores = score([["B-PER", "I-PER", "I-PER"]], [["B-PER", "I-PER", "O"]])
    assert scores.strict == EntityScores(0, 0, 0, 1)


def test_strict_knows_no_entity_without_b_while_conlleval_does():
    scores = score([["I-PER", "I-PER"]], [["I-PER", "I-PER"]])
    assert scores.strict == NOTHING
    assert scores.conlleval == PERFECT


def test_strict_overlooks_an_i_that_continues_nothing_while_conlleval_counts_it_as_wrong():
    scores = score([["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "I-LOC"]])
    assert scores.strict == PERFECT
    assert scores.conlleval == EntityScores(50, 100, pytest.approx(200 / 3), 1)


def test_an_entity_does_not_reach_into_the_next_sentence():
    scores = score([["O", "B-PER"], ["I-PER", "O"]], [["O", "B-PER"], ["O", "O"]])
    assert scores.strict == PERFECT


@pytest.mark.parametrize(
    ("sentences", "accuracy"),
    [([["O", "O"], ["O"]], 100), ([], 0), ([[]], 0), ([["O"], []], 100)],
    ids=["only O", "no sentence", "one empty sentence", "an empty one among others"],
)
def test_data_without_an_entity_scores_zero_and_raises_no_warning(sentences, accuracy):
    scores = score(sentences, sentences)
    assert scores.strict == scores.conlleval == NOTHING
    assert scores.types == {}
    assert scores.accuracy == accuracy


def test_entities_on_one_side_only_score_zero():
    assert score([["B-PER"]], [["O"]]).strict == EntityScores(0, 0, 0, 1)
    assert score([["O"]], [["B-PER"]]).strict == NOTHING
    assert score([["O"]], [["B-PER"]]).types == {"PER": NOTHING}


def test_a_type_may_hold_a_dash():
    assert list(score([["B-creative-work"]], [["B-creative-work"]]).types) == ["creative-work"]


def test_the_scores_are_ready_for_json():
    gold = [["B-PER", "I-PER", "O"]]
    scores = json.loads(json.dumps(score(gold, gold).to_dict()))
    perfect = {"precision": 100.0, "recall": 100.0, "f1": 100.0, "support": 1}
    assert scores == perfect | {"types": {"PER": perfect}, "conlleval": perfect, "accuracy": 100.0}


def test_another_number_of_sentences_is_refused():
    with pytest.raises(ValueError, match="2 gold sentences, but 1 predicted"):
        score([["O"], ["O"]], [["O"]])


def test_another_number_of_words_is_refused():
    with pytest.raises(ValueError, match=r"sentence 1 \(from 0\) has 2 gold tags, but 1 predicted"):
        score([["O"], ["O", "O"]], [["O"], ["O"]])


@pytest.mark.parametrize("tag", ["S-PER", "PER", "B-", "B", ""])
def test_tags_that_are_not_iob2_are_refused(tag):
    with pytest.raises(ValueError, match=f"predicted tag '{tag}' is not IOB2"):
        score([["O"]], [[tag]])


@pytest.mark.parametrize("as_given", [tuple, list])
def test_any_sequences_will_do(as_given):
    assert score(as_given([as_given(["B-PER"])]), [["B-PER"]]).strict == PERFECT


def test_four_thousand_sentences_take_seconds():
    gold = [["B-PER", "I-PER", "O", "O", "B-LOC", "O", "O", "O", "B-ORG", "O"] * 2] * 4000
    start = time.perf_counter()
    assert score(gold, gold).strict == EntityScores(100, 100, 100, 24000)
    assert time.perf_counter() - start < 20


def test_training_without_a_score_needs_no_seqeval():
    code = "import sys; sys.modules['seqeval'] = None; import decausal.tagging.trainer"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not WNUT.is_file(), reason="needs ../shared/data/wnut17")
def test_real_gold_tags_score_a_hundred_against_themselves():
    blocks = WNUT.read_text(encoding="utf-8").strip().split("\n\n")
    gold = [[line.split("\t")[1] for line in block.splitlines()] for block in blocks]
    scores = score(gold, gold)
    assert scores.strict == scores.conlleval == EntityScores(100, 100, 100, 1079)
    assert list(scores.types) == ["corporation", "creative-work", "group", "location", "person", "product"]
    assert scores.accuracy == 100


def test_each_sentence_is_counted_by_what_it_adds_to_the_strict_score():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "O"], ["B-PER", "B-PER"]]
    predicted = [["B-PER", "I-PER", "B-ORG", "I-LOC"], ["I-PER", "B-PER"], ["B-PER", "B-LOC"]]
    assert count_entities(gold, predicted) == [(1, 2, 2), (0, 1, 0), (1, 2, 2)]


def test_sentences_are_counted_only_where_every_word_has_two_tags():
    with pytest.raises(ValueError, match=r"sentence 0 .* has 1 gold tags, but 2 predicted ones"):
        count_entities([["O"]], [["O", "O"]])
