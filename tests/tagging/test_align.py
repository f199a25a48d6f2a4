"""From words to windows of sub-words with labels, and from their predictions back to words."""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from datasets import Dataset

import small_tokenizers
from decausal._errors import DataError
from decausal._tokenizer import load_tokenizer, prepare_tokenizer
from decausal.tagging.align import AlignReport, align, merge_predictions, merge_scores, read_column, read_columns

SHARED = Path(__file__).parents[3] / "shared"
STORIES = SHARED / "models" / "stories260k"
CONLL = SHARED / "data" / "conll2003" / "eng.testa"

LABEL2ID = {"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 3, "I-LOC": 4}
ID2LABEL = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]

TOKENS = ["Anna", "of", "Weston", "valley", "didn't", "know", "in", "1995"]
TAGS = ["B-PER", "O", "B-LOC", "I-LOC", "O", "O", "O", "O"]

every_kind = pytest.mark.parametrize("build", small_tokenizers.ALL.values(), ids=small_tokenizers.ALL)


@pytest.fixture
def llama3():
    """One special token in front."""
    return prepare_tokenizer(small_tokenizers.llama3())


@pytest.fixture
def gpt2():
    """No special tokens."""
    return prepare_tokenizer(small_tokenizers.gpt2())


@pytest.fixture
def bert():
    """A special token at either end; control characters vanish."""
    return prepare_tokenizer(small_tokenizers.bert())


def as_tags(features):
    """Perfect predictions: the gold tag where there is a label, a wrong one everywhere else."""
    return [["I-PER" if label < 0 else ID2LABEL[label] for label in row] for row in features["labels"]]


def test_the_label_sits_on_the_first_sub_word(llama3):
    tokens, tags = ["the", "1995", "house"], ["O", "B-PER", "I-PER"]
    features = align([tokens], [tags], llama3, LABEL2ID, max_length=20, stride=4)
    assert llama3.convert_ids_to_tokens(features["input_ids"][0]) == [
        "<|endoftext|>",
        "Ġthe",
        "Ġ",
        "199",
        "5",
        "Ġhouse",
    ]
    assert features["labels"] == [[-100, 0, 1, -100, -100, 2]]
    assert features["word_idx"] == [[-1, 0, 1, -1, -1, 2]]
    assert features["attention_mask"] == [[1, 1, 1, 1, 1, 1]]
    assert features["sentence_idx"] == [0]


def test_or_on_the_last(llama3):
    tokens, tags = ["the", "1995", "house"], ["O", "B-PER", "I-PER"]
    features = align([tokens], [tags], llama3, LABEL2ID, max_length=20, stride=4, label_position="last")
    assert features["labels"] == [[-100, 0, -100, -100, 1, 2]]
    assert features["word_idx"] == [[-1, 0, -1, -1, 1, 2]]


def test_a_long_sentence_becomes_windows_that_overlap(bert):
    tokens = ["the", "house", "in", "the", "valley", "was", "sold"]
    features = align([tokens], [["O"] * 7], bert, LABEL2ID, max_length=6, stride=2)
    assert [bert.convert_ids_to_tokens(row) for row in features["input_ids"]] == [
        ["[CLS]", "the", "house", "in", "the", "[SEP]"],
        ["[CLS]", "in", "the", "valley", "was", "[SEP]"],
        ["[CLS]", "valley", "was", "sold", "[SEP]"],
    ]
    assert features["word_idx"] == [[-1, 0, 1, 2, -1, -1], [-1, -1, 3, 4, -1, -1], [-1, -1, 5, 6, -1]]
    assert features["sentence_idx"] == [0, 0, 0]


@every_kind
@pytest.mark.parametrize("position", ["first", "last"])
@pytest.mark.parametrize(
    ("max_length", "stride", "num_copies"), [(4, 0, 1), (5, 2, 1), (8, 5, 1), (64, 16, 1), (10, 2, 2), (26, 5, 3)]
)
def test_every_word_is_labelled_once_and_read_back_as_it_was_labelled(build, position, max_length, stride, num_copies):
    tokenizer = prepare_tokenizer(build())
    batch, tags = [TOKENS, [], TOKENS[2:5], [""], TOKENS * 3], [TAGS, [], TAGS[2:5], ["O"], TAGS * 3]
    features = align(
        batch,
        tags,
        tokenizer,
        LABEL2ID,
        max_length=max_length,
        stride=stride,
        num_copies=num_copies,
        label_position=position,
    )
    assert max(map(len, features["input_ids"])) <= max_length
    assert Counter(label for row in features["labels"] for label in row if label >= 0) == Counter(
        LABEL2ID[tag] for sentence in (TAGS, TAGS[2:5], TAGS * 3) for tag in sentence
    )
    assert merge_predictions(features, as_tags(features)) == tags


