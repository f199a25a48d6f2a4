import pytest

from decausal import DataError
from decausal.tagging.reading.heads import read_heads

CONLLU = """\
# text = Vámonos al mar . No
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_\tO
1\tVamos\tir\tVERB\t_\t_\t0\troot\t_\t_\tO
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_\tO
2.1\tx\tx\tX\t_\t_\t_\t_\t_\t_\tO
3\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\t_\tB-LOC

1\tNo\tno\tINTJ\t_\t_\t0\troot\t_\t_\tO
"""


@pytest.fixture
def write(tmp_path):
    """Writes a file, and returns its path."""

    def write_file(text: str, name: str = "a.txt"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def read(*arguments, **options):
    return list(read_heads(*arguments, **options))


def test_heads_of_conllu_count_words_only(write):
    assert read(write(CONLLU), 6) == [[None, 0, 0], [None]]


def test_a_column_may_be_counted_from_the_end(write):
    assert read(write(CONLLU), -5) == [[None, 0, 0], [None]]


def test_words_without_a_number_are_counted_in_their_sentence(write):
    assert read(write("the 2 O\nEU 0 B-ORG\n\nNo 0 O\n"), 1) == [[1, None], [None]]


def test_a_separator_and_several_files_are_read_as_tags_are(write):
    first, second = write("the;2\nEU;0", "a.txt"), write("No;0", "b.txt")
    assert read([first, second], 1, separator=";") == [[1, None], [None]]


@pytest.mark.parametrize("head", ["3", "-1", "1", "_", "1.5"])
def test_what_is_no_head_is_refused_with_its_line(write, head):
    path = write(f"the {head} O\nEU 0 B-ORG\n")
    expected = "0 for a root or the number of another of the 2 words"
    with pytest.raises(DataError) as error:
        read(path, 1)
    assert str(error.value) == (
        f"{path}:1: expected in column 1 the head of word 1, {expected}, found {head!r}; the line is 'the {head} O'"
    )


def test_words_that_are_not_numbered_in_order_are_refused_since_heads_would_be_others(write):
    path = write("1\tthe\t2\n2\tEU\t0\n4\t.\t2\n")
    with pytest.raises(DataError, match=r"a\.txt:3: expected the word with the number 3, which heads refer to"):
        read(path, 2)


def test_a_file_without_columns_is_refused(write):
    path = write('{"tokens": ["EU"], "tags": ["B-ORG"]}', "a.jsonl")
    with pytest.raises(DataError, match=r"a\.jsonl: heads are read from columns, and this is jsonl; parse it"):
        read(path, 1)


def test_a_column_that_is_not_there_is_refused(write):
    path = write("the 2 O\nEU 0 B-ORG\n")
    with pytest.raises(DataError, match=r"a\.txt:1: expected a column 6, found 3 columns"):
        read(path, 6)
