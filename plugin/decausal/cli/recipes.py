"""`decausal train`, `plan` and `bench`: what a recipe does, will need, and costs."""

import json
import logging
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from decausal._show import print_bench, print_plan
from decausal.cli.app import app, quiet
from decausal.cli.options import ANY_FIELDS, Launch, Recipe

_FEWEST_REPETITIONS = 3


@app.command(context_settings=ANY_FIELDS)
def train(
    context: typer.Context,
    recipe: Recipe,
    launch: Launch = None,
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


@app.command(context_settings=ANY_FIELDS)
def plan(
    context: typer.Context,
    recipe: Recipe,
    launch: Launch = None,
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
    quiet()
    from decausal.tagging.plan.plan import make_plan

    found = make_plan([str(recipe), *context.args], launch, num_processes, gpu_memory)
    print_plan(found)
    raise typer.Exit(0 if found.ok else 1)


@app.command(context_settings=ANY_FIELDS)
def bench(
    context: typer.Context,
    recipe: Recipe,
    seconds: Annotated[
        float,
        typer.Option(min=1, help="How long it may take, about; three repetitions are made anyway."),
    ] = 120,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of a measurement.")] = 2,
    output: Annotated[Path | None, typer.Option(dir_okay=False, help="A file for all that was measured, JSON.")] = None,
) -> None:
    """Measure how fast a recipe trains here: in padded batches, grouped by length, and packed; unmasked and causal.

    Takes optimizer steps on the recipe's own model and training data, at a learning rate of 0; saves no model.
    """
    quiet()
    from decausal.tagging.bench import Bench, compare_layouts

    if output is not None and not output.parent.is_dir():
        raise ValueError(f"--output {output}: there is no directory {output.parent}.")
    begin = time.monotonic()
    measured = Bench([str(recipe), *context.args])
    table = compare_layouts(measured, steps)
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

    children = psutil.Process().children()
    if not children:  # nothing was launched yet
        raise SystemExit(128 + number)
    for child in children:
        child.send_signal(number)
