"""One file or data set, read in its format."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import datasets

from decausal._errors import DataError
from decausal.tagging.reading import ace, conll, maven, records, rows
from decausal.tagging.reading.aspects import read_aspects
from decausal.tagging.reading.corpus import ReadSentences
from decausal.tagging.reading.files import FileFormat, detect_format, detect_input_format
from decausal.tagging.reading.source import Lines, Sentence, Source
from decausal.tagging.reading.spans import split_words

ReadWords = Callable[[], Iterator[list[str]]]
"""Reads the words of each sentence from the first one on, each time that it is called."""

_DEFAULT_COLUMNS = {FileFormat.CONLL: "0,-1", FileFormat.CONLLU: "1,2"}


def annotated_sentences(
    lines: Lines, file_format: FileFormat | None, columns: str | None, separator: str | None
) -> tuple[FileFormat, ReadSentences]:
    """What reads the sentences of a file with their tags, and the format they are read in; see `read_sentences`.

    Raises:
        DataError: Here or while reading, if the file is not as it should be.
    """
    if file_format is FileFormat.PARQUET or (file_format is None and lines.name.endswith(".parquet")):
        table = rows.read_parquet(lines)
        return FileFormat.PARQUET, lambda _: dataset_sentences(table, lines.name, columns)
    source = Source.read(lines)
    file_format = file_format or detect_format(source)
    match file_format:
        case FileFormat.CONLL | FileFormat.CONLLU:
            return file_format, lambda skipped: _column_sentences(source, file_format, columns, separator, skipped)
        case FileFormat.JSONL:
            return file_format, lambda _: (
                records.to_sentence(record, columns, number, source)
                for number, record in records.read_json_lines(source)
            )
        case FileFormat.SEMEVAL:
            return file_format, lambda _: (
                records.to_sentence(record, None, number, source) for number, record in read_aspects(source)
            )
        case FileFormat.ACE:
            return file_format, partial(ace.read_sentences, source)
        case FileFormat.MAVEN:
            return file_format, partial(maven.read_sentences, source)
    raise DataError(f"{source.name}: file_format={file_format.value} has no tags; it is for prediction only")


def dataset_sentences(dataset: datasets.Dataset, name: str, columns: str | None) -> Iterator[Sentence]:
    """The rows of a data set as sentences.

    Raises:
        DataError: If a row is not as it should be.
    """
    source = Source(name, unit=", row ")
    for number, record in rows.read_rows(dataset, columns, source):
        yield records.to_sentence(record, columns, number, source)


def _column_sentences(
    source: Source,
    file_format: FileFormat,
    columns: str | None,
    separator: str | None,
    skipped: Counter[str],
) -> Iterator[Sentence]:
    with_ids = file_format is FileFormat.CONLLU
    word_and_tag = conll.parse_columns(columns or _DEFAULT_COLUMNS[file_format])
    if with_ids and word_and_tag[0] == 0:
        raise DataError(
            f"{source.name}: columns={columns!r} takes for words the first column, which numbers them; "
            "choose another, such as 1,2, or set file_format to conll"
        )
    for sentence in conll.read_rows(source, separator=separator, with_ids=with_ids, skipped=skipped):
        yield conll.to_sentence(sentence, word_and_tag, source)


def plain_sentences(
    lines: Lines, file_format: FileFormat | None, columns: str | None, separator: str | None
) -> tuple[FileFormat, ReadWords]:
    """What reads the words of each sentence of a file, and the format they are read in; see `read_words`.

    Raises:
        DataError: Here or while reading, if the file is not as it should be.
    """
    if file_format is FileFormat.PARQUET or (file_format is None and lines.name.endswith(".parquet")):
        raise DataError(f"{lines.name}: words are not read from Parquet; write one sentence a line, or JSON lines")
    source = Source.read(lines)
    # Whoever names a column has columns.
    detect = detect_format if columns or separator else detect_input_format
    file_format = file_format or detect(source)
    return file_format, partial(_words, source, file_format, columns, separator)


def _words(source: Source, file_format: FileFormat, columns: str | None, separator: str | None) -> Iterator[list[str]]:
    match file_format:
        case FileFormat.CONLL | FileFormat.CONLLU:
            with_ids = file_format is FileFormat.CONLLU
            column = conll.parse_columns(columns or _DEFAULT_COLUMNS[file_format])[0]
            for sentence in conll.read_rows(source, separator=separator, with_ids=with_ids, skipped=Counter()):
                yield conll.pick_words(sentence, column, source)
        case FileFormat.JSONL:
            for number, record in records.read_json_lines(source):
                yield records.to_words(record, columns, number, source)
        case FileFormat.SEMEVAL:
            for number, record in read_aspects(source):
                yield records.to_words(record, None, number, source)
        case FileFormat.ACE:
            yield from ace.read_words(source)
        case FileFormat.MAVEN:
            yield from maven.read_words(source)
        case _:
            cut = conll.split_at_blanks if file_format is FileFormat.WORDS else split_words
            yield from (cut(line) for line in source.lines)
