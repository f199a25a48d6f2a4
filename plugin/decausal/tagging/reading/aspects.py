"""Records from SemEval-2014 aspect XML."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from decausal.tagging.reading.records import Record
from decausal.tagging.reading.source import Source


def read_aspects(source: Source) -> Iterator[tuple[int, Record]]:
    """Each sentence with the line it ends on; its spans are the aspect terms, labelled with their polarity.

    Raises:
        DataError: If the XML is broken, an attribute is missing, or offsets do not point at their term.
    """
    parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(["end"])
    try:
        # Fed line by line, since elements do not remember where they stood.
        number = 0
        for number, line in enumerate(source.lines, 1):
            parser.feed(f"{line}\n")
            for event in parser.read_events():
                element = event[-1]
                if isinstance(element, ET.Element) and element.tag == "sentence":
                    yield number, _to_record(element, number, source)
                    element.clear()
        parser.close()
    except ET.ParseError as error:
        raise source.error(min(error.position[0], number), f"is not well-formed XML: {error}") from error


def _to_record(element: ET.Element, number: int, source: Source) -> Record:
    text = element.findtext("text")
    if text is None:
        raise source.error(number, "expected a <text> in the <sentence> that ends here")
    spans = []
    for term in element.iter("aspectTerm"):
        try:
            start, end = int(term.attrib["from"]), int(term.attrib["to"])
            label, wording = term.attrib["polarity"], term.attrib["term"]
        except (KeyError, ValueError) as error:
            expected = "expected term, polarity and the numbers from and to in an <aspectTerm>"
            raise source.error(number, f"{expected}, found {dict(term.attrib)}") from error
        if text[start:end] != wording:
            raise source.error(number, f"expected {wording!r} from {start} to {end}, found {text[start:end]!r}")
        spans.append((start, end, label))
    return {"text": text, "spans": spans}
