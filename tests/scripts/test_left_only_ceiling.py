"""The bound for left-only taggers, on files small enough to work it out by hand or to try every tagger."""

from itertools import product
from pathlib import Path

import pytest
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from left_only_ceiling import left_only_ceiling, main, read_sentences, unbalanced_contexts

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "right_context"

JORDAN = [
    (["Yesterday", "Jordan", "wept"], ["O", "B-PER", "O"]),
    (["Yesterday", "Jordan", "flooded"], ["O", "B-LOC", "O"]),
    (["Yesterday", "Jordan", "merged"], ["O", "B-ORG", "O"]),
]
WELLS = [
    (["Orson", "Wells", "wept"], ["B-PER", "I-PER", "O"]),
    (["Orson", "Wells", "wept", "too"], ["B-PER", "I-PER", "O", "O"]),
    (["Orson", "Wells", "flooded"], ["B-LOC", "I-LOC", "O"]),
]
HOPE = [
    (["Hope", "wept"], ["B-PER", "O"]),
    (["Hope", "grew"], ["O", "O"]),
    (["Hope", "fell"], ["O", "O"]),
    (["Hope", "died"], ["O", "O"]),
    (["Jordan", "wept"], ["B-PER", "O"]),
]


def best_f1_of_all_taggers(sentences):
    """Try each assignment of a tag to each left context, with seqeval's own score."""
    contexts = sorted({tuple(words[: i + 1]) for words, _ in sentences for i in range(len(words))})
    tags = sorted({tag for _, gold in sentences for tag in gold})
    taggers = (dict(zip(contexts, choice, strict=True)) for choice in product(tags, repeat=len(contexts)))
    gold = [tags for _, tags in sentences]
    return 100 * max(
        f1_score(
            gold,
            [[tagger[tuple(words[: i + 1])] for i in range(len(words))] for words, _ in sentences],
            mode="strict",
            scheme=IOB2,
            zero_division=0,
        )
        for tagger in taggers
    )


def test_three_balanced_types_leave_a_third():
    assert left_only_ceiling(JORDAN) == pytest.approx(100 / 3)


def test_the_majority_type_is_the_best_guess():
    # Guess PER three times: 2 correct of 3 predicted and 3 gold.
    assert left_only_ceiling(WELLS) == pytest.approx(100 * 2 / 3)


def test_a_context_that_is_seldom_a_name_is_better_left_alone():
    # "Jordan" alone: 2 * 1 / (1 + 2). With "Hope" as well: 2 * 2 / (5 + 2), which is less.
    assert left_only_ceiling(HOPE) == pytest.approx(100 * 2 / 3)


def test_a_name_that_the_words_before_it_decide_costs_nothing():
    mister = [(["Mr", "Jordan", "wept"], ["O", "B-PER", "O"]), (["In", "Jordan", "we"], ["O", "B-LOC", "O"])]
    assert left_only_ceiling(mister) == 100


def test_what_a_first_clause_says_of_the_second_name_counts():
    # The second "Jordan" is PER after "wept" and LOC after "flooded"; the first has one type in two. With both
    # first names guessed: 1 + 2 correct of 4 predicted and 4 gold.
    leaky = [
        (["Hope", "wept", "and", "Jordan", "sang"], ["B-PER", "O", "O", "B-PER", "O"]),
        (["Hope", "flooded", "and", "Jordan", "sank"], ["B-LOC", "O", "O", "B-LOC", "O"]),
    ]
    assert left_only_ceiling(leaky) == pytest.approx(75)


def test_a_file_without_entities_has_the_bound_zero():
    assert left_only_ceiling([(["Nobody", "wept"], ["O", "O"])]) == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize(
    "sentences", [[(w[1:], t[1:]) for w, t in JORDAN], WELLS[1:], HOPE], ids=["Jordan", "Wells", "Hope"]
)
def test_the_best_of_all_taggers_reaches_the_bound_and_none_exceeds_it(sentences):
    assert left_only_ceiling(sentences) == pytest.approx(best_f1_of_all_taggers(sentences))


def test_left_contexts_that_favour_a_type_are_named():
    assert unbalanced_contexts(JORDAN) == []
    assert unbalanced_contexts(JORDAN[:1] + WELLS) == ["Yesterday Jordan", "Orson"]
    assert unbalanced_contexts(HOPE) == ["Hope"]


def test_the_command_prints_counts_and_the_bound(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["left_only_ceiling.py", str(EXAMPLES / "test.tsv")])
    main()
    assert capsys.readouterr().out.splitlines() == [
        "200 sentences; entities: LOC 74, ORG 74, PER 74",
        "Each of 67 left contexts of a name is followed equally often by each type.",
        "Best entity-level micro F1 of any left-only tagger: 33.33",
    ]


@pytest.mark.parametrize("line", ["Jordan B-PER", "Jordan\tPER", "\tO"])
def test_a_line_that_is_no_tagged_word_is_named_with_its_number(tmp_path, line):
    (tmp_path / "data.tsv").write_text(f"Yesterday\tO\n{line}\n")
    with pytest.raises(ValueError, match=r"data\.tsv, line 2: .*expected a word, a tab and an IOB2 tag"):
        read_sentences(tmp_path / "data.tsv")
