"""The pipelines of transformers on a saved run: words as `Tagger` tags them, with their characters."""

import logging

import pytest
import torch
from transformers import LlamaConfig, LlamaForTokenClassification, pipeline

import decausal
import small_tokenizers
from decausal._tokenizer import prepare_tokenizer
from decausal.tagging.pipeline import TaggerPipeline
from decausal.tagging.predict import TaggedSentence, Tagger
from decausal.tagging.reading.spans import split_words
from decausal.tagging.train import main

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TEXTS = [
    "a house now .",
    "Anna, who sold 12,500 houses in 1995; (didn't she?)",
    "in 1995 中国 and 東京タワー sold 7.",
    "  the   mayor  of\tWeston\n ",
    "house\u200d the \u200d Weston",
    "the the the",
    "",
    " ",
]

every_kind = pytest.mark.parametrize("build", small_tokenizers.ALL.values(), ids=small_tokenizers.ALL)
during_training = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"
)


def build_model(tokenizer, **alignment) -> LlamaForTokenClassification:
    """Random weights, large enough that labels change from word to word; both layers unmasked."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        initializer_range=0.5,
    )
    model = LlamaForTokenClassification(config).eval()
    decausal.unmask(model, "11")
    model.config.decausal = {"tagging": {"max_length": 64, "stride": 16, **alignment}}
    return model


def build_pipeline(build, **alignment) -> TaggerPipeline:
    tokenizer = prepare_tokenizer(build())
    model = build_model(tokenizer, **alignment)
    return pipeline("token-classification", model=model, tokenizer=tokenizer, pipeline_class=TaggerPipeline)


def tag_words(tag, texts) -> list[TaggedSentence]:
    return Tagger(tag.model, tag.tokenizer).tag([split_words(text) for text in texts])


def without_scores(results):
    return [[(word["start"], word["end"], word["entity"]) for word in found] for found in results]


@pytest.fixture(scope="module")
def run(write_recipe, tmp_path_factory):
    """A tagger that has learned the small task."""
    directory = tmp_path_factory.mktemp("runs")
    assert main([write_recipe(directory, unmask="0111", num_train_epochs=8)]) == 0
    return directory / "run"


@every_kind
def test_every_word_gets_the_label_that_the_tagger_gives_it(build):
    tag = build_pipeline(build)
    tagged = tag_words(tag, TEXTS)
    found = tag(TEXTS, ignore_labels=[])
    assert len({label for sentence in tagged for label in sentence.tags}) > 2
    assert [[word["entity"] for word in words] for words in found] == [sentence.tags for sentence in tagged]
    assert [[word["word"] for word in words] for words in found] == [sentence.tokens for sentence in tagged]
    assert [[word["index"] for word in words] for words in found] == [[*range(len(s.tokens))] for s in tagged]
    for words, sentence in zip(found, tagged, strict=True):
        assert [word["score"] for word in words] == pytest.approx(sentence.scores, abs=1e-5)


@every_kind
def test_every_word_and_entity_is_the_characters_between_its_offsets(build):
    tag = build_pipeline(build)
    for text in TEXTS:
        for found in [*tag(text, ignore_labels=[]), *tag(text, aggregation_strategy="first")]:
            assert text[found["start"] : found["end"]] == found["word"]


def test_offsets_are_those_of_the_words_in_the_text():
    found = build_pipeline(small_tokenizers.smollm2)(" the  the, 1995 中国the!", ignore_labels=[])
    assert [(word["start"], word["end"], word["word"]) for word in found] == [
        (1, 4, "the"),
        (6, 9, "the"),
        (9, 10, ","),
        (11, 15, "1995"),
        (16, 17, "中"),
        (17, 18, "国"),
        (18, 21, "the"),
        (21, 22, "!"),
    ]


@every_kind
def test_entities_are_those_of_the_tagger_and_their_score_is_the_mean_over_their_words(build):
    tag = build_pipeline(build)
    text = " ".join(TEXTS)
    [before] = tag_words(tag, [text])
    first, second, *others = dict.fromkeys(before.tags)
    names = {first: "B-PER", second: "I-PER"} | dict.fromkeys(others, "O")
    tag.model.config.id2label = {index: names.get(label, "O") for index, label in enumerate(LABELS)}
    [sentence] = tag_words(tag, [text])
    found = tag(text, aggregation_strategy="first")
    words = tag(text, ignore_labels=[])
    assert max(stop - first for _, first, stop in sentence.entities) > 1
    assert [(e["entity_group"], e["start"], e["end"]) for e in found] == [
        (label, words[first]["start"], words[stop - 1]["end"]) for label, first, stop in sentence.entities
    ]
    readable = [[s for s in sentence.scores[first:stop] if s is not None] for _, first, stop in sentence.entities]
    assert [e["score"] for e in found] == pytest.approx([sum(scores) / len(scores) for scores in readable], abs=1e-5)


@pytest.mark.parametrize("strategy", ["simple", "first", "average", "max"])
def test_all_ways_to_aggregate_agree_because_a_word_has_one_prediction(strategy):
    tag = build_pipeline(small_tokenizers.smollm2)
    text = " ".join(TEXTS)
    assert tag(text, aggregation_strategy=strategy) == tag(text, aggregation_strategy="first") != []


@pytest.mark.parametrize("position", ["first", "last"])
def test_long_texts_are_read_in_windows_as_in_training(position):
    text = " ".join(TEXTS * 3)
    tag = build_pipeline(small_tokenizers.llama3, max_length=16, stride=6, label_position=position)
    whole = build_pipeline(small_tokenizers.llama3, max_length=1024)
    [sentence] = tag_words(tag, [text])
    assert [word["entity"] for word in tag(text, ignore_labels=[])] == sentence.tags
    assert [word["entity"] for word in whole(text, ignore_labels=[])] != sentence.tags


def test_batches_of_windows_give_what_single_ones_give():
    tag = build_pipeline(small_tokenizers.bert, max_length=12, stride=4)
    tag.tokenizer.padding_side = "left"
    tag = pipeline("ner", model=tag.model, tokenizer=tag.tokenizer, pipeline_class=TaggerPipeline)
    texts = [text for text in TEXTS if text.strip()]
    single, batched = [tag(text) for text in texts], tag(texts, batch_size=5)
    assert without_scores(batched) == without_scores(single)
    assert any(single)


@pytest.mark.parametrize(
    ("label", "options", "count"),
    [
        ("B-PER", {}, 4),
        ("O", {}, 0),
        ("O", {"ignore_labels": ["B-PER"]}, 4),
        ("B-PER", {"ignore_labels": ["B-PER"]}, 0),
        ("B-PER", {"ignore_labels": ["LOC"], "aggregation_strategy": "first"}, 4),
        ("B-PER", {"ignore_labels": ["PER"], "aggregation_strategy": "first"}, 0),
    ],
)
def test_labels_to_ignore_are_left_out(label, options, count):
    tag = build_pipeline(small_tokenizers.smollm2)
    tag.model.config.id2label = dict.fromkeys(range(5), label)
    assert len(tag("a house now.", **options)) == count


def test_words_already_cut_are_taken_as_they_are():
    tag = build_pipeline(small_tokenizers.smollm2)
    words = ["Mr. A", "didn't", "", "in", "in"]
    [sentence] = Tagger(tag.model, tag.tokenizer).tag([words])
    [found] = tag(words, is_split_into_words=True, delimiter="--", ignore_labels=[])
    assert [(word["word"], word["entity"]) for word in found] == list(zip(words, sentence.tags, strict=True))
    assert [(word["start"], word["end"]) for word in found] == [(0, 5), (7, 13), (13, 13), (17, 19), (21, 23)]


@pytest.mark.parametrize("setting", [{"stride": 4}, {"offset_mapping": [(0, 1)]}])
def test_what_training_and_the_text_decide_cannot_be_set(setting):
    tag = build_pipeline(small_tokenizers.smollm2)
    [name] = setting
    with pytest.raises(ValueError, match=rf"{name}=.* cannot be set: windows are cut as in training"):
        tag("a house", **setting)


def test_an_architecture_without_a_class_in_transformers_is_no_error(caplog):
    tokenizer = prepare_tokenizer(small_tokenizers.smollm2())
    model = build_model(tokenizer)
    model.__class__ = type("Gemma3ForTokenClassification", (LlamaForTokenClassification,), {})
    with caplog.at_level(logging.ERROR):
        pipeline("token-classification", model=model, tokenizer=tokenizer, pipeline_class=TaggerPipeline)
    assert caplog.text == ""


@during_training
def test_a_saved_run_finds_entities_with_their_characters(run):
    model, tokenizer = decausal.load(run)
    tag = pipeline("token-classification", model=model, tokenizer=tokenizer, pipeline_class=TaggerPipeline)
    found = tag(["a house now.", "  the then. "], aggregation_strategy="first")
    assert [[(e["entity_group"], e["start"], e["end"], e["word"]) for e in entities] for entities in found] == [
        [("PER", 2, 7, "house")],
        [("LOC", 2, 5, "the")],
    ]


@during_training
def test_the_plain_pipeline_finds_them_with_the_same_characters(run):
    model, tokenizer = decausal.load(run)
    tag = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first")
    found = tag("a house now .")[0]
    assert (found["entity_group"], found["start"], found["end"]) == ("PER", 2, 7)


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words:UserWarning")
@pytest.mark.parametrize("text", ["the house in the valley", "  the mayors in the valley above"])
@pytest.mark.parametrize("kind", ["gpt2", "llama3", "qwen2", "smollm2", "bert"])
def test_the_plain_pipeline_is_exact_for_words_that_begin_with_a_visible_sub_word(kind, text):
    exact = build_pipeline(small_tokenizers.ALL[kind])
    exact.model.config.id2label = {i: f"B-{letter}" for i, letter in enumerate("ABCDE")}  # so that no words are joined
    plain = pipeline("token-classification", model=exact.model, tokenizer=exact.tokenizer)
    expected = [
        (found["entity_group"], found["start"], found["end"]) for found in exact(text, aggregation_strategy="first")
    ]
    assert [
        (found["entity_group"], found["start"], found["end"]) for found in plain(text, aggregation_strategy="first")
    ] == expected
    assert len(expected) == len(text.split())


def test_a_run_in_bfloat16_finds_entities_in_it(run, monkeypatch):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    model, tokenizer = decausal.load(run)
    model.config.decausal["bf16"] = True
    tag = pipeline("token-classification", model=model, tokenizer=tokenizer, pipeline_class=TaggerPipeline)
    seen = []
    model.register_forward_hook(lambda *results: seen.append(results[-1].logits.dtype))
    tag("a house now .")
    assert seen == [torch.bfloat16]
