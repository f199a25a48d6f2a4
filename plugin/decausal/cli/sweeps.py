"""`decausal search`, `sweep` and `report`: many runs of a recipe, and what they have shown."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from decausal.cli.app import app, quiet
from decausal.cli.options import ANY_FIELDS, Launch, Recipe

Patterns = Annotated[
    str,
    typer.Option(
        help='Patterns with blanks between them; "groups:4", "suffixes:4" and "prefixes:4" are of four groups, '
        '"single", "suffixes" and "prefixes" of layers.'
    ),
]


@app.command(context_settings=ANY_FIELDS)
def search(
    context: typer.Context,
    recipe: Recipe,
    patterns: Patterns = "suffixes:4",
    budget: Annotated[
        int, typer.Option(min=2, help="Runs to pay for: one for all patterns, the others for the best of them.")
    ] = 2,
    launch: Launch = None,
) -> None:
    """Find the best pattern for a recipe, for about the price of two runs; the same command goes on.

    One run trains an adapter for all patterns, which ranks them; the best is trained on its own, into a directory
    below output_dir.
    """
    quiet()
    from decausal.sweep.run import RunFailedError
    from decausal.sweep.search import run_search

    try:
        run_search([str(recipe), *context.args], patterns=patterns, budget=budget, launch=launch)
    except RunFailedError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on", err=True)
        raise typer.Exit(130) from None


@app.command(context_settings=ANY_FIELDS)
def sweep(
    context: typer.Context,
    recipe: Recipe,
    patterns: Patterns = "groups:4",
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
    launch: Launch = None,
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
    quiet()
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
    quiet()
    from decausal.sweep.report import write_report
    from decausal.sweep.storage import STUDY_FILE, locate_study, open_study
    from decausal.sweep.trials import failures_of, outcomes_of

    if storage is None and not (directory / STUDY_FILE).is_file():
        raise ValueError(f"{directory} holds no {STUDY_FILE}: give the output_dir of a sweep, or its --storage.")
    found = open_study(*locate_study(directory, storage, study), create=False)
    outcomes = outcomes_of(found)
    if not outcomes:
        raise ValueError(f"study={found.study_name!r}: no run of it has ended yet.")
    typer.echo(write_report(found.study_name, outcomes, failures_of(found), directory / "report"))