@every_kind
@pytest.mark.parametrize("position", ["first", "last"])
def test_copies_are_whole_windows_one_after_the_other_and_the_last_is_labelled(build, position):
    tokenizer = prepare_tokenizer(build())
    batch, tags = [TOKENS * 2, [], ["\u200d", "", "house"]], [TAGS * 2, [], ["O", "O", "B-PER"]]
    options = {"stride": 3, "label_position": position}
    once = align(batch, tags, tokenizer, LABEL2ID, max_length=8, **options)
    thrice = align(batch, tags, tokenizer, LABEL2ID, max_length=26, num_copies=3, **options)
    assert thrice["input_ids"] == [row * 3 for row in once["input_ids"]]
    assert thrice["attention_mask"] == [row * 3 for row in once["attention_mask"]]
    assert thrice["labels"] == [[-100] * (2 * len(row)) + row for row in once["labels"]]
    assert thrice["word_idx"] == [[-1] * (2 * len(row)) + row for row in once["word_idx"]]
    assert AlignReport.of(thrice) == AlignReport.of(once)
    assert len(once["input_ids"]) > 4


def test_special_tokens_stand_in_every_copy(bert):
    features = align([["the", "house"]], [["O", "B-PER"]], bert, LABEL2ID, max_length=8, stride=0, num_copies=2)
    assert bert.convert_ids_to_tokens(features["input_ids"][0]) == ["[CLS]", "the", "house", "[SEP]"] * 2
    assert features["labels"] == [[-100, -100, -100, -100, -100, 0, 1, -100]]


def test_one_word_longer_than_the_window_is_labelled_once(gpt2):
    batch, tags = [["the", "Llanfairpwllgwyngyll", "house"]], [["O", "B-LOC", "O"]]
    features = align(batch, tags, gpt2, LABEL2ID, max_length=4, stride=1)
    assert len(features["input_ids"]) > 2
    assert sum(row.count(LABEL2ID["B-LOC"]) for row in features["labels"]) == 1
    assert merge_predictions(features, as_tags(features)) == tags


def test_an_empty_sentence_is_one_window_with_a_token_to_look_at(gpt2):
    features = align([[]], [[]], gpt2, LABEL2ID, max_length=8, stride=2)
    assert features["input_ids"] == [[gpt2.pad_token_id]]
    assert (features["labels"], features["word_idx"], features["attention_mask"]) == ([[-100]], [[-1]], [[1]])
    assert merge_predictions(features, [["B-PER"]]) == [[]]


def test_no_sentences_give_no_windows(gpt2):
    features = align([], [], gpt2, LABEL2ID, max_length=8, stride=2)
    assert features["input_ids"] == []
    assert merge_predictions(features, []) == []
    assert AlignReport.of(features) == AlignReport(0, 0, 0, 0, 0)


def test_text_without_tags_is_read_but_not_labelled(llama3):
    features = align([["the", "house"]], None, llama3, LABEL2ID, max_length=8, stride=2)
    assert features["labels"] == [[-100, -100, -100]]
    assert merge_predictions(features, [["O", "B-PER", "I-PER"]]) == [["B-PER", "I-PER"]]


def test_a_word_without_sub_words_continues_the_entity_around_it_or_is_o(bert):
    tokens = ["\u200d", "the", "\u200d", "house", "\x07", "", "in", "\u200d", "the", "\u200d", "house", "\u200d"]
    features = align([tokens], None, bert, LABEL2ID, max_length=32, stride=4)
    assert bert.convert_ids_to_tokens(features["input_ids"][0])[1:-1] == [*("the", "house", "in", "the", "house")]
    predictions = [["O", "B-PER", "I-PER", "I-PER", "I-LOC", "B-LOC", "O"]]
    assert merge_predictions(features, predictions) == [
        # before and after everything; inside; twice inside; between two types; before a new entity
        ["O", "B-PER", "I-PER", "I-PER", "I-PER", "I-PER", "I-PER", "O", "I-LOC", "O", "B-LOC", "O"]
    ]


