"""`decausal audit`, `run` and `path`: any model, and the runs of other toolkits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from decausal._show import print_audit
from decausal.cli.app import app, device_map, quiet
from decausal.cli.options import ANY_FIELDS

if TYPE_CHECKING:
    from torch import nn

_PLUGIN_FILES = {"ms-swift": "decausal_ms_swift.py"}


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
    quiet()
    from decausal._audit import audit as run_audit

    loaded = _model_to_audit(model, unmask, attn_implementation)
    if encoder := _encoder_type(loaded, unmask):
        typer.echo(f"{model}: an encoder (model_type={encoder!r}), which sees both sides; it has no pattern to audit.")
        return
    report = run_audit(loaded, unmask)
    print_audit(report)
    raise typer.Exit(0 if report.ok else 1)


@app.command(context_settings=ANY_FIELDS)
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
    typer.echo(Path(__file__).parents[1] / "hosts" / "external" / _PLUGIN_FILES[host])


def _model_to_audit(path: str, unmask: str | None, attn_implementation: str | None) -> "nn.Module":
    from transformers import AutoModel

    import decausal
    from decausal._checkpoint import load_model, record_beside
    from decausal._weights import check_place, check_weights

    check_place(path)
    if Path(path).is_dir() and record_beside(path) is not None:
        loaded: nn.Module = load_model(Path(path), attn_implementation=attn_implementation, device_map=device_map())
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
            path, attn_implementation=attn_implementation, use_safetensors=True, device_map=device_map()
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
