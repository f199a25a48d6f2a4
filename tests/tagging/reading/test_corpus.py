from collections import Counter

import pytest
from datasets import Dataset

from decausal import DataError
from decausal.tagging.reading.corpus import ReadReport, assemble
from decausal.tagging.reading.source import Sentence, Source

SOURCE = Source("a.txt", ["EU I-ORG", "said O", "", "Rome I-LOC", "x B-"])


def sentence(words: str, tags: str, first: int, dropped: list[str] | None = None) -> Sentence:
    return Sentence(words.split(), tags.split(), SOURCE, list(range(first, first + len(words.split()))), dropped)


@pytest.fixture
def assembled(tmp_path):
    """What `assemble` writes and says of sentences; `passed_over` is what reading them counts."""

    def _assembled(
        sentences: list[Sentence], file_format: str, tag_scheme: str = "auto", passed_over: dict[str, int] | None = None
    ) -> tuple[Dataset, ReadReport]:
        def read(skipped: Counter[str]):
            skipped.update(passed_over or {})
            return iter(sentences)

        path = tmp_path / "sentences.arrow"
        report = assemble(read, path, name="demo", file_format=file_format, tag_scheme=tag_scheme)
        return Dataset.from_file(str(path)), report

    return _assembled


def test_the_scheme_is_that_of_all_sentences_and_the_account_is_complete(assembled):
    sentences = [
        sentence("EU said", "I-ORG O", 1),
        sentence("", "", 3),
        sentence("Rome Paris", "I-LOC B-LOC", 4),
        sentence("EU said", "B-ORG O", 1, ["'E' (ORG) overlaps another"]),
    ]

    dataset, report = assembled(sentences, "conll", passed_over={"comment lines": 3, "others": 0})

    assert dataset["tokens"][:] == [["EU", "said"], ["Rome", "Paris"], ["EU", "said"]]
    assert dataset["tags"][:] == [["B-ORG", "O"], ["B-LOC", "B-LOC"], ["B-ORG", "O"]]
    assert report == ReadReport(
        source="demo",
        format="conll",
        scheme="IOB1",
        sentences=3,
        tokens=6,
        entities=4,
        converted_tags=2,
        repaired_tags=0,
        dropped_spans=1,
        skipped={"comment lines": 3, "empty sentences": 1},
        first_dropped=["a.txt:1: 'E' (ORG) overlaps another"],
    )


def test_a_scheme_that_was_asked_for_is_kept_to(assembled):
    _, report = assembled([sentence("EU said", "I-ORG O", 1)], "conll", "iob2")

    assert (report.scheme, report.converted_tags, report.repaired_tags) == ("IOB2", 0, 1)


def test_spans_have_no_scheme(assembled):
    _, report = assembled([sentence("EU", "B-ORG", 1, [])], "jsonl")

    assert report.scheme == "spans"


def test_spans_are_left_alone_by_the_scheme_of_tags_beside_them(assembled):
    sentences = [sentence("EU said Rome", "ORG O O", 1), sentence("Rome", "B-LOC", 4, [])]

    dataset, report = assembled(sentences, "jsonl")

    assert dataset["tags"][:] == [["B-ORG", "O", "O"], ["B-LOC"]]
    assert (report.scheme, report.converted_tags) == ("bare-words", 1)


@pytest.mark.parametrize(
    ("tags", "bare"), [("ORG ORG O O", True), ("ORG O O O", True), ("B-ORG I-ORG O O", False), ("I-ORG O O O", False)]
)
def test_the_account_says_whether_only_the_scheme_tells_entities_apart(assembled, tags, bare):
    _, report = assembled([sentence("EU said no more", tags, 1)], "conll")

    assert report.has_bare_tags is bare


def test_the_account_says_in_one_line_what_is_not_zero():
    report = ReadReport("eng.train", "conll", "IOB1", 14041, 203621, 23499, 23427, 0, 0, {"-DOCSTART- lines": 946})

    assert str(report) == (
        "eng.train (conll, IOB1): 14,041 sentences, 203,621 words, 23,499 entities; "
        "tags converted from IOB1: 23,427; -DOCSTART- lines skipped: 946"
    )


def test_the_account_has_the_first_dropped_spans_with_their_places(assembled):
    _, report = assembled([sentence("EU", "O", 1, [f"span {n}" for n in "1234"])], "jsonl")

    assert report.dropped_spans == 4
    assert report.first_dropped == ["a.txt:1: span 1", "a.txt:1: span 2", "a.txt:1: span 3"]


@pytest.mark.parametrize("tag_scheme", ["auto", "IOB1"])
def test_a_bad_tag_is_an_error_at_the_first_line_that_has_it(assembled, tag_scheme):
    with pytest.raises(DataError, match=r"a\.txt:5: tag 'B-' has no type: expected B-TYPE; the line is 'x B-'"):
        assembled([sentence("EU said", "I-ORG O", 1), sentence("Rome x", "I-LOC B-", 4)], "conll", tag_scheme)


@pytest.mark.parametrize("sentences", [[], [sentence("", "", 3)]])
def test_a_corpus_without_words_is_an_error(assembled, sentences):
    with pytest.raises(DataError, match="demo: holds no sentence"):
        assembled(sentences, "conll")
