import pytest

from decausal import DataError
from decausal.tagging.reading.aspects import read_aspects
from decausal.tagging.reading.source import Source


def read(text: str):
    return list(read_aspects(Source("a.xml", text.split("\n"))))


def term(attributes: str) -> str:
    text = "<text>The R&amp;B bar</text>"
    return f"<sentences>\n<sentence>\n{text}\n<aspectTerm {attributes}/>\n</sentence>\n</sentences>"


def test_a_sentence_has_its_text_and_its_terms_by_polarity():
    xml = term('term="R&amp;B bar" polarity="conflict" from="4" to="11"')

    assert read(f'<?xml version="1.0" encoding="UTF-8"?>{xml}') == [
        (5, {"text": "The R&B bar", "spans": [(4, 11, "conflict")]})
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<sentences>\n<sentence>\n</sentences>", "a.xml:3: is not well-formed XML: mismatched tag"),
        ("<sentences>\n<sentence>", "a.xml:2: is not well-formed XML: no element found"),
        ("<sentences><sentence/></sentences>", "a.xml:1: expected a <text>"),
        (term('term="bar" from="8" to="11"'), "a.xml:5: expected term, polarity and the numbers from and to"),
        (
            term('term="bar" polarity="neutral" from="8" to="x"'),
            "a.xml:5: expected term, polarity and the numbers",
        ),
        (
            term('term="bar" polarity="neutral" from="7" to="11"'),
            "a.xml:5: expected 'bar' from 7 to 11, found ' bar'",
        ),
    ],
)
def test_broken_xml_and_terms_that_do_not_fit_are_errors_at_their_line(text, message):
    with pytest.raises(DataError, match=message):
        read(text)
