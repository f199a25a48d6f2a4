"""`decausal ...`: the command line. Heavy imports wait until a command needs them."""

import json
import logging
import signal
import time
import warnings
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from decausal._show import (
    check_columns,
    print_audit,
    print_bench,
    print_dependencies,
    print_plan,
    print_scores,
    sentence_writer,
)

if TYPE_CHECKING:
    from torch import nn

app = typer.Typer(
    help="Make chosen layers of a decoder-only language model bidirectional, and train taggers with them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
_FEWEST_REPETITIONS = 3
_SENTENCES_AT_ONCE = 10_000
"""So many are sorted by length, and in memory, together."""
_PLUGIN_FILES = {"ms-swift": "decausal_ms_swift.py"}
_ANY = {"allow_extra_args": True, "ignore_unknown_options": True}

_Launch = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A file of accelerate config.")]
_Columns = Annotated[str | None, typer.Option(help='Word and tag column, such as "0,-1", or keys of JSON lines.')]
_Separator = Annotated[str | None, typer.Option(help="What divides columns, if not tabs or blanks.")]
_FileFormat = Annotated[
    str | None,
    typer.Option(
        "--file_format", "--file-format", help='If not told by the look; "text" cuts running text into words.'
    ),
]
_TagScheme = Annotated[
    str | None,
    typer.Option(
        "--tag_scheme",
        "--tag-scheme",
        help="IOB1, IOB2, BIOES, BILOU, IO, bare-runs, bare-words or auto; by default as in training, else auto.",
    ),
]
_BatchSize = Annotated[int, typer.Option("--batch_size", "--batch-size", min=1, help="Windows a forward pass.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from decausal import __version__

        typer.echo(f"decausal {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What stands before a command."""


@app.command(context_settings=_ANY)
def train(
    context: typer.Context,
    recipe: Path,
    launch: _Launch = None,
) -> None:
    """Train a tagger as a recipe says.

    The same as: accelerate launch [--config_file LAUNCH] -m decausal.tagging.train RECIPE [--field value ...]
    """
    from accelerate.commands.launch import launch_command, launch_command_parser

    logging.getLogger("accelerate.commands.launch").setLevel(logging.ERROR)  # defaults are no news: the run says them
    launcher = ["--config_file", str(launch)] if launch else []
    module = ["-m", "decausal.tagging.train", str(recipe), *context.args]
    # The run saves a checkpoint on Ctrl-C, which it hears itself; its launcher is to wait for that, not to die first.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: _to_children(number))
    launch_command(launch_command_parser().parse_args(["--quiet", *launcher, *module]))


@app.command(context_settings=_ANY)
def run(
    context: typer.Context,
    unmask: Annotated[
        str | None, typer.Option(help="Which layers; by default what a loaded checkpoint records.")
    ] = None,
    scope: Annotated[
        Literal["all", "prompt"] | None,
        typer.Option(help="Which tokens see both sides; by default what fits the model."),
    ] = None,
) -> None:
    """Run a command of another toolkit, in which every decoder-only model that transformers loads is unmasked.

    For example: decausal run --unmask 0011 -- trl sft --config x.yaml
    """
    from decausal.hosts.run import run as run_command

    if not context.args:
        raise ValueError(
            "give the command to run behind --, as in: decausal run --unmask 0011 -- trl sft --config x.yaml"
        )
    raise typer.Exit(run_command(context.args, unmask, scope))


@app.command()
def path(host: Annotated[str, typer.Argument(help="The toolkit, such as ms-swift.")]) -> None:
    """Print the path of the plugin file for a toolkit that takes plugins as files."""
    if host not in _PLUGIN_FILES:
        raise ValueError(f"{host}: there is no plugin file for it; there are those of {', '.join(_PLUGIN_FILES)}.")
    typer.echo(Path(__file__).parent / "hosts" / "external" / _PLUGIN_FILES[host])


@app.command(context_settings=_ANY)
def plan(
    context: typer.Context,
    recipe: Path,
    launch: _Launch = None,
    num_processes: Annotated[
        int | None,
        typer.Option("--num_processes", "--num-processes", min=1, help="Of all machines, instead of the file's."),
    ] = None,
    gpu_memory: Annotated[
        str | None, typer.Option("--gpu_memory", "--gpu-memory", help='Of each device, such as "24GiB".')
    ] = None,
) -> None:
    """Show what a recipe will need on each device, before anything is rented.

    Reads the training data, the tokenizer and the model's configuration; needs neither its weights nor a GPU. The exit
    status is 1 where the recipe does not fit into --gpu-memory.
    """
    _quiet()
    from decausal.tagging.plan.plan import make_plan

    found = make_plan([str(recipe), *context.args], launch, num_processes, gpu_memory)
    print_plan(found)
    raise typer.Exit(0 if found.ok else 1)


@app.command(context_settings=_ANY)
def bench(
    context: typer.Context,
    recipe: Path,
    seconds: Annotated[float, typer.Option(min=1, help="How long to go on measuring, about.")] = 120,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of a measurement.")] = 2,
    output: Annotated[Path | None, typer.Option(dir_okay=False, help="A file for all that was measured, JSON.")] = None,
) -> None:
    """Measure how fast a recipe trains here: in padded batches, grouped by length, and packed; unmasked and causal.

    Takes optimizer steps on the recipe's own model and training data, at a learning rate of 0; saves no model.
    """
    _quiet()
    from decausal.tagging.bench import Bench, compare_layouts

    if output is not None and not output.parent.is_dir():
        raise ValueError(f"--output {output}: there is no directory {output.parent}.")
    measured = Bench([str(recipe), *context.args])
    table, begin = compare_layouts(measured, steps), time.monotonic()
    for results in table.measure():
        num_repetitions = len(results["padded"]["figure"]["all"])
        typer.echo(f"repetition {num_repetitions}, {time.monotonic() - begin:.0f} seconds", err=True)
        if time.monotonic() - begin >= seconds and num_repetitions >= _FEWEST_REPETITIONS:
            break
    print_bench(measured, table, results)
    if output is not None:
        found = {"figure": table.figure, **table.facts, **measured.facts(), "steps": steps, "results": results}
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _to_children(number: int) -> None:
    import psutil

    for child in psutil.Process().children():
        child.send_signal(number)


@app.command(context_settings=_ANY)
def sweep(
    context: typer.Context,
    recipe: Path,
    patterns: Annotated[
        str,
        typer.Option(help='Patterns with blanks between them, "groups:4", "single", "prefixes" or "suffixes".'),
    ] = "groups:4",
    seeds: Annotated[str | None, typer.Option(help='Such as "120,121,122"; by default the one of the recipe.')] = None,
    axis: Annotated[
        list[str] | None, typer.Option(help='A further field and its values: "learning_rate=1e-4,5e-4".')
    ] = None,
    sampler: Annotated[Literal["grid", "tpe"], typer.Option(help="Run everything, or what TPE chooses.")] = "grid",
    trials: Annotated[int | None, typer.Option(min=1, help="With tpe: how many runs.")] = None,
    prune: Annotated[
        Literal["none", "median", "hyperband"], typer.Option(help="Stop runs early whose validation F1 lies behind.")
    ] = "none",
    storage: Annotated[
        str | None, typer.Option(help="Where the study is: postgresql://..., by default a file in output_dir.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Its name; by default that of output_dir.")] = None,
    launch: _Launch = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry_failed", "--retry-failed", help="Run those again that failed.")
    ] = False,
    heartbeat_seconds: Annotated[
        int,
        typer.Option(
            "--heartbeat_seconds",
            "--heartbeat-seconds",
            min=1,
            help="Between signs of life of a worker; after six missed ones its run is taken up by others.",
        ),
    ] = 10,
) -> None:
    """Run a recipe with many patterns and seeds; the same command goes on, or joins in from another machine.

    Every run is an ordinary launch of the recipe, into a directory of its own below output_dir. The exit status is 1
    where one failed.
    """
    _quiet()
    from decausal.sweep.sweep import run_sweep

    try:
        is_whole = run_sweep(
            [str(recipe), *context.args],
            patterns=patterns,
            seeds=seeds,
            axes=axis or [],
            sampler=sampler,
            num_trials=trials,
            pruner=prune,
            storage=storage,
            name=study,
            launch=launch,
            retry_failed=retry_failed,
            heartbeat_seconds=heartbeat_seconds,
        )
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on", err=True)
        raise typer.Exit(130) from None
    raise typer.Exit(0 if is_whole else 1)


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="The output_dir of a sweep.")],
    storage: Annotated[str | None, typer.Option(help="As in the sweep, if it had one.")] = None,
    study: Annotated[str | None, typer.Option(help="As in the sweep, if it had one.")] = None,
) -> None:
    """Write what a sweep has found: a page, report.html, and its tables as CSV and LaTeX, into a folder report."""
    _quiet()
    from decausal.sweep.prepare import STUDY_FILE
    from decausal.sweep.report import write_report
    from decausal.sweep.study import failures_of, open_study, outcomes_of

    if storage is None and not (directory / STUDY_FILE).is_file():
        raise ValueError(f"{directory} holds no {STUDY_FILE}: give the output_dir of a sweep, or its --storage.")
    found = open_study(storage or f"sqlite:///{directory / STUDY_FILE}", study or directory.name, create=False)
    outcomes = outcomes_of(found)
    if not outcomes:
        raise ValueError(f"study={found.study_name!r}: no run of it has ended yet.")
    typer.echo(write_report(found.study_name, outcomes, failures_of(found), directory / "report"))


