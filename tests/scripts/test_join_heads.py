"""The heads of one file beside the tags of another."""

import json

import pytest
from typer.testing import CliRunner

import join_heads
from decausal.cli.app import app

TREEBANK = """\
# sent_id = 1
1	Anna	_	PROPN	_	_	2	nsubj	_	_
2	sees	_	VERB	_	_	0	root	_	_
3-4	Bergens	_	_	_	_	_	_	_	_
3	Bergen	_	PROPN	_	_	5	nmod	_	_
4	's	_	PART	_	_	3	case	_	_
5	harbour	_	NOUN	_	_	2	obj	_	_

# sent_id = 2
1	Go	_	VERB	_	_	0	root	_	_
2	home	_	ADV	_	_	1	advmod	_	_

"""
TAGS = """\
# sent_id = other names, in another order
1	Gohome	O	-	-

1	Anna	B-PER	-	-
2	sees	O	-	-
3	Bergen	B-LOC	-	-
4	's	O	-	-
5	harbour	O	-	-

"""


@pytest.fixture
def joined(tmp_path, capsys):
    (tmp_path / "treebank.conllu").write_text(TREEBANK, encoding="utf-8")
    (tmp_path / "tags.iob2").write_text(TAGS, encoding="utf-8")
    path = tmp_path / "joined.tsv"
    join_heads.main([str(tmp_path / "treebank.conllu"), str(tmp_path / "tags.iob2"), str(path)])
    assert capsys.readouterr().out == "1 of 2 sentences have heads\n"
    return path


def test_sentences_are_found_by_their_words(joined):
    assert joined.read_text(encoding="utf-8") == (
        "Anna\t2\tB-PER\nsees\t0\tO\nBergen\t5\tB-LOC\n's\t3\tO\nharbour\t2\tO\n\n"
    )


def test_the_result_is_what_rdr_counts(joined):
    done = CliRunner().invoke(app, ["rdr", str(joined), "--heads", "1", "--columns", "0,2", "--json"])
    found = json.loads(done.stdout)
    # Anna -> sees to the right, Bergen -> harbour and -> 's to the right
    assert (found["sentences"], found["words"], found["left"], found["right"]) == (1, 2, 0, 3)
