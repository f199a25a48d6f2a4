"""The command itself: its name, its version, and what becomes of errors."""

import logging
import warnings
from typing import Annotated

import typer

app = typer.Typer(
    help="Make chosen layers of a decoder-only language model bidirectional, and train taggers with them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
_OF_SWEEPS = ("optuna", "scipy", "sqlalchemy", "statsmodels")


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


def main() -> None:
    """Run the command line; errors that a user can act on become one message and exit status 1."""
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError) as error:
        typer.echo(f"error: {error}{_way_out(error)}", err=True)
        raise SystemExit(1) from None


def _way_out(error: Exception) -> str:
    if not isinstance(error, ModuleNotFoundError):
        return ""
    extra = "sweep" if str(error.name).partition(".")[0] in _OF_SWEEPS else "train"
    return f"; pip install 'decausal[{extra}]' brings it"


def quiet() -> None:
    """Leave the screen to the results: no bars, reports or deprecations of loading, and a warning is one line."""
    from transformers.utils import logging as transformers_logging

    # bitsandbytes 0.50 asks for a package `kernels` on some CPUs, in every process that imports PEFT.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.showwarning = lambda message, *_, **__: typer.echo(f"warning: {message}", err=True)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def device_map() -> str | None:
    """Where a model is loaded to: transformers decides where there is a GPU."""
    import torch

    return "auto" if torch.cuda.is_available() else None
