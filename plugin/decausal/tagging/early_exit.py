"""Early exit: the first layers of a model, without those behind them."""

import copy
from types import NoneType
from typing import Any, TypeAlias

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_utils import set_zero3_state

from decausal._classifier import token_classification_class
from decausal._errors import UnsupportedModelError
from decausal._layers import num_decoder_layers

Facts: TypeAlias = dict[str, Any]

_PLAIN = (bool, int, float, str, NoneType)


def keep_first_layers(config: PreTrainedConfig, num_hidden_layers: int | None) -> PreTrainedConfig:
    """The configuration of a model that ends after its first layers; its final norm and its head come right behind.

    `from_pretrained` reads no weights of the other layers for it. What a configuration says layer by layer
    (`layer_types`, `per_layer_config`, ...) is cut with them.

    A shallower model need not be the beginning of a deeper one: the last layers of Gemma-3n read keys of earlier ones,
    and which those are depends on the depth. Both are therefore built, without weights, and held against each other.

    Args:
        config: the whole model's, which stays as it is.
        num_hidden_layers: how many layers are kept; None keeps all.

    Raises:
        ValueError: the model has fewer layers.
        UnsupportedModelError: the layers that are kept would not be the same, or the model cannot be built without
            the others; says where or why.
    """
    text = config.get_text_config(decoder=True)
    depth = num_decoder_layers(text)
    if num_hidden_layers is None or num_hidden_layers == depth:
        return config
    given = f"num_hidden_layers={num_hidden_layers}"
    if depth is None:
        raise UnsupportedModelError(
            f"{given}: model_type={config.model_type!r} says no number of layers; leave it out."
        )
    if num_hidden_layers > depth:
        raise ValueError(f"{given}: the model has {depth} layers; give at most {depth}, or leave it out to keep all.")
    parts = [part for part in config.sub_configs if getattr(config, part, None) is text]
    if text is not config and not parts:
        raise UnsupportedModelError(
            f"{given}: a model of model_type={config.model_type!r} has more than the layers of one text decoder or "
            f"encoder; leave it out."
        )
    model_class = token_classification_class(config)
    whole = _sketch(model_class, config)
    try:
        kept_config = _cut(text, depth, num_hidden_layers)
        if parts:
            outer = copy.deepcopy(config)
            setattr(outer, parts[0], kept_config)
            kept_config = outer
        kept = _sketch(model_class, kept_config)
    except Exception as error:  # every configuration has checks of its own
        raise UnsupportedModelError(
            f"{given}: a model of model_type={text.model_type!r} cannot be built without the rest of its {depth} "
            f"layers; leave it out. ({' '.join(str(error).split())})"
        ) from error
    if difference := _first_difference(kept, whole, num_hidden_layers, depth):
        raise UnsupportedModelError(
            f"{given}: the first layers of a model of model_type={text.model_type!r} are others where the rest of its "
            f"{depth} layers is missing; leave it out. ({difference})"
        )
    return kept_config


def _cut(config: PreTrainedConfig, depth: int, kept: int) -> PreTrainedConfig:
    """The configuration as it is read from a file that says so: its class derives from the depth what it will."""
    fields = config.to_dict()
    fields |= {key: value[:kept] for key, value in fields.items() if isinstance(value, list) and len(value) == depth}
    if overrides := fields.get("per_layer_config"):
        fields["per_layer_config"] = {layer: value for layer, value in overrides.items() if int(layer) < kept}
    name = "decoder_layers" if getattr(config, "decoder_layers", None) else "num_hidden_layers"
    return type(config).from_dict(fields | {config.attribute_map.get(name, name): kept})


def _sketch(model_class: type[nn.Module], config: PreTrainedConfig) -> nn.Module:
    # Under ZeRO-3, transformers would share out the weights that a sketch does not have, were that not on already.
    with set_zero3_state(), torch.device("meta"):
        return model_class(copy.deepcopy(config))


def _first_difference(kept: nn.Module, whole: nn.Module, num_kept: int, depth: int) -> str:
    """Where a module of a shallower model is not that of the deeper one; empty if it is its beginning."""
    modules = {name: _describe(module) for name, module in whole.named_modules()}
    names = {name for name, _ in kept.named_modules()}
    if names == modules.keys():
        return "it has the same modules whatever num_hidden_layers is"
    for name, module in kept.named_modules():
        found, expected = _describe(module), modules.get(name, {})
        is_layer = any(part.isdigit() for part in name.split("."))
        for fact in sorted(found.keys() | expected.keys()):
            value, whole_value = found.get(fact), expected.get(fact)
            if _is_cut(value, whole_value, num_kept, depth) or (not is_layer and _is_of_kinds(value, whole_value)):
                continue
            return f"{name or 'the model'}: {fact} is {value}, and {whole_value} in the whole model"
    return ""


def _describe(module: nn.Module) -> Facts:
    """What sets a module apart from others of its kind: the shapes of its own tensors, and its plain attributes."""
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return {
        "its class": type(module).__name__,
        **{f"the shape of {name}": tensor.shape for name, tensor in tensors},
        **{name: value for name, value in vars(module).items() if isinstance(value, _PLAIN)},
        **{name: tuple(value) for name, value in vars(module).items() if _is_plain_list(value)},
    }


def _is_plain_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(entry, _PLAIN) for entry in value)


def _is_cut(value: Any, whole_value: Any, num_kept: int, depth: int) -> bool:
    """Whether a fact is the same, or is the number of layers, or has an entry for each of them."""
    if value == whole_value or (value, whole_value) == (num_kept, depth):
        return True
    # A shape is no list for this: its class is another.
    return type(whole_value) is tuple and len(whole_value) == depth and bool(value == whole_value[:num_kept])


def _is_of_kinds(*values: Any) -> bool:
    """Whether a fact about what is around the layers says which kinds there are, or is of a kind that is dropped."""
    return any(isinstance(value, bool | NoneType) or type(value) is tuple for value in values)
