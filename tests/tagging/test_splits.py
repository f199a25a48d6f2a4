import pytest
from datasets import Dataset, DatasetDict

import small_tokenizers
from decausal import DataError
from decausal._tokenizer import prepare_tokenizer
from decausal.tagging.arguments import TaggingArguments, parse_recipe
from decausal.tagging.data import read_dataset
from decausal.tagging.splits import Corpus, Split


@pytest.mark.parametrize(
    ("train", "test", "scheme", "entities"),
    [("PER PER", "PER O", "bare-runs", 1), ("PER O", "PER PER", "bare-words", 2)],
)
def test_bare_tags_mean_in_every_split_what_they_mean_in_the_training_data(
    recipe, tmp_path, train, test, scheme, entities
):
    for name, tags in (("train", train), ("test", test)):
        first, second = tags.split()
        (tmp_path / f"{name}.tsv").write_text(f"a\tO\nhouse\t{first}\nnow\t{second}\n.\tO\n")
    files = {f"{name}_file": str(tmp_path / f"{name}.tsv") for name in ("train", "test")}
    reports = Corpus.read(parse_recipe([recipe(validation_file=None, **files)])[0]).reports
    assert [report.scheme for report in reports.values()] == [scheme, scheme]
    assert max(report.entities for report in reports.values()) == entities


def saved(directory, **splits: str) -> str:
    """A `DatasetDict` of one-sentence splits, whose word is the split's name."""
    columns = {name: Dataset.from_dict({"tokens": [[name]], "tags": [[tag]]}) for name, tag in splits.items()}
    DatasetDict(columns).save_to_disk(directory)
    return str(directory)


@pytest.mark.parametrize("names", [("train", "test"), ("train",), ("train", "validation", "test")])
def test_a_data_set_brings_the_splits_that_it_has(recipe, tmp_path, names):
    name = saved(tmp_path / "ds", **dict.fromkeys(names, "B-PER"))
    files = {"train_file": None, "validation_file": None, "test_file": None}
    corpus = Corpus.read(parse_recipe([recipe(dataset_name=name, **files)])[0])
    assert {split: found["tokens"][0] for split, found in corpus.sentences.items()} == {n: [n] for n in names}


def test_a_data_set_without_splits_is_training_data_and_nothing_else(recipe, tmp_path):
    Dataset.from_dict({"tokens": [["EU"]], "tags": [["B-ORG"]]}).save_to_disk(tmp_path / "ds")
    files = {"train_file": None, "validation_file": None, "test_file": None}
    corpus = Corpus.read(parse_recipe([recipe(dataset_name=str(tmp_path / "ds"), **files)])[0])
    assert list(corpus.sentences) == ["train"]
    with pytest.raises(DataError, match="split='test': expected one of train"):
        read_dataset(str(tmp_path / "ds"), split="test")


LONG_WORD = "o" * 90  # several windows, of which the first has its label


def split_of(*sentences: list[str], training: bool) -> Split:
    columns = {"tokens": list(sentences), "tags": [["O"] * len(words) for words in sentences]}
    tagging = TaggingArguments(train_file="unused", max_length=8, stride=0)
    return Split.of(
        Dataset.from_dict(columns), prepare_tokenizer(small_tokenizers.gpt2()), ["O"], tagging, training=training
    )


def test_windows_in_which_nothing_is_labelled_are_trained_on_by_nobody():
    sentences = [["the"], [LONG_WORD], ["house"]]
    whole = split_of(*sentences, training=False)
    assert (whole.num_left_out, len(whole.windows) > 3) == (0, True)
    split = split_of(*sentences, training=True)
    assert list(split.windows["sentence_idx"]) == [0, 1, 2]
    assert list(split.windows["num_labels"]) == [1, 1, 1]
    assert split.num_left_out == len(whole.windows) - 3
    assert f"3 windows, {split.num_left_out} without a labelled word left out" in str(split)


def test_training_data_whose_words_have_no_sub_words_are_refused():
    with pytest.raises(DataError, match="no word of the training data has a sub-word"):
        split_of([""], [], training=True)
