"""The aspect terms of SemEval-2014 as Dukić & Šnajder (ACL Findings 2024) prepare them for tagging.

Words are those of spaCy's rules for English, which its trained pipelines share, the paper's en_core_web_lg among them.
An aspect term that does not begin and end where words do is dropped. A tenth of the training sentences, drawn at
random, is for validation.
"""

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from decausal.tagging.reading.aspects import read_aspects
from decausal.tagging.reading.records import to_sentence
from decausal.tagging.reading.source import Lines, Sentence, Source
from decausal.tagging.reading.spans import FindWords

_SEED, _SHARE = 42, 0.1


def read_aspect_file(path: Path) -> list[Sentence]:
    """The sentences of a file of SemEval-2014 in the words of spaCy, blanks among them where two or more stand.

    Each has a message for every aspect term that was dropped.

    Raises:
        DataError: If the file is no such XML, naming the line.
        ImportError: If spaCy is not installed.
    """
    source, find_words = Source.read(Lines(path)), _load_tokenizer()
    return [to_sentence(record, None, number, source, find_words) for number, record in read_aspects(source)]


def split_validation(sentences: Sequence[Sentence]) -> tuple[list[Sentence], list[Sentence]]:
    """Those to train on and those to validate on, each in the order of the file; the same in every call."""
    drawn = set(random.Random(_SEED).sample(range(len(sentences)), int(len(sentences) * _SHARE)))
    training = [sentence for idx, sentence in enumerate(sentences) if idx not in drawn]
    return training, [sentences[idx] for idx in sorted(drawn)]


def write_columns(sentences: Sequence[Sentence], path: Path) -> None:
    """A line for each word, a tab between it and its tag, and a blank line after every sentence.

    Raises:
        DataError: If a word holds a tab or a line break.
    """
    for sentence in sentences:
        for word in sentence.words:
            if re.search(r"[\t\r\n]", word):
                raise sentence.source.error(sentence.numbers[0], f"the word {word!r} does not fit into columns")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for sentence in sentences:
            file.writelines(f"{word}\t{tag}\n" for word, tag in zip(sentence.words, sentence.tags, strict=True))
            file.write("\n")


def _load_tokenizer() -> FindWords:
    try:
        import spacy
    except ModuleNotFoundError as error:
        raise ImportError(
            f"the paper's words are those of spaCy: {error.msg}; pip install 'decausal[rdr]' brings it"
        ) from error
    tokenize: Callable[[str], Sequence[spacy.tokens.Token]] = spacy.blank("en").tokenizer
    return lambda text: [(token.idx, token.idx + len(token)) for token in tokenize(text)]
