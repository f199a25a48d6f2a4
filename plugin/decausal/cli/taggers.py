"""`decausal evaluate` and `predict`: what a saved tagger is worth, and what it says."""

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer

from decausal._show import check_columns, print_scores, sentence_writer
from decausal.cli.app import app, device_map, quiet
from decausal.cli.options import BatchSize, Columns, FileFormat, Separator, TagScheme

_SENTENCES_AT_ONCE = 10_000
"""So many are sorted by length, and in memory, together."""


@app.command()
def evaluate(
    checkpoint: Path,
    test_file: Annotated[
        str, typer.Option("--test_file", "--test-file", help="Annotated sentences: a file, directory or glob.")
    ],
    columns: Columns = None,
    separator: Separator = None,
    file_format: FileFormat = None,
    tag_scheme: TagScheme = None,
    batch_size: BatchSize = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score a saved tagger on annotated sentences."""
    quiet()
    from decausal.tagging.data import read_sentences
    from decausal.tagging.predict import Tagger

    tagger = Tagger.from_pretrained(checkpoint, batch_size=batch_size, device_map=device_map())
    sentences, report = read_sentences(
        test_file,
        columns=columns,
        separator=separator,
        file_format=file_format,
        tag_scheme=tag_scheme or tagger.tag_scheme,
    )
    typer.echo(report, err=True)
    scores = tagger.score(sentences, report.source)
    if as_json:
        typer.echo(json.dumps(scores.to_dict(), indent=1))
        return
    print_scores(scores)


@app.command()
def predict(
    checkpoint: Path,
    source: Annotated[str, typer.Argument(help="A file, or - for the standard input.")] = "-",
    output: Annotated[Literal["conll", "jsonl", "color"], typer.Option(help="How tags are shown.")] = "conll",
    columns: Columns = None,
    separator: Separator = None,
    file_format: FileFormat = None,
    batch_size: BatchSize = 32,
) -> None:
    """Tag words with a saved tagger.

    Reads one sentence a line, CoNLL columns, or JSON lines. Only what must be columns is read as such.
    """
    quiet()
    from decausal.tagging.data import read_words
    from decausal.tagging.predict import Tagger

    words, found_format = read_words(source, columns=columns, separator=separator, file_format=file_format)
    num_sentences = num_words = 0
    for sentence in words:
        num_sentences += bool(sentence)
        num_words += len(sentence)
    size = f"{num_sentences:,} sentence{'s' * (num_sentences != 1)}, {num_words:,} word{'s' * (num_words != 1)}"
    hint = "" if file_format else "; if it was meant otherwise, say so with --file_format"
    typer.echo(f"{'standard input' if source == '-' else source} ({found_format}): {size}{hint}", err=True)
    if output == "conll":
        check_columns(words)
    tagger = Tagger.from_pretrained(checkpoint, batch_size=batch_size, device_map=device_map())
    types = sorted({label[2:] for label in tagger.labels if label != "O"})
    write = sentence_writer(output, types)
    # Columns end each sentence with a blank line, and have no way to say that it is empty.
    wanted = filter(None, words) if output == "conll" else iter(words)
    while some := list(islice(wanted, _SENTENCES_AT_ONCE)):
        for tagged in tagger.tag(some):
            typer.echo(write(tagged), color=output == "color")
