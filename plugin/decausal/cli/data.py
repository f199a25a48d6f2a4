"""`decausal prepare` and `rdr`: annotated text, made ready and measured."""

import json
from pathlib import Path
from typing import Annotated

import typer

from decausal._show import print_dependencies
from decausal.cli.app import app, quiet
from decausal.cli.options import Columns, FileFormat, Separator, TagScheme


@app.command()
def prepare(
    train_file: Annotated[Path, typer.Argument(metavar="TRAIN", help="Such as Restaurants_Train_v2.xml.")],
    test_file: Annotated[Path, typer.Argument(metavar="TEST", help="Such as Restaurants_Test_Gold.xml.")],
    output_dir: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Of the files that are written.")],
) -> None:
    """Cut the aspect XML of SemEval-2014 into words, and split it, as the paper does.

    Writes train.tsv, validation.tsv and test.tsv: a word, a tab, and its IOB2 tag with the polarity of the aspect.
    """
    quiet()
    from decausal.tagging.aspects import read_aspect_file, split_validation, write_columns

    train, test = read_aspect_file(train_file), read_aspect_file(test_file)
    training, validation = split_validation(train)
    for sentence in (*train, *test):
        for message in sentence.dropped or ():
            where = f"{sentence.source.name}:{sentence.numbers[0] if sentence.numbers else 0}"
            typer.echo(f"{where}: dropped {message}", err=True)
    for name, sentences in (("train", training), ("validation", validation), ("test", test)):
        path = output_dir / f"{name}.tsv"
        write_columns(sentences, path)
        num_words = sum(len(sentence.words) for sentence in sentences)
        num_terms = sum(tag.startswith("B-") for sentence in sentences for tag in sentence.tags)
        typer.echo(f"{path}: {len(sentences):,} sentences, {num_words:,} words, {num_terms:,} aspect terms")


@app.command()
def rdr(
    source: Annotated[str, typer.Argument(metavar="FILE", help="Annotated sentences: a file, directory or glob.")],
    columns: Columns = None,
    separator: Separator = None,
    file_format: FileFormat = None,
    tag_scheme: TagScheme = None,
    parser: Annotated[
        str | None, typer.Option(help="The spaCy pipeline that finds the heads, by default en_core_web_lg.")
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="The column of the heads in FILE, from 0 (6 in CoNLL-U), instead of a parser.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Count how many dependency arcs of tagged words lead to the right: the right-dependency ratio of a data set."""
    quiet()
    from decausal.tagging import dependencies
    from decausal.tagging.data import read_sentences
    from decausal.tagging.reading.heads import read_heads

    if parser is not None and heads is not None:
        raise ValueError(f"--parser {parser} and --heads {heads}: the heads are found by a parser or read, choose one")
    sentences, report = read_sentences(
        source, columns=columns, separator=separator, file_format=file_format, tag_scheme=tag_scheme or "auto"
    )
    typer.echo(report, err=True)
    if heads is not None:
        parsed_by, found = f"column {heads}", read_heads(source, heads, file_format=file_format, separator=separator)
    else:
        pipeline = dependencies.load_parser(parser or dependencies.PARSER)
        parsed_by = dependencies.describe_parser(pipeline)
        found = dependencies.parse_heads(sentences["tokens"], pipeline)
    counted = dependencies.count_arcs(sentences["tags"], found)
    if as_json:
        typer.echo(json.dumps({"source": report.source, "heads": parsed_by, **counted.to_dict()}, indent=1))
        return
    print_dependencies(counted, parsed_by)