@app.command()
def audit(
    model: Annotated[str, typer.Argument(help="Model name, or a directory: a model's, or what a run saved.")],
    unmask: Annotated[
        str | None, typer.Option(help="Unmask these layers first; for a saved run, what it should be.")
    ] = None,
    attn_implementation: Annotated[
        str | None, typer.Option("--attn_implementation", "--attn-implementation", help="As in transformers.")
    ] = None,
) -> None:
    """Show what every layer really sees.

    The exit status is 1 where that is not what the model's pattern says.
    """
    _quiet()
    from decausal._audit import audit as run_audit

    loaded = _model_to_audit(model, unmask, attn_implementation)
    if encoder := _encoder_type(loaded, unmask):
        typer.echo(f"{model}: an encoder (model_type={encoder!r}), which sees both sides; it has no pattern to audit.")
        return
    report = run_audit(loaded, unmask)
    print_audit(report)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def evaluate(
    checkpoint: Path,
    test_file: Annotated[
        str, typer.Option("--test_file", "--test-file", help="Annotated sentences: a file, directory or glob.")
    ],
    columns: _Columns = None,
    separator: _Separator = None,
    file_format: _FileFormat = None,
    tag_scheme: _TagScheme = None,
    batch_size: _BatchSize = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score a saved tagger on annotated sentences."""
    _quiet()
    from decausal.tagging.data import read_sentences
    from decausal.tagging.predict import Tagger

    tagger = Tagger.from_pretrained(checkpoint, batch_size=batch_size, device_map=_device_map())
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
def rdr(
    source: Annotated[str, typer.Argument(metavar="FILE", help="Annotated sentences: a file, directory or glob.")],
    columns: _Columns = None,
    separator: _Separator = None,
    file_format: _FileFormat = None,
    tag_scheme: _TagScheme = None,
    parser: Annotated[
        str | None, typer.Option(help="The spaCy pipeline that finds the heads, by default en_core_web_lg.")
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="The column of the heads in FILE, from 0 (6 in CoNLL-U), instead of a parser.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Count how many dependency arcs of tagged words lead to the right: the right-dependency ratio of a data set."""
    _quiet()
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


@app.command()
def predict(
    checkpoint: Path,
    source: Annotated[str, typer.Argument(help="A file, or - for the standard input.")] = "-",
    output: Annotated[Literal["conll", "jsonl", "color"], typer.Option(help="How tags are shown.")] = "conll",
    columns: _Columns = None,
    separator: _Separator = None,
    file_format: _FileFormat = None,
    batch_size: _BatchSize = 32,
) -> None:
    """Tag words with a saved tagger.

    Reads one sentence a line, CoNLL columns, or JSON lines. Only what must be columns is read as such.
    """
    _quiet()
    from decausal.tagging.data import read_words
    from decausal.tagging.predict import Tagger

    words, found_format = read_words(source, columns=columns, separator=separator, file_format=file_format)
    num_sentences = num_words = 0
    for sentence in words:
        num_sentences += bool(sentence)
        num_words += len(sentence)
    size = f"{num_sentences:,} sentence{'s' * (num_sentences != 1)}, {num_words:,} words"
    hint = "" if file_format else "; if that is no such file, say what it is with --file_format"
    typer.echo(f"{'standard input' if source == '-' else source} ({found_format}): {size}{hint}", err=True)
    if output == "conll":
        check_columns(words)
    tagger = Tagger.from_pretrained(checkpoint, batch_size=batch_size, device_map=_device_map())
    types = sorted({label[2:] for label in tagger.labels if label != "O"})
    write = sentence_writer(output, types)
    # Columns end each sentence with a blank line, and have no way to say that it is empty.
    wanted = filter(None, words) if output == "conll" else iter(words)
    while some := list(islice(wanted, _SENTENCES_AT_ONCE)):
        for tagged in tagger.tag(some):
            typer.echo(write(tagged), color=output == "color")


def main() -> None:
    """Run the command line; errors that a user can act on become one message and exit status 1."""
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError) as error:
        missing = "; pip install 'decausal[train]' brings it" if isinstance(error, ModuleNotFoundError) else ""
        typer.echo(f"error: {error}{missing}", err=True)
        raise SystemExit(1) from None