def test_an_empty_word_never_has_sub_words(gpt2):
    features = align([["the", "", "house"]], None, gpt2, LABEL2ID, max_length=8, stride=2)
    assert features["word_idx"] == [[0, 2]]
    assert merge_predictions(features, [["B-PER", "I-PER"]]) == [["B-PER", "I-PER", "I-PER"]]


def test_scores_come_back_word_by_word_and_are_none_for_what_no_model_saw(bert):
    features = align([["the", "\u200d", "1995"], ["Weston"]], None, bert, LABEL2ID, max_length=32, stride=4)
    scores = [[position / 10 for position in range(len(row))] for row in features["input_ids"]]
    assert merge_scores(features, scores) == [[0.1, None, 0.2], [0.1]]


def test_padding_after_the_window_is_not_looked_at(llama3):
    features = align([["the", "house"]], None, llama3, LABEL2ID, max_length=8, stride=2)
    assert merge_predictions(features, [["O", "B-PER", "O", "B-LOC", "B-LOC"]]) == [["B-PER", "O"]]


def test_counts_are_reported(bert):
    batch = [["the", "house"], ["the"] * 9, ["\u200d", "in", "\x07"], []]
    features = align(batch, None, bert, LABEL2ID, max_length=6, stride=1)
    assert AlignReport.of(features) == AlignReport(
        sentences=4, words=14, windows=6, sentences_in_several_windows=1, zero_token_words=2
    )


def test_it_is_the_body_of_a_batched_map_over_several_batches(bert):
    batch, tags = [TOKENS, ["\u200d"], [], TOKENS * 2, ["", "the"]], [TAGS, ["O"], [], TAGS * 2, ["O", "B-PER"]]
    data = Dataset.from_dict({"tokens": batch, "tags": tags}).map(
        lambda rows, idx: align(
            rows["tokens"], rows["tags"], bert, LABEL2ID, max_length=8, stride=3, first_sentence_idx=idx[0]
        ),
        batched=True,
        batch_size=2,
        with_indices=True,
        remove_columns=["tokens", "tags"],
    )
    assert merge_predictions(data, as_tags(data)) == tags
    assert AlignReport.of(data) == AlignReport(5, 27, len(data), 2, 2)


def test_windows_may_come_back_in_any_order(bert):
    features = align([TOKENS, TOKENS[:3]], [TAGS, TAGS[:3]], bert, LABEL2ID, max_length=8, stride=3)
    backwards = {name: column[::-1] for name, column in features.items()}
    assert merge_predictions(backwards, as_tags(backwards)) == [TAGS, TAGS[:3]]


def backwards_and_back(columns: dict[str, list]) -> Dataset:
    """Rows that lie on disk in another order, as those of a split do from which some were left out."""
    dataset = Dataset.from_dict({name: column[::-1] for name, column in columns.items()})
    return dataset.select(range(len(dataset))[::-1])


@pytest.mark.parametrize("kind", [Dataset.from_dict, backwards_and_back])
@pytest.mark.parametrize("lengths", [[], [3, 1, 2, 7, 7]])
def test_a_column_is_read_in_the_order_of_its_rows(kind, lengths, monkeypatch):
    monkeypatch.setattr("decausal.tagging.align.read_columns", partial(read_columns, batch_size=2))
    column = read_column(kind({"input_ids": [[0]] * len(lengths), "length": lengths}), "length")
    assert (column.tolist(), column.dtype) == (lengths, "int32")


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("kind", [dict, Dataset.from_dict, backwards_and_back])
def test_windows_are_counted_in_any_order_and_some_at_a_time(bert, kind, size, monkeypatch):
    monkeypatch.setattr("decausal.tagging.align.read_columns", partial(read_columns, batch_size=size))
    features = align([["the"] * 9, ["in", "\u200d"], ["the"] * 5], None, bert, LABEL2ID, max_length=6, stride=1)
    order = sorted(range(len(features["input_ids"])), key=lambda window: len(features["input_ids"][window]))
    shuffled = {name: [column[window] for window in order] for name, column in features.items()}
    assert features["sentence_idx"] == sorted(features["sentence_idx"]) != shuffled["sentence_idx"]
    expected = AlignReport(3, 16, 6, sentences_in_several_windows=2, zero_token_words=1)
    assert AlignReport.of(kind(shuffled)) == AlignReport.of(kind(features)) == expected


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda f: {name: column[1:] for name, column in f.items()}, "12 words have sub-words, but"),
        (lambda f: {name: column + column[:1] for name, column in f.items()}, "12 words .* but 12 were read, 1[3-9]"),
        (lambda f: {name: column[:-2] + column[-1:] for name, column in f.items()}, "sentences are missing"),
    ],
    ids=["lost window", "window twice", "lost sentence"],
)
def test_a_word_predicted_never_or_twice_is_an_error(bert, spoil, complaint):
    features = spoil(align([TOKENS, TOKENS[:3], TOKENS[1:2]], None, bert, LABEL2ID, max_length=8, stride=3))
    with pytest.raises(AssertionError, match=complaint):
        merge_scores(features, features["input_ids"])


