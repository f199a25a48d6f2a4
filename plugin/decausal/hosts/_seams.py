"""Where a toolkit that offers no plugin is joined: the few calls through which each of them loads, trains and saves.

`OF` names them. `join_process` replaces them in a process of ours; a child process of `decausal run` replaces them
while it imports them (`site/sitecustomize.py`). A replacement is called with the original function first.
"""

import copy
import importlib
import inspect
import json
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.quantizers.auto import AutoQuantizationConfig

from decausal._attach import RECORD, Handle, unmasked_layers
from decausal._errors import CheckpointError, UnsupportedModelError
from decausal._layers import is_encoder, text_config, transformers_model
from decausal._masks import Scope
from decausal._weights import ADAPTER_CONFIG
from decausal.hosts._join import Host, join, say

VARIABLE: Final = "DECAUSAL_RUN"
"""The environment variable by which `decausal run` tells its child processes what is wanted."""
_OF_HUB: Final = {"cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token"}
"""Arguments that say where on the hub something is."""


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


def join_process(wanted: Wanted, modules: Collection[str] | None = None) -> Callable[[], None]:
    """Joins whatever this process loads, trains and saves from now on.

    Args:
        wanted: what to unmask.
        modules: those of `OF` in which methods are replaced; by default all.

    Returns:
        A function that puts the process back as it was.
    """
    chosen = OF if modules is None else modules
    found = [(*_find(module, name), seam) for module in chosen for name, seam in OF[module].items()]
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
    call = inspect.signature(original).bind(*args, **kwargs)
    _send_to_base(call)
    loaded = original(*call.args, **call.kwargs)
    join_loaded(loaded[0] if isinstance(loaded, tuple) else loaded, wanted)
    return loaded


def load_adapter(wanted: Wanted, original: Callable[..., Any], model: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """`load_adapter` of PEFT, and of transformers' models: the pattern recorded beside the adapter is applied."""
    loaded = original(model, *args, **kwargs)
    call = inspect.signature(original).bind(model, *args, **kwargs).arguments
    place = call.get("model_id") or call.get("peft_model_id")
    if place is None:  # given as tensors
        return loaded
    given = {**(call.get("adapter_kwargs") or {}), **call.get("kwargs", {})}
    try:
        record = PreTrainedConfig.get_config_dict(place, **{k: given[k] for k in _OF_HUB & {*given}})[0].get(RECORD)
    except OSError:  # plain PEFT saves no configuration beside an adapter
        return loaded
    if record is not None:
        _follow(model, record, str(place), wanted)
    return loaded


def save_adapter(wanted: Wanted, original: Callable[..., Any], model: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """`PeftModel.save_pretrained`: the model's configuration, which holds the pattern, is saved beside the adapter."""
    saved = original(model, *args, **kwargs)
    call = inspect.signature(original).bind(model, *args, **kwargs).arguments
    if call.get("is_main_process", True) and unmasked_layers(model):
        trained = transformers_model(model)
        config = copy.deepcopy(trained.config)
        # Still that of the checkpoint it was loaded from; only a whole model's save_pretrained names its own class.
        config.architectures = [type(trained).__name__.removeprefix("FSDP")]
        config.save_pretrained(call["save_directory"])
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
    if any(map(unmasked_layers, trained)):
        _report(wanted)  # by the script itself, perhaps
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


def _send_to_base(call: inspect.BoundArguments) -> None:
    """Lets an adapter be loaded upon its base model, although the configuration that holds its pattern is beside it.

    transformers (5.23) holds such a directory for a whole model, and would look for its weights there.
    """
    place = Path(str(call.arguments.get("pretrained_model_name_or_path")))
    has_weights = any(place.glob("model*.safetensors")) or any(place.glob("pytorch_model*.bin"))
    if has_weights or not (place / ADAPTER_CONFIG).is_file() or not (place / "config.json").is_file():
        return
    given = call.arguments.setdefault("kwargs", {})
    given["adapter_kwargs"] = {**(given.get("adapter_kwargs") or {}), "_adapter_model_path": str(place)}
    base = json.loads((place / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    call.arguments["pretrained_model_name_or_path"] = base["base_model_name_or_path"]
    if base.get("revision"):
        call.arguments["revision"] = base["revision"]
    config = call.arguments.get("config")
    if config is not None and hasattr(config, "quantization_config"):
        # Left in the configuration it would say that the base model's files are quantised already; they are not.
        call.arguments["config"] = config = copy.deepcopy(config)
        quantization = config.quantization_config
        del config.quantization_config
        as_dict = quantization if isinstance(quantization, dict) else quantization.to_dict()
        given.setdefault("quantization_config", AutoQuantizationConfig.from_dict(as_dict))


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
    if wanted.report_dir is None:
        return
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    first = 0
    if "LOCAL_RANK" in os.environ and "LOCAL_WORLD_SIZE" in os.environ:
        first, size = rank - int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    with suppress(FileNotFoundError):  # on another machine, where its own `decausal run` would have made it
        (Path(wanted.report_dir) / f"{rank}-of-{first}-{first + size}").touch()


def _find(module: str, name: str) -> tuple[type, str, Any]:
    owner_name, attribute = name.split(".")
    owner = getattr(importlib.import_module(module), owner_name)
    return owner, attribute, owner.__dict__[attribute]


OF: Final[dict[str, dict[str, Callable[..., Any]]]] = {
    "transformers.modeling_utils": {"PreTrainedModel.from_pretrained": load_model},
    "transformers.integrations.peft": {"PeftAdapterMixin.load_adapter": load_adapter},
    "peft.peft_model": {"PeftModel.load_adapter": load_adapter, "PeftModel.save_pretrained": save_adapter},
    "accelerate.accelerator": {"Accelerator.prepare": prepare},
}
"""For each module, the methods that are replaced there."""
