from collections import Counter

import pytest

from decausal import DataError
from decausal.tagging.reading.conll import has_word_ids, parse_columns, pick_words, read_rows, to_sentence
from decausal.tagging.reading.source import Source


def source(text: str) -> Source:
    return Source("train.txt", text.split("\n"))


def read(text: str, *, with_ids: bool = False, separator: str | None = None, skipped: Counter | None = None):
    return list(
        read_rows(
            source(text),
            separator=separator,
            with_ids=with_ids,
            skipped=Counter() if skipped is None else skipped,
        )
    )


def test_blank_lines_and_docstart_lines_divide_sentences_and_docstarts_are_counted():
    skipped = Counter()

    rows = read(
        "-DOCSTART- -X- O O\n\nEU NNP O\nsaid VBD O\n\t\n\nNo DT O\n-DOCSTART- (2)\nYes UH O\n",
        skipped=skipped,
    )

    assert rows == [
        [(3, ["EU", "NNP", "O"]), (4, ["said", "VBD", "O"])],
        [(7, ["No", "DT", "O"])],
        [(9, ["Yes", "UH", "O"])],
    ]
    assert skipped["-DOCSTART- lines"] == 2


def test_fields_stand_between_blanks_unless_most_lines_hold_a_tab():
    assert read("EU  NNP\t O \nx y z\n") == [[(1, ["EU", "NNP", "O"]), (2, ["x", "y", "z"])]]
    assert read("New York\tB-LOC\n \tO\n") == [[(1, ["New York", "B-LOC"]), (2, [" ", "O"])]]


def test_a_blank_that_is_not_ascii_is_part_of_its_word():
    assert read("a\u00a0b O\n\u3000 O") == [[(1, ["a\u00a0b", "O"]), (2, ["\u3000", "O"])]]


def test_a_given_separator_is_used_to_the_letter():
    assert read("New York;B-LOC", separator=";") == [[(1, ["New York", "B-LOC"])]]


def test_a_hash_is_a_word_where_words_are_not_numbered():
    skipped = Counter()

    rows = read("# O\nme O\n\n# O\n#NFL B-X", skipped=skipped)

    assert rows == [[(1, ["#", "O"]), (2, ["me", "O"])], [(4, ["#", "O"]), (5, ["#NFL", "B-X"])]]
    assert +skipped == {}


@pytest.mark.parametrize("text", ["# EVENT\nme O", "# NNP B-X\nme PRP O"])
def test_a_hash_with_its_tag_is_a_word_even_where_it_opens_every_sentence(text):
    assert len(read(text)[0]) == 2


def test_headers_before_every_sentence_are_comments_without_numbers_too():
    skipped = Counter()

    rows = read("# id 1 domain=en\nEU _ B-ORG\n\n# id 2 domain=en\nsaid _ O\n# _ O\n", skipped=skipped)

    assert rows == [[(2, ["EU", "_", "B-ORG"])], [(5, ["said", "_", "O"]), (6, ["#", "_", "O"])]]
    assert skipped["comment lines"] == 2


def test_tabs_in_comments_do_not_count_among_columns():
    assert read("# a b\n# c d\n# e f\n1\tNew York\tO\n", with_ids=True) == [[(4, ["1", "New York", "O"])]]


def test_of_numbered_lines_comments_ranges_and_empty_nodes_are_no_words():
    skipped = Counter()
    text = "# text = du #\n1-2\tdu\t_\n1\tde\tO\n2\tle\tO\n2.1\tx\t_\n3\t#\tO\n"

    rows = read(text, with_ids=True, skipped=skipped)

    assert [fields[1] for _, fields in rows[0]] == ["de", "le", "#"]
    assert +skipped == {"comment lines": 1, "multiword ranges and empty nodes": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# text = a\n1\ta\tO\n2\tb\tO", True),
        ("1-2\tdu\t_\n1\tde\tO\n2\tle\tO", True),
        ("1\ta\tO\nx2\tb\tO\n3\tc\tO", True),
        ("1 O\npoint O\nago O", False),
        ("1990 O\n1991 O", False),
        ("a\tO", False),
        ("# a b", False),
    ],
)
def test_a_file_is_conllu_like_if_its_words_are_numbered_from_one(text, expected):
    assert has_word_ids(text.split("\n")) is expected


def test_a_broken_number_in_a_numbered_file_is_an_error_and_no_word():
    with pytest.raises(DataError, match=r"train.txt:2: expected the number of a word .*'x2\\tb\\tO'"):
        read("1\ta\tO\nx2\tb\tO\n3\tc\tO", with_ids=True)


def test_a_ragged_line_is_an_error_with_both_counts():
    message = "train.txt:3: expected 2 columns as in line 1, found 3; the line is 'New York B-LOC'"
    with pytest.raises(DataError, match=message):
        read("EU B-ORG\n\nNew York B-LOC")


def test_columns_count_from_either_end():
    sentence = to_sentence(read("EU NNP B-ORG\nsaid VBD O")[0], (0, -1), source(""))

    assert (sentence.words, sentence.tags, sentence.numbers) == (["EU", "said"], ["B-ORG", "O"], [1, 2])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((0, 3), "train.txt:1: expected a column 3, found 2 columns counted from 0; the line is 'EU O'"),
        ((0, -3), "expected a column -3, found 2 columns"),
        ((1, -1), "expected a word and a tag in columns 1 and -1, found one column"),
    ],
)
def test_columns_that_are_not_there_or_not_two_are_an_error(columns, message):
    with pytest.raises(DataError, match=message):
        to_sentence([(1, ["EU", "O"])], columns, source("EU O"))


def test_an_empty_field_is_an_error():
    with pytest.raises(DataError, match=r"train\.txt:1: column 0 is empty; expected a word or a tag"):
        pick_words([(1, ["", "O"])], 0, source("\tO"))


def test_columns_are_written_as_two_numbers():
    assert parse_columns("0, -1") == (0, -1)
    with pytest.raises(ValueError, match="columns='tokens,tags': expected two numbers, word and tag, such as 0,-1"):
        parse_columns("tokens,tags")