def _quiet() -> None:
    """Leave the screen to the results: no bars, reports or deprecations of loading, and a warning is one line."""
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.showwarning = lambda message, *_, **__: typer.echo(f"warning: {message}", err=True)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def _model_to_audit(path: str, unmask: str | None, attn_implementation: str | None) -> "nn.Module":
    from transformers import AutoModel

    import decausal
    from decausal._checkpoint import load_model, record_beside
    from decausal._weights import check_place, check_weights

    check_place(path)
    if Path(path).is_dir() and record_beside(path) is not None:
        loaded: nn.Module = load_model(Path(path), attn_implementation=attn_implementation, device_map=_device_map())
        return loaded
    if (Path(path) / "adapter_config.json").is_file():
        raise ValueError(
            f"{path} holds an adapter that records no pattern: its run was causal, or not made by decausal."
        )
    if Path(path).is_dir():
        if not (Path(path) / "config.json").is_file():
            raise decausal.CheckpointError(f"{path} is no model directory: there is no config.json in it.")
        check_weights(Path(path))
    try:
        model: nn.Module = AutoModel.from_pretrained(
            path, attn_implementation=attn_implementation, use_safetensors=True, device_map=_device_map()
        )
    except Exception as error:  # transformers, safetensors and the hub each raise their own
        raise decausal.CheckpointError(f"{path} cannot be loaded: {' '.join(str(error).split())}") from error
    if unmask is not None:
        decausal.unmask(model, unmask)
    return model


def _encoder_type(model: "nn.Module", unmask: str | None) -> str | None:
    """The model type of an encoder, refused if anything is to be unmasked; None for a decoder."""
    from decausal import LayerPattern, UnsupportedModelError
    from decausal._layers import encoder_message, is_encoder, text_config, transformers_model

    config = text_config(transformers_model(model))
    if not is_encoder(config):
        return None
    if unmask is not None and LayerPattern.parse(unmask).text != "none":
        raise UnsupportedModelError(encoder_message(config))
    return str(config.model_type)


def _device_map() -> str | None:
    import torch

    return "auto" if torch.cuda.is_available() else None


if __name__ == "__main__":
    main()
