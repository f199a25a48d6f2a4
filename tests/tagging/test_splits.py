import datasets
import pytest
from datasets import Dataset, DatasetDict

from decausal import DataError
from decausal._tokenizer import load_tokenizer
from decausal.tagging import splits
from decausal.tagging.align import align
from decausal.tagging.arguments import TaggingArguments, parse_recipe
from decausal.tagging.data import read_dataset, read_sentences
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


@pytest.fixture
def cut(monkeypatch, tmp_path, stories):
    """Cuts two sentences into windows; `calls` are those of `align`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "train.tsv").write_text("EU\tB-ORG\nsaid\tO\n\nRome\tB-LOC\n")
    calls: list[int] = []

    def count(*args, **kwargs):
        calls.append(len(args[0]))
        return align(*args, **kwargs)

    monkeypatch.setattr(splits, "align", count)

    def _cut(labels=("O", "B-LOC", "B-ORG"), *, add_prefix_space=True, training=False, **fields):
        tagging = TaggingArguments(train_file=str(tmp_path / "train.tsv"), **fields)
        sentences, _ = read_sentences(tmp_path / "train.tsv")
        tokenizer = load_tokenizer(stories, add_prefix_space=add_prefix_space)
        return Split.of(sentences, tokenizer, list(labels), tagging, training=training)

    _cut.calls = calls
    return _cut


def test_sentences_are_cut_once(cut):
    first, second = cut(), cut()

    assert cut.calls == [2]
    assert first.windows[:] == second.windows[:]
    assert len(first.windows) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": ["O", "B-ORG", "B-LOC"]},
        {"max_length": 4},
        {"stride": 1},
        {"label_position": "last"},
        {"add_prefix_space": False},
    ],
)
def test_who_asks_otherwise_cuts_anew(cut, changed):
    cut()
    cut(**changed)

    assert cut.calls == [2, 2]


def test_several_processes_cut_what_one_cuts(cut):
    assert cut(preprocessing_num_workers=2).windows[:] == cut().windows[:]


def test_windows_know_their_length_and_their_labels(cut):
    windows = cut(training=True).windows

    assert windows["length"][:] == [len(ids) for ids in windows["input_ids"]]
    assert windows["num_labels"][:] == [2, 1]


def test_windows_to_score_come_the_longest_first(cut):
    lengths = cut().windows["length"][:]

    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize(
    ("num_sentences", "wanted", "expected"), [(99_999, None, None), (150_000, None, 3), (10**9, None, 4), (10, 2, 2)]
)
def test_many_sentences_are_cut_by_as_many_processes_as_there_are_cores(monkeypatch, num_sentences, wanted, expected):
    monkeypatch.setattr(splits.os, "sched_getaffinity", lambda _: range(4), raising=False)

    assert splits._count_processes(num_sentences, wanted) == expected
