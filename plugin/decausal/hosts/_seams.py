"""Where a toolkit that offers no plugin is joined: the few calls through which each of them loads, trains and saves.

`SEAMS` names them. `join_process` replaces them in a process of ours; a child process of `decausal run` replaces them
while it imports them (`site/sitecustomize.py`). A replacement is given the original function as its first argument.
"""

import copy
import importlib
import inspect
import json
from collections.abc import Callable, Collection
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final

from torch import nn
from transformers.trainer_utils import get_last_checkpoint

from decausal._attach import unmasked_layers
from decausal._checkpoint import record_beside, take_quantization
from decausal._errors import CheckpointError, UnsupportedModelError
from decausal._layers import find_decoder_stack, is_encoder, transformers_model
from decausal._weights import ADAPTER_CONFIG
from decausal.hosts._follow import follow_record, join_loaded
from decausal.hosts._ranks import report
from decausal.hosts._wanted import Wanted

RUN_VARIABLE: Final = "DECAUSAL_RUN"
"""The environment variable by which `decausal run` tells its child processes what is wanted."""
_OF_HUB: Final = {"cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token"}
"""Arguments that say where on the hub something is."""


def join_process(wanted: Wanted, modules: Collection[str] | None = None) -> Callable[[], None]:
    """Joins whatever this process loads, trains and saves from now on.

    Args:
        wanted: what to unmask.
        modules: those of `SEAMS` in which methods are replaced; by default all.

    Returns:
        A function that puts the process back as it was.
    """
    chosen = SEAMS if modules is None else modules
    found = [(*_find(module, name), seam) for module in chosen for name, seam in SEAMS[module].items()]
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
    _load_adapter_upon_base(call)
    loaded = original(*call.args, **call.kwargs)
    join_loaded(loaded[0] if isinstance(loaded, tuple) else loaded, wanted)
    return loaded


def load_adapter(wanted: Wanted, original: Callable[..., Any], model: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """`load_adapter` of PEFT, and of transformers' models: the pattern recorded beside the adapter is applied."""
    loaded = original(model, *args, **kwargs)
    call = inspect.signature(original).bind(model, *args, **kwargs).arguments
    place = call.get("model_id") or call.get("peft_model_id")
    if place is not None:  # else given as tensors
        given = {**(call.get("adapter_kwargs") or {}), **call.get("kwargs", {})}
        record = record_beside(place, **{key: given[key] for key in _OF_HUB & {*given}})
        if record is not None:
            follow_record(model, record, str(place), wanted)
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


def resume(wanted: Wanted, original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
    """`Trainer.train`: the checkpoint that training goes on from has to be one of such a run.

    Raises:
        CheckpointError: it was trained with other layers unmasked, or causal.
    """
    place: Any = inspect.signature(original).bind(trainer, *args, **kwargs).arguments.get("resume_from_checkpoint")
    place = get_last_checkpoint(trainer.args.output_dir) if place is True else place
    if place:
        record = record_beside(place)
        # The shards of FSDP are saved without a configuration.
        is_known = any((Path(place) / name).is_file() for name in ("config.json", ADAPTER_CONFIG))
        if record is not None:
            follow_record(trainer.model, record, str(place), wanted)
        elif is_known and unmasked_layers(trainer.model):
            raise CheckpointError(
                f"{place} was trained causal: it records no pattern, and layers of this run are unmasked. Choose "
                f"another output_dir, or leave resume_from_checkpoint out."
            )
    return original(trainer, *args, **kwargs)


def prepare(wanted: Wanted, original: Callable[..., Any], accelerator: Any, *args: Any, **kwargs: Any) -> Any:
    """`Accelerator.prepare`: a model that is about to be trained must be unmasked, and a row must stay whole.

    Raises:
        UnsupportedModelError: no layer of a model is unmasked, or rows are split over processes.
    """
    trained = [arg for arg in args if isinstance(arg, nn.Module) and any(p.requires_grad for p in arg.parameters())]
    causal = [model for model in trained if not unmasked_layers(model)]
    if wanted.unmask != "none" and causal and (len(causal) == len(trained) or any(map(_is_decoder, causal))):
        raise UnsupportedModelError(
            f"{type(causal[0]).__name__} is about to be trained, and no layer of it is unmasked: it was not loaded by "
            f"the from_pretrained of a decoder-only model of transformers, or the checkpoint that it came from records "
            f"no pattern. Say which layers by unmask, or call decausal.unmask(model, PATTERN) in the script itself."
        )
    sizes = getattr(accelerator, "parallelism_config", None)
    for name in ("cp_size", "sp_size"):
        if trained and (getattr(sizes, name, 1) or 1) > 1:
            raise UnsupportedModelError(
                f"{wanted.host.name}: {name}={getattr(sizes, name)} splits each row over processes, whose attention "
                f"is causal by itself; set it to 1."
            )
    if any(map(unmasked_layers, trained)):
        report(wanted.report_dir)  # unmasked by the script itself, perhaps
    return original(accelerator, *args, **kwargs)


def _is_decoder(model: nn.Module) -> bool:
    """Whether there are layers in it that could be unmasked; a head or a critic beside the model has none."""
    try:
        return not is_encoder(find_decoder_stack(model).config)
    except UnsupportedModelError:
        return False


def _load_adapter_upon_base(call: inspect.BoundArguments) -> None:
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
    if call.arguments.get("config") is not None:
        call.arguments["config"] = config = copy.deepcopy(call.arguments["config"])
        if (quantization := take_quantization(config)) is not None:
            given.setdefault("quantization_config", quantization)


def _find(module: str, name: str) -> tuple[type, str, Any]:
    owner_name, attribute = name.split(".")
    owner = getattr(importlib.import_module(module), owner_name)
    return owner, attribute, owner.__dict__[attribute]


SEAMS: Final[dict[str, dict[str, Callable[..., Any]]]] = {
    "transformers.modeling_utils": {"PreTrainedModel.from_pretrained": load_model},
    "transformers.integrations.peft": {"PeftAdapterMixin.load_adapter": load_adapter},
    "transformers.trainer": {"Trainer.train": resume},
    "peft.peft_model": {"PeftModel.load_adapter": load_adapter, "PeftModel.save_pretrained": save_adapter},
    "accelerate.accelerator": {"Accelerator.prepare": prepare},
}
"""For each module, the methods that are replaced there."""
