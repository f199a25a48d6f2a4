import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from decausal import DataError
from decausal.cli import app
from decausal.tagging.aspects import read_aspect_file, split_validation, write_columns
from decausal.tagging.reading.source import Sentence, Source

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the annotated corpora in ../shared/data")
SENTENCE = """<sentence id="{id}">
<text>{text}</text>
{terms}
</sentence>
"""
TABLES = SENTENCE.format(
    id="2",
    text="Don't sit at the  bar tables- perhaps outside?",
    terms="""<aspectTerm term="tables" polarity="negative" from="22" to="28"/>
<aspectTerm term="sit" polarity="conflict" from="6" to="9"/>""",
)
FOOD = SENTENCE.format(
    id="1", text="The soup of fish", terms='<aspectTerm term="soup of fish" polarity="positive" from="4" to="16"/>'
)


@pytest.fixture(scope="module")
def spacy():
    return pytest.importorskip("spacy", reason="needs spaCy; pip install 'decausal[rdr]'")


@pytest.fixture
def write(tmp_path):
    def _write(name: str, *sentences: str):
        path = tmp_path / name
        path.write_text(f"<sentences>\n{''.join(sentences)}</sentences>\n")
        return path

    return _write


def prepare(*arguments):
    return CliRunner().invoke(app, ["prepare", *map(str, arguments)], catch_exceptions=False)


def rows_of(path):
    return [block.split("\n") for block in path.read_text().removesuffix("\n\n").split("\n\n")]


def counts_of(path):
    return Counter(row.rpartition("\t")[2] for block in rows_of(path) for row in block)


@pytest.fixture(scope="module")
def restaurants(spacy, tmp_path_factory):
    """Where the files of SemEval-2014 went, and what the command said of them."""
    semeval, out = SHARED / "semeval14_restaurants", tmp_path_factory.mktemp("restaurants")
    return out, prepare(semeval / "Restaurants_Train_v2.xml", semeval / "Restaurants_Test_Gold.xml", out)


@needs_shared
@pytest.mark.parametrize(
    ("name", "published", "sentences"),
    [("train.tsv", "train.txt", 2737), ("validation.tsv", "valid.txt", 304), ("test.tsv", "test.txt", 800)],
)
def test_restaurants_have_the_sentences_words_and_tags_of_the_paper(restaurants, name, published, sentences):
    found = rows_of(restaurants[0] / name)

    assert len(found) == sentences
    assert found == rows_of(SHARED / "rest14_iob2" / published)


@needs_shared
def test_restaurants_have_the_tag_counts_of_the_paper(restaurants):
    assert counts_of(restaurants[0] / "train.tsv") == {
        "O": 38013,
        "B-positive": 1949,
        "I-positive": 949,
        "B-negative": 726,
        "B-neutral": 567,
        "I-neutral": 218,
        "I-negative": 191,
        "B-conflict": 77,
        "I-conflict": 23,
    }


@needs_shared
def test_every_dropped_aspect_of_restaurants_is_named_with_its_place(restaurants):
    dropped = [line for line in restaurants[1].stderr.splitlines() if ": dropped " in line]

    assert len([line for line in dropped if "Train" in line]) == 9
    assert [line.partition("Restaurants_")[2] for line in dropped if "Train" not in line] == [
        "Test_Gold.xml:6034: dropped 'MEAL' (positive) does not begin and end where words do",
        "Test_Gold.xml:6547: dropped 'tables' (negative) does not begin and end where words do",
    ]


def test_the_words_are_those_of_spacy_blanks_included(spacy, write):
    sentence, _ = read_aspect_file(write("a.xml", TABLES, FOOD))

    assert sentence.words == ["Do", "n't", "sit", "at", "the", " ", "bar", "tables-", "perhaps", "outside", "?"]
    assert sentence.tags == ["O", "O", "B-conflict", *["O"] * 8]
    assert sentence.dropped == ["'tables' (negative) does not begin and end where words do"]


def test_the_files_are_columns_and_their_sizes_are_told(spacy, write, tmp_path):
    result = prepare(write("train.xml", *[FOOD] * 10), write("test.xml", TABLES), tmp_path / "deep" / "out")

    out = tmp_path / "deep" / "out"
    assert (out / "validation.tsv").read_text() == "The\tO\nsoup\tB-positive\nof\tI-positive\nfish\tI-positive\n\n"
    assert result.stdout.splitlines() == [
        f"{out}/train.tsv: 9 sentences, 36 words, 9 aspect terms",
        f"{out}/validation.tsv: 1 sentences, 4 words, 1 aspect terms",
        f"{out}/test.tsv: 1 sentences, 11 words, 1 aspect terms",
    ]
    assert result.stderr == (
        f"{tmp_path}/test.xml:6: dropped 'tables' (negative) does not begin and end where words do\n"
    )


def test_a_tenth_of_the_sentences_is_drawn_for_validation_the_same_in_every_call():
    sentences = [Sentence([str(idx)], ["O"], Source("a.xml"), [idx]) for idx in range(29)]

    training, validation = split_validation(sentences)

    assert [sentence.words for sentence in validation] == [["3"], ["20"]]
    assert training == [sentence for sentence in sentences if sentence not in validation]
    assert split_validation(sentences) == (training, validation)


@pytest.mark.parametrize("word", ["a\tb", "\n"])
def test_a_word_that_columns_cannot_hold_is_an_error_and_nothing_is_written(tmp_path, word):
    sentences = [Sentence(["a", word], ["O", "O"], Source("a.xml", [""] * 3), [3, 3])]

    with pytest.raises(DataError, match=r"a\.xml:3: the word .* does not fit into columns"):
        write_columns(sentences, tmp_path / "a.tsv")
    assert not (tmp_path / "a.tsv").exists()


def test_without_spacy_the_extra_that_brings_it_is_named(monkeypatch, write):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ImportError, match=r"words are those of spaCy: .*; pip install 'decausal\[rdr\]' brings it"):
        read_aspect_file(write("a.xml", FOOD))
