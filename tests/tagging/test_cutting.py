import datasets
import pytest

from decausal import DataError
from decausal._tokenizer import load_tokenizer
from decausal.tagging import cutting
from decausal.tagging.align import align
from decausal.tagging.arguments import TaggingArguments
from decausal.tagging.data import read_sentences
from decausal.tagging.splits import Split


@pytest.fixture
def cut(monkeypatch, tmp_path, stories):
    """Cuts three sentences into windows, the longest last; `calls` are those of `align`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "train.tsv").write_text("EU\tB-ORG\nsaid\tO\n\nRome\tB-LOC\n\nthe\tO\nbig\tO\ndog\tO\nran\tO\nup\tO\n")
    calls: list[int] = []

    def count(*args, **kwargs):
        calls.append(len(args[0]))
        return align(*args, **kwargs)

    monkeypatch.setattr(cutting, "align", count)

    def _cut(labels=("O", "B-LOC", "B-ORG"), *, num_sentences=3, training=False, split_special_tokens=False, **fields):
        tagging = TaggingArguments(train_file=str(tmp_path / "train.tsv"), **fields)
        sentences = read_sentences(tmp_path / "train.tsv")[0].select(range(num_sentences))
        tokenizer = load_tokenizer(stories, add_prefix_space=tagging.add_prefix_space)
        tokenizer.split_special_tokens = split_special_tokens
        return Split.of(sentences, tokenizer, list(labels), tagging, training=training)

    _cut.calls = calls
    return _cut


def test_sentences_are_cut_once(cut):
    first, second = cut(), cut()

    assert cut.calls == [3]
    assert first.windows[:] == second.windows[:]
    assert len(first.windows) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": ["O", "B-ORG", "B-LOC"]},
        {"max_length": 4},
        {"stride": 1},
        {"label_position": "last"},
        {"num_copies": 2, "stride": 128},
        {"add_prefix_space": False},
        {"split_special_tokens": True},
    ],
)
def test_who_asks_otherwise_cuts_anew(cut, changed):
    cut()
    cut(**changed)

    assert cut.calls == [3, 3]


def test_the_first_sentences_alone_have_windows_of_their_own(cut):
    cut()

    assert cut(num_sentences=2).windows["sentence_idx"][:] == [0, 1]


def test_several_processes_cut_what_one_cuts(cut, monkeypatch, tmp_path):
    several = cut(preprocessing_num_workers=3, training=True).windows[:]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "another")
    one = cut(training=True).windows[:]

    assert cut.calls == [3]  # the calls of other processes are not counted here
    assert several == one
    assert one["sentence_idx"] == [0, 1, 2]


def test_windows_that_cannot_be_kept_are_told_with_the_way_out(cut, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(datasets.Dataset, "map", fail)
    with pytest.raises(DataError, match=r"windows: cannot be kept in .*Permission denied.*set HF_DATASETS_CACHE"):
        cut()


def test_windows_know_their_length_and_their_labels(cut):
    windows = cut(training=True).windows

    assert windows["length"][:] == [len(ids) for ids in windows["input_ids"]]
    assert windows["num_labels"][:] == [2, 1, 5]


def test_windows_to_score_come_the_longest_first(cut):
    windows = cut().windows

    assert windows["sentence_idx"][0] == 2
    assert windows["length"][:] == sorted(windows["length"], reverse=True)


@pytest.mark.parametrize(
    ("num_sentences", "wanted", "expected"), [(99_999, None, None), (150_000, None, 3), (10**9, None, 4), (10, 2, 2)]
)
def test_many_sentences_are_cut_by_as_many_processes_as_there_are_cores(monkeypatch, num_sentences, wanted, expected):
    monkeypatch.setattr(cutting.os, "sched_getaffinity", lambda _: range(4), raising=False)

    assert cutting._count_processes(num_sentences, wanted) == expected