def test_too_few_rows_of_predictions_are_an_error(bert):
    features = align([TOKENS], None, bert, LABEL2ID, max_length=64, stride=3)
    with pytest.raises(AssertionError, match="0 rows of predictions for 1 windows"):
        merge_predictions(features, [])


def test_an_unknown_tag_is_named_with_the_known_ones(gpt2):
    with pytest.raises(DataError, match=r"sentence 7 .*'house' as 'B-ORG'.* 2 known labels \(O, B-PER\)"):
        align(
            [["the", "house"]],
            [["O", "B-ORG"]],
            gpt2,
            {"O": 0, "B-PER": 1},
            max_length=8,
            stride=2,
            first_sentence_idx=7,
        )


def test_as_many_tags_as_words_are_needed(gpt2):
    with pytest.raises(DataError, match=r"sentence 0 .* has 2 words but 1 tags.*'the house'"):
        align([["the", "house"]], [["O"]], gpt2, LABEL2ID, max_length=8, stride=2)


@pytest.mark.parametrize(("max_length", "stride"), [(8, 6), (2, 0), (8, -1)])
def test_windows_that_could_not_move_on_are_refused(bert, max_length, stride):
    complaint = f"max_length={max_length}, stride={stride}: with 2 special tokens a window holds {max_length - 2} "
    with pytest.raises(ValueError, match=complaint):
        align([TOKENS], [TAGS], bert, LABEL2ID, max_length=max_length, stride=stride)


@pytest.mark.parametrize(("max_length", "stride", "num_copies", "room"), [(8, 0, 4, 0), (13, 2, 3, 2), (3, 0, 4, 0)])
def test_copies_that_leave_windows_no_room_are_refused(bert, max_length, stride, num_copies, room):
    complaint = (
        f"max_length={max_length}, num_copies={num_copies}, stride={stride}: with 2 special tokens each of "
        f"{num_copies} copies of a window holds {room} sub-words, .* lower num_copies, or change stride"
    )
    with pytest.raises(ValueError, match=complaint):
        align([TOKENS], [TAGS], bert, LABEL2ID, max_length=max_length, stride=stride, num_copies=num_copies)


@pytest.mark.parametrize("num_copies", [0, -1])
def test_a_window_that_is_never_given_is_refused(gpt2, num_copies):
    with pytest.raises(ValueError, match=f"num_copies={num_copies}: a window must be given at least once"):
        align([TOKENS], [TAGS], gpt2, LABEL2ID, max_length=8, stride=2, num_copies=num_copies)


def test_an_unknown_label_position_is_refused(gpt2):
    with pytest.raises(ValueError, match='label_position=\'middle\' must be "first" or "last"'):
        align([TOKENS], [TAGS], gpt2, LABEL2ID, max_length=8, stride=2, label_position="middle")


def test_a_tokenizer_that_cuts_on_the_left_is_refused(gpt2):
    gpt2.truncation_side = "left"
    with pytest.raises(ValueError, match=r"truncation_side='left'.*prepare_tokenizer"):
        align([TOKENS], [TAGS], gpt2, LABEL2ID, max_length=8, stride=2)


@pytest.mark.skipif(not (STORIES.is_dir() and CONLL.is_file()), reason="needs ../shared/models and ../shared/data")
def test_real_sentences_come_back_as_they_went_in():
    blocks = CONLL.read_text().split("\n\n")[:1000]
    rows = [[line.split() for line in block.splitlines()] for block in blocks]
    tokens = [[row[0] for row in sentence] for sentence in rows]
    tags = [["O" if row[3] == "O" else "B-PER" for row in sentence] for sentence in rows]
    tokenizer = load_tokenizer(str(STORIES))
    features = align(tokens, tags, tokenizer, LABEL2ID, max_length=48, stride=16)
    report = AlignReport.of(features)
    assert merge_predictions(features, as_tags(features)) == tags
    assert report.sentences == 1000
    assert report.words == sum(map(len, tokens))
    assert report.sentences_in_several_windows > 300
    assert report.zero_token_words == 0
