"""Pre-split words come out as in running text, for every kind of tokenizer, and stay so."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AutoTokenizer,
    ByT5Tokenizer,
    Gemma3TextConfig,
    GPT2Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

import small_tokenizers
from decausal._tokenizer import load_tokenizer, prepare_tokenizer

SHARED = Path(__file__).resolve().parents[2] / "shared"
STORIES = SHARED / "models" / "stories260k"
CONLL = SHARED / "data" / "conll2003" / "eng.testa"

WORDS = ["the", "house", "1995", "don't"]
SENTENCES = [
    WORDS,
    ["Anna", "did", "n't", "sell", "12,500", "houses", "(", "in", "1987", ")", "."],
    ["U.S.", "mayor", "'s", "café", "—", "\"we'll", 'move"', "3.5", "km", "/", "h"],
]

every_kind = pytest.mark.parametrize("build", small_tokenizers.ALL.values(), ids=small_tokenizers.ALL)
byte_level = pytest.mark.parametrize(
    "build", [small_tokenizers.gpt2, small_tokenizers.llama3, small_tokenizers.qwen2, small_tokenizers.smollm2]
)
needs_stories = pytest.mark.skipif(not STORIES.is_dir(), reason="needs ../shared/models/stories260k")


def cut_text(tokenizer, words):
    return tokenizer(" ".join(words))["input_ids"]


def cut_words(tokenizer, words):
    return tokenizer(words, is_split_into_words=True)["input_ids"]


def pipeline_of(tokenizer):
    return tokenizer.backend_tokenizer.to_str()


@every_kind
@pytest.mark.parametrize("words", SENTENCES, ids=["plain", "punctuation", "quotes"])
def test_words_in_a_list_are_cut_as_in_running_text(build, words):
    tokenizer = prepare_tokenizer(build())
    assert cut_words(tokenizer, words) == cut_text(tokenizer, words)


@every_kind
def test_words_after_the_first_are_cut_as_the_tokenizer_given_cuts_text(build):
    after = prepare_tokenizer(build())(WORDS, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    before = build()(" ".join(WORDS), add_special_tokens=False)["input_ids"]
    assert len(before) >= 4
    assert after[1:] == before[-len(after) + 1 :]


@pytest.mark.parametrize(
    ("build", "unprepared", "prepared"),
    [
        (
            small_tokenizers.gpt2,
            ["the", "ho", "use", "1", "9", "95", "d", "on", "'t"],
            ["Ġthe", "Ġhouse", "Ġ1995", "Ġdon", "'t"],
        ),
        (
            small_tokenizers.llama3,
            ["the", "ho", "use", "199", "5", "d", "on", "'t"],
            ["Ġthe", "Ġhouse", "Ġ", "199", "5", "Ġdon", "'t"],
        ),
        (
            small_tokenizers.smollm2,
            ["the", "ho", "use", "1", "9", "9", "5", "d", "on", "'t"],
            ["Ġthe", "Ġhouse", "Ġ", "1", "9", "9", "5", "Ġdon", "'t"],
        ),
        (
            small_tokenizers.gemma,
            ["t", "he", "ho", "use", "1", "9", "95", "d", "on't"],
            ["▁the", "▁house", "▁1995", "▁don't"],
        ),
    ],
    ids=["gpt2", "llama3", "smollm2", "gemma"],
)
def test_each_word_gets_one_space_and_no_piece_of_a_word_another(build, unprepared, prepared):
    assert build().tokenize(WORDS, is_split_into_words=True) == unprepared
    assert prepare_tokenizer(build()).tokenize(WORDS, is_split_into_words=True) == prepared


@pytest.mark.parametrize("build", [small_tokenizers.llama2, small_tokenizers.bert])
def test_a_tokenizer_that_is_right_already_is_not_changed(build):
    given = build()
    prepared = prepare_tokenizer(given)
    assert pipeline_of(prepared) == pipeline_of(given)
    assert type(prepared) is type(given)


@every_kind
def test_the_tokenizer_given_is_left_untouched(build):
    given, fresh = build(), build()
    prepare_tokenizer(given)
    prepare_tokenizer(given, add_prefix_space=False)
    assert pipeline_of(given) == pipeline_of(fresh)
    assert given.pad_token == fresh.pad_token


@every_kind
def test_preparing_twice_is_preparing_once(build):
    once = prepare_tokenizer(build())
    assert pipeline_of(prepare_tokenizer(once)) == pipeline_of(once)


@every_kind
def test_the_change_is_saved_with_the_tokenizer(build, tmp_path):
    prepared = prepare_tokenizer(build())
    prepared.save_pretrained(tmp_path)
    assert cut_words(AutoTokenizer.from_pretrained(tmp_path), WORDS) == cut_words(prepared, WORDS)
    assert pipeline_of(load_tokenizer(str(tmp_path))) == pipeline_of(prepared)


@pytest.mark.parametrize(
    ("build", "config"),
    [
        (small_tokenizers.gpt2, GPT2Config()),
        (small_tokenizers.qwen2, Qwen2Config()),  # AutoTokenizer overrules the saved class for this model type
        (small_tokenizers.gemma, Gemma3TextConfig()),
    ],
    ids=["gpt2", "qwen2", "gemma3"],
)
def test_the_change_survives_beside_the_config_of_a_model_with_its_own_tokenizer_class(build, config, tmp_path):
    prepared = prepare_tokenizer(build())
    prepared.save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    assert cut_words(load_tokenizer(str(tmp_path)), WORDS) == cut_words(prepared, WORDS)


def test_what_else_the_tokenizer_carries_is_kept_and_saved(tmp_path):
    given = small_tokenizers.gemma()
    given.padding_side, given.model_max_length, given.chat_template = "left", 77, "{{ messages }}"
    prepare_tokenizer(given).save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert (loaded.padding_side, loaded.model_max_length, loaded.chat_template) == ("left", 77, "{{ messages }}")
    assert loaded.special_tokens_map == given.special_tokens_map
    assert loaded.get_vocab() == given.get_vocab()


def test_truncation_cuts_on_the_right_as_windows_need():
    given = small_tokenizers.llama2()
    given.truncation_side = "left"
    assert prepare_tokenizer(given).truncation_side == "right"


@byte_level
@pytest.mark.parametrize(
    ("text", "expected"),
    [("the house", [(0, 3), (4, 9)]), ("  the house", [(2, 5), (6, 11)])],
    ids=["plain", "indented"],
)
def test_character_offsets_in_a_text_leave_out_spaces(build, text, expected, tmp_path):
    prepare_tokenizer(build()).save_pretrained(tmp_path)
    encoded = load_tokenizer(str(tmp_path))(text, add_special_tokens=False, return_offsets_mapping=True)
    assert encoded["offset_mapping"] == expected


@byte_level
@pytest.mark.parametrize("before", [lambda given: given, prepare_tokenizer], ids=["given", "prepared before"])
def test_and_so_do_those_of_a_tokenizer_that_puts_no_space_in_front(build, before):
    encoded = prepare_tokenizer(before(build()), add_prefix_space=False)(" the house", return_offsets_mapping=True)
    assert encoded["offset_mapping"][-2:] == [(1, 4), (5, 10)]


def test_and_those_of_one_that_puts_it_in_front_by_itself():
    given = small_tokenizers.gpt2()
    given.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    prepared = prepare_tokenizer(given)
    assert prepared("the house", return_offsets_mapping=True)["offset_mapping"] == [(0, 3), (4, 9)]
    assert cut_words(prepared, WORDS) == cut_words(given, WORDS)


@byte_level
def test_spaces_in_front_of_a_text_change_nothing(build):
    prepared = prepare_tokenizer(build())
    assert prepared.num_special_tokens_to_add() == build().num_special_tokens_to_add()
    assert cut_text(prepared, ["", "", *WORDS]) == cut_words(prepared, WORDS)


def test_languages_without_spaces_get_none():
    words = ["中", "1995", "文"]
    without = prepare_tokenizer(small_tokenizers.llama2(), add_prefix_space=False)
    assert small_tokenizers.llama2().tokenize(words, is_split_into_words=True)[0] == "▁"
    assert "▁" not in "".join(without.tokenize(words, is_split_into_words=True))
    assert without.decode(cut_words(without, words)) == "中1995文"


def test_nor_from_a_byte_level_tokenizer_that_adds_them_itself():
    given = small_tokenizers.gpt2()
    given.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    without = prepare_tokenizer(given, add_prefix_space=False)
    assert given.tokenize(["c", "1"], is_split_into_words=True) == ["Ġ", "c", "Ġ1"]
    assert without.tokenize(["c", "1"], is_split_into_words=True) == ["c", "1"]


@every_kind
def test_not_asking_for_spaces_is_stable_and_can_be_taken_back(build, tmp_path):
    without = prepare_tokenizer(prepare_tokenizer(build()), add_prefix_space=False)
    without.save_pretrained(tmp_path)
    assert pipeline_of(load_tokenizer(str(tmp_path), add_prefix_space=False)) == pipeline_of(without)
    assert cut_words(prepare_tokenizer(without), WORDS) == cut_words(prepare_tokenizer(build()), WORDS)


def test_a_tokenizer_that_cannot_be_made_to_agree_is_left_alone_with_a_warning():
    given = small_tokenizers.smollm2()
    given.backend_tokenizer.normalizer = normalizers.Strip()
    with pytest.warns(UserWarning, match=r"\['the', 'Ġhouse', 'Ġ', '1'.* cannot be cut the same way \(best: \['ho'"):
        prepared = prepare_tokenizer(given)
    assert cut_words(prepared, WORDS) == cut_words(given, WORDS)
    assert cut_text(prepared, WORDS) == cut_text(given, WORDS)


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        ({"pad_token": "<p>", "eos_token": "<e>"}, "<p>"),
        ({"eos_token": "<e>", "unk_token": "<u>"}, "<e>"),
        ({"unk_token": "<u>"}, "<u>"),
    ],
    ids=["its own", "end of sequence", "unknown"],
)
def test_it_pads_with_a_token_it_already_has(special, expected):
    prepared = prepare_tokenizer(one_word_tokenizer(**special))
    assert prepared.pad_token == expected
    assert len(prepared) == 4
    assert prepared([["a"], ["a", "a"]], is_split_into_words=True, padding=True)["attention_mask"][0] == [1, 0]


def test_a_tokenizer_with_nothing_to_pad_with_is_refused():
    with pytest.raises(ValueError, match=r"no padding, end-of-sequence or unknown token.*set tokenizer.pad_token"):
        prepare_tokenizer(one_word_tokenizer())


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(ValueError, match=r"ByT5Tokenizer is not a fast tokenizer.*tokenizer\.json"):
        prepare_tokenizer(ByT5Tokenizer())


def test_a_missing_tokenizer_is_an_error(tmp_path):
    with pytest.raises(OSError, match=str(tmp_path)):
        load_tokenizer(str(tmp_path / "nothing"))


@needs_stories
@pytest.mark.parametrize("variant", ["", "-mistral", "-qwen2", "-phi3"])
def test_the_real_stories260k_tokenizer_is_right_as_it_is_in_every_model_class(variant):
    tokenizer = load_tokenizer(str(STORIES) + variant)
    expected = ["▁the", "▁h", "ou", "se", "▁", "1", "9", "9", "5", "▁d", "on", "'", "t"]
    assert tokenizer.tokenize(WORDS, is_split_into_words=True) == expected


@pytest.mark.skipif(not CONLL.is_file(), reason="needs ../shared/data/conll2003")
@every_kind
def test_real_sentences_are_cut_as_in_running_text(build):
    tokenizer = prepare_tokenizer(build())
    sentences = [[line.split()[0] for line in block.splitlines()] for block in CONLL.read_text().split("\n\n")[:500]]
    assert [cut_words(tokenizer, words) for words in sentences] == [cut_text(tokenizer, words) for words in sentences]


def one_word_tokenizer(**special):
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "<p>": 1, "<e>": 2, "<u>": 3}, unk_token="<u>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
