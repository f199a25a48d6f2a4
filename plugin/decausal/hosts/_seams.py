"""Where a toolkit that offers no plugin is joined: the few calls through which each of them loads, trains and saves.

`OF` names them. `join_process` replaces them in a process of ours; a child process of `decausal run` replaces them
while it imports them (`site/sitecustomize.py`). A replacement is called with the original function first.
"""

import importlib
import inspect
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from decausal._attach import RECORD, Handle, unmasked_layers
from decausal._errors import CheckpointError, UnsupportedModelError
from decausal._layers import is_encoder, text_config, transformers_model
from decausal._masks import Scope
from decausal.hosts._join import Host, join, say

VARIABLE: Final = "DECAUSAL_RUN"
"""The environment variable by which `decausal run` tells its child processes what is wanted."""


@dataclass(frozen=True)
class Wanted:
    """What a process was asked to unmask.

    Attributes:
        unmask: which layers; None leaves it to what a loaded checkpoint records, and other models causal.
        scope: `"all"` or `"prompt"`; None takes the one that fits the model.
        host: whose process it is.
        report_dir: where each process that has joined says so, if anywhere.
    """

    unmask: str | None
    scope: Scope | None
    host: Host
    report_dir: str | None = None

    def to_json(self) -> str:
        """The text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Wanted":
        """What `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "host": Host(**fields["host"])})


def join_process(wanted: Wanted) -> Callable[[], None]:
    """Joins whatever this process loads, trains and saves from now on.

    Args:
        wanted: what to unmask.

    Returns:
        A function that puts the process back as it was.
    """
    found = [(*_find(module, name), seam) for module, names in OF.items() for name, seam in names.items()]
    for owner, attribute, original, seam in found:
        setattr(owner, attribute, replacement(original, partial(seam, wanted)))

    def undo() -> None:
        for owner, attribute, original, _ in found:
            setattr(owner, attribute, original)

    return undo


def replacement(original: Any, seam: Callable[..., Any]) -> Any:
    """A function, or class method, that calls `seam` with the original and the arguments.

    Args:
        original: as it stands in the class's `__dict__`.
        seam: what to call instead.
    """
    function = getattr(original, "__func__", original)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return seam(function, *args, **kwargs)

    return classmethod(call) if isinstance(original, classmethod) else call


def load_model(wanted: Wanted, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`PreTrainedModel.from_pretrained`: what it returns is unmasked."""
    loaded = original(*args, **kwargs)
    join_loaded(loaded[0] if isinstance(loaded, tuple) else loaded, wanted)
    return loaded


def load_adapter(wanted: Wanted, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`PeftModel.from_pretrained`: the pattern recorded beside the adapter is applied."""
    loaded = original(*args, **kwargs)
    call = inspect.signature(original).bind(*args, **kwargs).arguments
    with suppress(OSError):  # plain PEFT saves no configuration beside an adapter
        record = PreTrainedConfig.get_config_dict(call["model_id"])[0].get(RECORD)
        if record is not None:
            _follow(loaded, record, str(call["model_id"]), wanted)
    return loaded


def save_adapter(wanted: Wanted, original: Callable[..., Any], model: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """`PeftModel.save_pretrained`: the model's configuration, which holds the pattern, is saved beside the adapter."""
    saved = original(model, *args, **kwargs)
    call = inspect.signature(original).bind(model, *args, **kwargs).arguments
    if call.get("is_main_process", True) and unmasked_layers(model):
        base = transformers_model(model)
        base.config.architectures = [type(base).__name__]  # as saving a whole model does
        base.config.save_pretrained(call["save_directory"])
    return saved


def prepare(wanted: Wanted, original: Callable[..., Any], accelerator: Any, *args: Any, **kwargs: Any) -> Any:
    """`Accelerator.prepare`: a model that is about to be trained must be unmasked, and a row must stay whole.

    Raises:
        UnsupportedModelError: no layer of the model is unmasked, or rows are split over processes.
    """
    trained = [arg for arg in args if isinstance(arg, nn.Module) and any(p.requires_grad for p in arg.parameters())]
    if trained and wanted.unmask != "none" and not any(map(unmasked_layers, trained)):
        raise UnsupportedModelError(
            f"{type(trained[0]).__name__} is about to be trained, and no layer of it is unmasked: it was not loaded by "
            f"the from_pretrained of a decoder-only model of transformers, or the checkpoint that it came from records "
            f"no pattern. Say which layers by unmask, or call decausal.unmask(model, PATTERN) in the script itself."
        )
    sizes = getattr(accelerator, "parallelism_config", None)
    for name in ("cp_size", "sp_size"):
        if trained and (getattr(sizes, name, 1) or 1) > 1:
            raise UnsupportedModelError(
                f"{wanted.host.name}: {name}={getattr(sizes, name)} splits each row over processes, whose ring "
                f"attention masks it causally by itself; set it to 1."
            )
    return original(accelerator, *args, **kwargs)


def join_loaded(model: PreTrainedModel, wanted: Wanted) -> Handle | None:
    """Unmasks a model that transformers has loaded as its checkpoint or else the user says.

    Raises:
        CheckpointError: the two contradict each other.
        UnsupportedModelError: see `join`.
    """
    if is_encoder(text_config(model)) or model.config.is_encoder_decoder:
        say(f"left alone: {type(model).__name__}, which is no decoder-only model")
        return None
    record = getattr(model.config, RECORD, None)
    if record is not None:
        return _follow(model, record, str(model.name_or_path), wanted)
    if wanted.unmask is None:
        return None
    handle = join(model, wanted.unmask, wanted.scope, wanted.host)
    _report(wanted)
    return handle


def _follow(model: nn.Module, record: dict[str, Any], place: str, wanted: Wanted) -> Handle | None:
    """Does what a checkpoint records, unless something else is wanted."""
    layers = tuple(record["layers"])
    if wanted.unmask is not None:
        from decausal import LayerPattern

        asked = LayerPattern.parse(wanted.unmask).layers(record["num_hidden_layers"])
        if asked != layers or wanted.scope not in (None, record["scope"]):
            raise CheckpointError(
                f'{place} was saved with unmask="{record["unmask"]}", scope="{record["scope"]}", and this run asks for '
                f'unmask="{wanted.unmask}"'
                + (f', scope="{wanted.scope}"' if wanted.scope else "")
                + f'. Leave unmask out to go on as it was; to change it, remove "{RECORD}" from its config.json.'
            )
    if unmasked_layers(model) == layers:
        return None
    handle = join(model, record["unmask"], record["scope"], wanted.host)
    setattr(transformers_model(model).config, RECORD, record)
    _report(wanted)
    return handle


def _report(wanted: Wanted) -> None:
    """Leaves a file named by this process, from which `decausal run` knows that it has joined."""
    if wanted.report_dir is not None:
        rank, of = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        (Path(wanted.report_dir) / f"{rank}-of-{of}").touch()


def _find(module: str, name: str) -> tuple[type, str, Any]:
    owner_name, attribute = name.split(".")
    owner = getattr(importlib.import_module(module), owner_name)
    return owner, attribute, owner.__dict__[attribute]


OF: Final[dict[str, dict[str, Callable[..., Any]]]] = {
    "transformers.modeling_utils": {"PreTrainedModel.from_pretrained": load_model},
    "peft.peft_model": {"PeftModel.from_pretrained": load_adapter, "PeftModel.save_pretrained": save_adapter},
    "accelerate.accelerator": {"Accelerator.prepare": prepare},
}
"""For each module, the methods that are replaced there."""
