"""Sentences become prompts, tags answers, and answers tags again; what means nothing is counted."""

import pytest
import yaml

from answers import InstructionForm, ShortForm

SHORT = ShortForm(["LOC", "PER"])
INSTRUCTION = "please extract named entities"
PAPER = InstructionForm(INSTRUCTION, {"PER": "person", "LOC": "location"})
LENIENT = InstructionForm(INSTRUCTION, PAPER.types, is_lenient=True)
WORDS = ["Anna", "Lee", "left", "Amman", "for", "Jordan"]
TAGS = ["B-PER", "I-PER", "O", "B-LOC", "O", "B-LOC"]


def test_the_prompt_is_the_sentence_and_the_answer_its_entities_in_order():
    assert SHORT.prompt_of(WORDS) == "Sentence: Anna Lee left Amman for Jordan\nEntities:"
    assert SHORT.answer_of(WORDS, TAGS) == " PER: Anna Lee; LOC: Amman; LOC: Jordan"


def test_a_sentence_without_entities_is_answered_by_none():
    assert SHORT.answer_of(WORDS, ["O"] * 6) == " none"


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        (WORDS, TAGS),
        (WORDS, ["O"] * 6),
        (WORDS, ["B-PER", "B-PER", "O", "O", "O", "O"]),
        (WORDS, ["B-LOC", "I-LOC", "I-LOC", "I-LOC", "I-LOC", "I-LOC"]),
        (["Jordan", "met", "Jordan", "in", "Jordan"], ["B-PER", "O", "B-PER", "O", "B-LOC"]),
        (["New", "York", "and", "New", "Delhi"], ["B-LOC", "I-LOC", "O", "B-LOC", "I-LOC"]),
        (["12", ":", "30", ";", "Amman"], ["O", "O", "O", "O", "B-LOC"]),
    ],
    ids=["three", "none", "neighbours", "whole sentence", "words that repeat", "a word that repeats", "punctuation"],
)
@pytest.mark.parametrize("form", [SHORT, PAPER], ids=["short", "paper"])
def test_the_answer_to_tags_means_these_tags(form, words, tags):
    assert form.tags_of(words, form.answer_of(words, tags)) == (tags, 0)


def test_of_words_that_repeat_the_next_ones_are_taken():
    words = ["Jordan", "met", "Jordan", "in", "Jordan"]
    assert SHORT.tags_of(words, " PER: Jordan; LOC: Jordan") == (["B-PER", "O", "B-LOC", "O", "O"], 0)


def test_an_entity_out_of_order_is_a_failure():
    assert SHORT.tags_of(WORDS, " LOC: Amman; PER: Anna Lee") == (["O", "O", "O", "B-LOC", "O", "O"], 1)


def test_an_entity_that_is_named_once_too_often_is_a_failure():
    assert SHORT.tags_of(WORDS, " LOC: Jordan; LOC: Jordan") == (["O", "O", "O", "O", "O", "B-LOC"], 1)


@pytest.mark.parametrize(
    "part", ["ORG: Amman", "LOC: Paris", "LOC: Amm", "LOC: Amman Jordan", "Amman", "LOC", "LOC: ", "nothing"]
)
def test_what_means_nothing_is_counted_and_leaves_the_rest(part):
    assert SHORT.tags_of(WORDS, f" PER: Anna Lee; {part}; LOC: Jordan") == (
        ["B-PER", "I-PER", "O", "O", "O", "B-LOC"],
        1,
    )


def test_no_answer_at_all_is_a_failure():
    assert SHORT.tags_of(WORDS, "") == (["O"] * 6, 1)


def test_the_papers_prompt_is_word_for_word_its_own():
    assert PAPER.prompt_of(WORDS) == (
        "### Instruction: \nplease extract named entities \n\n### Options:\nperson, location\n\n"
        "### Sentence:\nAnna Lee left Amman for Jordan\n\n### Response:\n"
    )
    assert PAPER.answer_of(WORDS, TAGS) == "Anna Lee:person;Amman:location;Jordan:location"
    assert PAPER.answer_of(WORDS, ["O"] * 6) == ""


@pytest.mark.parametrize(
    ("answer", "strict", "lenient"),
    [
        ("Anna Lee:person;Jordan:location", (["B-PER", "I-PER", "O", "O", "O", "B-LOC"], 0), None),
        ("", (["O"] * 6, 0), None),
        ("Anna Lee:hero", (["O"] * 6, 1), (["B-hero", "I-hero", "O", "O", "O", "O"], 0)),
        ("Paris:location;Jordan:location", (["O", "O", "O", "O", "O", "B-LOC"], 1), None),
        ("Amman:location;", (["O", "O", "O", "B-LOC", "O", "O"], 1), (["O"] * 6, 2)),
        ("Amman;Jordan:location", (["O", "O", "O", "O", "O", "B-LOC"], 1), (["O"] * 6, 2)),
        ("Amman:location;Anna Lee:", (["O", "O", "O", "B-LOC", "O", "O"], 1), None),
        ("Jordan:location;Amman:location", (["O", "O", "O", "O", "O", "B-LOC"], 1), None),
    ],
    ids=["right", "nothing", "no type", "not there", "trailing semicolon", "no pair", "cut off", "out of order"],
)
def test_the_papers_rules_read_answers_in_their_own_way(answer, strict, lenient):
    assert PAPER.tags_of(WORDS, answer) == strict
    assert LENIENT.tags_of(WORDS, answer) == (lenient or strict)


def test_instructions_name_all_types_and_are_saved_with_them(tmp_path):
    path, saved = tmp_path / "ner.yaml", tmp_path / "saved.yaml"
    path.write_text("instruction: find them\ntypes: {LOC: place}\n", encoding="utf-8")
    form = InstructionForm.read(path, ["LOC", "movement:transport", "Hand_Over"])
    assert form.types == {"LOC": "place", "movement:transport": "movement transport", "Hand_Over": "hand over"}
    form.save(saved)
    assert InstructionForm.read(saved, ["LOC"]) == form


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"types": {}}, "instructions are a mapping with `instruction`"),
        ({"instruction": "x", "kinds": {}}, "instructions are a mapping with `instruction`"),
        ("find them", "instructions are a mapping with `instruction`"),
        ({"instruction": "x", "types": {"A": "thing", "B": "thing"}}, "two entity types are called alike"),
    ],
)
def test_what_is_no_instruction_is_refused(tmp_path, fields, message):
    path = tmp_path / "ner.yaml"
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        InstructionForm.read(path, [])
