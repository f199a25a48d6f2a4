"""Tags become answers and answers become tags again; what means nothing is counted; a run of any kind is loaded."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import decausal
import tagging_as_text
from tagging_as_text import answer_of, generate, load, prompt_of, tags_of

TYPES = ["LOC", "PER"]
WORDS = ["Anna", "Lee", "left", "Amman", "for", "Jordan"]
TAGS = ["B-PER", "I-PER", "O", "B-LOC", "O", "B-LOC"]
PROMPTS = ["One day the dog saw a cat", "The sun", "Lily went to the park with her friend Tim"]


def test_the_prompt_is_the_sentence_and_the_answer_its_entities_in_order():
    assert prompt_of(WORDS) == "Sentence: Anna Lee left Amman for Jordan\nEntities:"
    assert answer_of(WORDS, TAGS) == " PER: Anna Lee; LOC: Amman; LOC: Jordan"


def test_a_sentence_without_entities_is_answered_by_none():
    assert answer_of(WORDS, ["O"] * 6) == " none"


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
def test_the_answer_to_tags_means_these_tags(words, tags):
    assert tags_of(words, answer_of(words, tags), TYPES) == (tags, 0)


def test_of_words_that_repeat_the_next_ones_are_taken():
    words = ["Jordan", "met", "Jordan", "in", "Jordan"]
    assert tags_of(words, " PER: Jordan; LOC: Jordan", TYPES) == (["B-PER", "O", "B-LOC", "O", "O"], 0)


def test_an_entity_out_of_order_is_a_failure():
    assert tags_of(WORDS, " LOC: Amman; PER: Anna Lee", TYPES) == (["O", "O", "O", "B-LOC", "O", "O"], 1)


def test_an_entity_that_is_named_once_too_often_is_a_failure():
    assert tags_of(WORDS, " LOC: Jordan; LOC: Jordan", TYPES) == (["O", "O", "O", "O", "O", "B-LOC"], 1)


@pytest.mark.parametrize(
    "part", ["ORG: Amman", "LOC: Paris", "LOC: Amm", "LOC: Amman Jordan", "Amman", "LOC", "LOC: ", "nothing"]
)
def test_what_means_nothing_is_counted_and_leaves_the_rest(part):
    assert tags_of(WORDS, f" PER: Anna Lee; {part}; LOC: Jordan", TYPES) == (
        ["B-PER", "I-PER", "O", "O", "O", "B-LOC"],
        1,
    )


def test_no_answer_at_all_is_a_failure():
    assert tags_of(WORDS, "", TYPES) == (["O"] * 6, 1)


def test_a_file_becomes_prompts_and_completions(tmp_path, monkeypatch, capsys):
    source, output = tmp_path / "train.tsv", tmp_path / "data" / "train.jsonl"
    source.write_text("Jörg\tB-PER\nleft\tO\n\nIt\tO\nrained\tO\n\nAmman\tB-LOC\nwaits\tO\n", encoding="utf-8")
    arguments = ["tagging_as_text.py", "prepare", str(source), str(output), "--max_samples", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    tagging_as_text.main()
    assert [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()] == [
        {"prompt": "Sentence: Jörg left\nEntities:", "completion": " PER: Jörg"},
        {"prompt": "Sentence: It rained\nEntities:", "completion": " none"},
    ]
    assert "Jörg" in output.read_text(encoding="utf-8")
    assert "3 sentences" in capsys.readouterr().out


@pytest.fixture
def run(stories, tmp_path):
    """Saves what a run saves, a whole model or an adapter, and returns the directory and the model."""

    def save(pattern: str, adapter: bool):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(stories)
        decausal.unmask(model, pattern, scope="prompt")
        if adapter:
            config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False)
            model = get_peft_model(model, config)
        model.save_pretrained(tmp_path)
        if adapter and pattern != "none":
            model.base_model.model.config.save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(stories).save_pretrained(tmp_path)
        return tmp_path, model.eval()

    return save


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
@pytest.mark.parametrize(("pattern", "layers"), [("none", ()), ("00111", (2, 3, 4))])
def test_a_run_is_loaded_as_it_was_trained(run, pattern, layers, adapter):
    checkpoint, trained = run(pattern, adapter)
    model, tokenizer = load(checkpoint)
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert decausal.unmasked_layers(model) == layers
    ids = tokenizer(PROMPTS[0], return_tensors="pt").input_ids
    with torch.no_grad():
        expected, found = (one(ids, use_cache=True).logits for one in (trained, model))
    assert torch.allclose(found, expected, atol=1e-4)


def test_answers_come_in_the_order_of_their_prompts_and_padding_changes_none(run):
    model, tokenizer = load(run("00111", False)[0])
    one_by_one = generate(model, tokenizer, PROMPTS, batch_size=1)
    assert len(set(one_by_one)) == 3
    assert generate(model, tokenizer, PROMPTS, batch_size=2) == one_by_one
