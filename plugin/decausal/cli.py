"""`decausal ...`: the command line. Heavy imports wait until a command needs them."""

import json
import signal
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from torch import nn

    from decausal._audit import AuditReport
    from decausal.tagging.predict import TaggedSentence

app = typer.Typer(
    help="Make chosen layers of a decoder-only language model bidirectional, and train taggers with them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
_ANY = {"allow_extra_args": True, "ignore_unknown_options": True}

_Columns = Annotated[str | None, typer.Option(help='Word and tag column, such as "0,-1", or keys of JSON lines.')]
_Separator = Annotated[str | None, typer.Option(help="What divides columns, if not tabs or blanks.")]
_FileFormat = Annotated[
    str | None,
    typer.Option(
        "--file_format", "--file-format", help='If not told by the look; "text" cuts running text into words.'
    ),
]
_BatchSize = Annotated[int, typer.Option("--batch_size", "--batch-size", min=1, help="Windows a forward pass.")]


@app.command(context_settings=_ANY)
def train(
    context: typer.Context,
    recipe: Path,
    launch: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file of accelerate config.")
    ] = None,
) -> None:
    """Train a tagger: accelerate launch [--config_file LAUNCH] -m decausal.tagging.train RECIPE [--field value ...]."""
    from accelerate.commands.launch import launch_command, launch_command_parser

    launcher = ["--config_file", str(launch)] if launch else []
    module = ["-m", "decausal.tagging.train", str(recipe), *context.args]
    # The run saves a checkpoint on Ctrl-C, which it hears itself; its launcher is to wait for that, not to die first.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: _to_children(number))
    launch_command(launch_command_parser().parse_args(["--quiet", *launcher, *module]))


def _to_children(number: int) -> None:
    import psutil

    for child in psutil.Process().children():
        child.send_signal(number)


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
    """Show what every layer of a model really sees; exit status 1 where that is not what its pattern says."""
    _quiet()
    from decausal._audit import audit as run_audit

    report = run_audit(_model_to_audit(model, unmask, attn_implementation), unmask)
    _print_audit(report)
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
    tag_scheme: Annotated[
        str,
        typer.Option(
            "--tag_scheme", "--tag-scheme", help="IOB1, IOB2, BIOES, BILOU, IO, bare-runs, bare-words or auto."
        ),
    ] = "auto",
    batch_size: _BatchSize = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score a saved tagger on annotated sentences."""
    _quiet()
    from decausal.tagging.predict import Tagger

    scores = Tagger.from_pretrained(checkpoint, batch_size=batch_size, device_map=_device_map()).evaluate(
        test_file, columns=columns, separator=separator, file_format=file_format, tag_scheme=tag_scheme
    )
    if as_json:
        typer.echo(json.dumps(scores.to_dict(), indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("", "precision", "recall", "F1", "entities")
    rows = {"all (strict)": scores.strict, **scores.types, "all (conlleval)": scores.conlleval}
    for name, row in rows.items():
        table.add_row(name, f"{row.precision:.2f}", f"{row.recall:.2f}", f"{row.f1:.2f}", str(row.support))
    Console().print(table)
    typer.echo(f"accuracy {scores.accuracy:.2f}")


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
    """Tag words: one sentence a line, CoNLL columns, or JSON lines."""
    _quiet()
    from decausal.tagging.data import read_words
    from decausal.tagging.predict import Tagger

    words = read_words(source, columns=columns, separator=separator, file_format=file_format)
    tagger = Tagger.from_pretrained(checkpoint, batch_size=batch_size, device_map=_device_map())
    types = sorted({label[2:] for label in tagger.labels if label != "O"})
    writers: dict[str, Callable[[TaggedSentence], str]] = {
        "conll": _as_conll,
        "jsonl": _as_json,
        "color": partial(_as_color, types),
    }
    for sentence in tagger.tag(words):
        typer.echo(writers[output](sentence), color=output == "color")


def main() -> None:
    """Run the command line; errors that a user can act on become one message and exit status 1."""
    try:
        app()
    except (ValueError, TypeError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None


def _quiet() -> None:
    """Leave the screen to the results: no bars, reports or deprecations of loading."""
    from transformers.utils import logging

    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _model_to_audit(path: str, unmask: str | None, attn_implementation: str | None) -> "nn.Module":
    from transformers import AutoModel

    import decausal

    if Path(path).is_dir() and '"decausal"' in _config_text(Path(path)):
        loaded: nn.Module = decausal.load(path, attn_implementation=attn_implementation, device_map=_device_map())[0]
        return loaded
    if (Path(path) / "adapter_config.json").is_file():
        raise ValueError(
            f"{path} holds an adapter that records no pattern: its run was causal, or not made by decausal."
        )
    model: nn.Module = AutoModel.from_pretrained(
        path, attn_implementation=attn_implementation, use_safetensors=True, device_map=_device_map()
    )
    if unmask is not None:
        decausal.unmask(model, unmask)
    return model


def _device_map() -> str | None:
    import torch

    return "auto" if torch.cuda.is_available() else None


def _config_text(directory: Path) -> str:
    config = directory / "config.json"
    return config.read_text(encoding="utf-8") if config.is_file() else ""


def _print_audit(report: "AuditReport") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("layer", "attention", "sees the future", "sees padding", "sees a packed neighbour", "verdict")
    words = {True: "yes", False: "no", None: "cannot be packed"}
    for layer in report.layers:
        table.add_row(
            str(layer.layer),
            layer.kind,
            words[layer.sees_future],
            words[layer.sees_padding],
            words[layer.sees_neighbour],
            layer.problem or ("unmasked, as the pattern says" if layer.expected_open else "causal"),
        )
    Console().print(table)
    typer.echo(report)


def _as_conll(sentence: "TaggedSentence") -> str:
    return "".join(f"{word}\t{tag}\n" for word, tag in zip(sentence.tokens, sentence.tags, strict=True))


def _as_json(sentence: "TaggedSentence") -> str:
    scores = [None if value is None else round(value, 4) for value in sentence.scores]
    return json.dumps({"tokens": sentence.tokens, "tags": sentence.tags, "scores": scores}, ensure_ascii=False)


def _as_color(types: list[str], sentence: "TaggedSentence") -> str:
    words = list(sentence.tokens)
    for kind, first, end in sentence.entities:
        words[first] = f"\033[{41 + types.index(kind) % 6};97m {words[first]}"
        words[end - 1] = f"{words[end - 1]} \033[2m{kind} \033[0m"
    return " ".join(words)


if __name__ == "__main__":
    main()
