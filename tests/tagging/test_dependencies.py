import json
import sys

import pytest
from datasets import disable_progress_bars
from typer.testing import CliRunner

from decausal.cli import app
from decausal.tagging import dependencies
from decausal.tagging.dependencies import Arcs, count_arcs

disable_progress_bars()
TAGS = ["B-PER", "I-PER", "O", "O", "B-ORG"]
HEADS = [1, 2, None, 4, 2]
FILE = """\
1\tPeter\tB-PER\t2
2\tBlackburn\tI-PER\t3
3\tsaw\tO\t0
4\tthe\tO\t5
5\tEU\tB-ORG\t3

1\tNo\tO\t0
"""


@pytest.fixture
def spacy():
    return pytest.importorskip("spacy", reason="needs spaCy; pip install 'decausal[rdr]'")


@pytest.fixture
def parser(spacy):
    """A pipeline that hangs every word on the word behind it, and takes `|` for the end of a sentence."""

    @spacy.Language.component("hang_on_next")
    def hang_on_next(doc):
        ends = [word.text == "|" or word.i == len(doc) - 1 for word in doc]
        heads = [idx + (not end) for idx, end in enumerate(ends)]
        deps = ["ROOT" if end else "dep" for end in ends]
        return spacy.tokens.Doc(doc.vocab, words=[word.text for word in doc], heads=heads, deps=deps)

    pipeline = spacy.blank("en")
    pipeline.add_pipe("hang_on_next")
    return pipeline


@pytest.fixture
def annotated(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text(FILE)
    return str(path)


def run(*arguments):
    return CliRunner().invoke(app, ["rdr", *map(str, arguments)], catch_exceptions=False)


def test_a_tagged_word_counts_its_head_and_its_children_by_the_side_on_which_they_stand():
    assert count_arcs([TAGS], [HEADS]).total == Arcs(words=3, left=3, right=2)


def test_every_type_counts_the_arcs_of_its_own_words():
    assert count_arcs([TAGS], [HEADS]).types == {"ORG": Arcs(1, 2, 0), "PER": Arcs(2, 1, 2)}


def test_a_root_has_no_arc_to_a_head_but_those_to_its_children():
    assert count_arcs([["O", "B-X", "O"]], [[1, None, 1]]).total == Arcs(1, left=1, right=1)


def test_an_arc_between_two_tagged_words_counts_in_both_directions():
    assert count_arcs([["B-X", "I-X"]], [[1, None]]).total == Arcs(2, left=1, right=1)


def test_an_arc_between_two_untagged_words_does_not_count():
    assert count_arcs([["O", "O", "B-X"]], [[1, None, None]]).total == Arcs(1, left=0, right=0)


def test_the_ratio_is_of_all_arcs_of_the_corpus_and_not_a_mean_of_sentences():
    found = count_arcs([TAGS, ["B-X", "O"], ["O"]], [HEADS, [1, None], [None]])
    assert (found.sentences, found.total) == (3, Arcs(4, left=3, right=3))
    assert found.total.ratio == 0.5


def test_without_an_arc_there_is_no_ratio():
    assert Arcs(1, 0, 0).ratio is None


def test_a_sentence_with_another_number_of_heads_is_refused():
    with pytest.raises(ValueError, match="sentence 2 has 1 tags, but 2 heads; each word has one"):
        count_arcs([["O"], ["O"]], [[None], [1, None]])


def test_a_sentence_without_heads_is_refused():
    with pytest.raises(ValueError, match="sentence 2 has 1 tags, but 0 heads; each word has one"):
        count_arcs([["O"], ["O"]], [[None]])


def test_heads_of_a_file_are_counted_with_its_tags(annotated):
    result = run(annotated, "--columns", "1,2", "--heads", 3, "--json")
    assert json.loads(result.stdout) == {
        "source": annotated,
        "heads": "column 3",
        "sentences": 2,
        "words": 3,
        "left": 3,
        "right": 2,
        "ratio": 0.4,
        "types": {
            "ORG": {"words": 1, "left": 2, "right": 0, "ratio": 0.0},
            "PER": {"words": 2, "left": 1, "right": 2, "ratio": 2 / 3},
        },
    }


def test_the_table_has_a_row_for_all_and_for_each_type(annotated):
    shown = run(annotated, "--columns", "1,2", "--heads", 3).stdout
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    assert cells == [
        ["all", "3", "3", "2", "0.4000"],
        ["ORG", "1", "2", "0", "0.0000"],
        ["PER", "2", "1", "2", "0.6667"],
    ]
    assert shown.splitlines()[-1] == "2 sentences; heads: column 3"


def test_a_parser_takes_words_as_they_are_and_every_sentence_of_its_own_has_a_root(parser):
    sentences = [["New York", "'s", "|", "end", "of", "it."], ["don't"]]
    assert list(dependencies.parse_heads(sentences, parser)) == [[1, 2, None, 4, 5, None], [None]]


def test_a_pipeline_that_sets_no_heads_is_refused(spacy):
    pipeline = spacy.blank("en")
    pipeline.add_pipe("sentencizer")
    with pytest.raises(ValueError, match=r"the pipeline \(sentencizer\) sets no heads; choose one with a dependency"):
        next(dependencies.parse_heads([["EU"]], pipeline))


def test_a_saved_pipeline_is_told_with_its_version(spacy, annotated, tmp_path):
    pipeline = spacy.blank("en", meta={"name": "small", "version": "1.2.3"})
    pipeline.add_pipe("parser").add_label("dep")
    pipeline.initialize()
    pipeline.to_disk(tmp_path / "small")

    result = run(annotated, "--columns", "1,2", "--parser", tmp_path / "small", "--json")

    found = json.loads(result.stdout)
    assert found["heads"] == f"en_small 1.2.3 (spaCy {spacy.__version__})"
    assert (found["sentences"], found["words"]) == (2, 3)


def test_a_pipeline_that_is_not_there_is_refused_with_the_way_to_it(spacy):
    with pytest.raises(
        ValueError, match=f"parser=en_none: spaCy {spacy.__version__} has no such pipeline; python -m spacy"
    ):
        dependencies.load_parser("en_none")


def test_without_spacy_the_extra_that_brings_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ImportError, match=r"parser=en_core_web_lg: .*; pip install 'decausal\[rdr\]' brings spaCy"):
        dependencies.load_parser()


def test_a_parser_and_a_column_of_heads_are_refused_together(annotated):
    with pytest.raises(
        ValueError, match="--parser en and --heads 3: the heads are found by a parser or read, choose one"
    ):
        run(annotated, "--columns", "1,2", "--heads", 3, "--parser", "en")
