"""The behavioural oracle: change one token of a layer's input, and see which tokens of its output move.

A layer is judged by what it does, never by the masks or switches it was given. `record` runs a model once and
keeps each decoder layer's call as the host made it; `sees` replays one such call, alone, with one token changed
after another. Nothing here knows how layers are unmasked.
"""

import copy
import inspect
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

THRESHOLD = 1e-5
"""What counts as moving, as a part of the output's largest value.

Rounding moves tokens by up to 2e-7 (experts are computed in groups that change with the routing); in the models of
`zoo`, a token that an attention layer sees moves the others by 5e-4 and more.
"""


@dataclass(frozen=True)
class LayerCall:
    """One call of a decoder layer as the host made it, before any hook of the layer."""

    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def replay(self, changed_key: int | None = None, num_tokens: int = 0) -> Tensor:
        """The layer's output hidden states, with its hooks, after changing one token of its input or none."""
        args, kwargs = list(self.args), _copy_dicts(self.kwargs)
        if changed_key is not None:
            parameters = _parameters(type(self.layer))
            place = parameters.index("hidden_states") if "hidden_states" in parameters else 0
            holder, key = (args, place) if place < len(args) else (kwargs, parameters[place])
            holder[key] = _change(holder[key], changed_key, num_tokens)
            # Layers that reuse the keys and values of an earlier layer receive the other tokens in this form.
            shared = kwargs.get("shared_kv_states") or {}
            for name, states in shared.items():
                shared[name] = tuple(_change(state, changed_key, num_tokens) for state in states)
        with torch.no_grad():
            output = self.layer(*args, **kwargs)
        return output if isinstance(output, Tensor) else output[0]


def record(model: nn.Module, layers: Sequence[nn.Module], **inputs: Any) -> dict[int, LayerCall]:
    """The first call that each layer receives in one forward, by layer; those not called are missing."""
    calls: dict[nn.Module, LayerCall] = {}

    def keep(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.setdefault(layer, LayerCall(layer, args, _copy_dicts(kwargs)))

    hooks = [layer.register_forward_pre_hook(keep, prepend=True, with_kwargs=True) for layer in layers]
    try:
        logits(model, **inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {index: calls[layer] for index, layer in enumerate(layers) if layer in calls}


def sees(call: LayerCall, num_rows: int, num_tokens: int) -> Tensor:
    """Which tokens of a layer's input move which tokens of its output.

    Args:
        call: the call to replay.
        num_rows: the batch size; no other axis of the hidden states may have this length.
        num_tokens: tokens in a row; no other axis may have this length.

    Returns:
        bool, shape `(num_rows, num_tokens, num_tokens)`: [row, query, key] is True where the output at the query
        moves when the input at the key changes.
    """
    before = call.replay()
    after = [call.replay(key, num_tokens) for key in range(num_tokens)]
    return torch.stack([moved(before, changed, num_rows, num_tokens) for changed in after], dim=-1)


def moved(before: Tensor, after: Tensor, num_rows: int, num_tokens: int) -> Tensor:
    """Which tokens of two outputs differ: bool, shape `(num_rows, num_tokens)`."""
    token_axes = before.shape.index(num_rows), before.shape.index(num_tokens)
    difference = ((after - before).abs() / before.abs().amax()).movedim(token_axes, (0, 1))
    return difference.flatten(start_dim=2).amax(dim=-1) > THRESHOLD


def logits(model: nn.Module, **inputs: Any) -> Tensor:
    """The model's logits, shape `(batch, num_tokens, vocab_size)`, without gradients or a cache."""
    with torch.no_grad():
        output: Tensor = model(**inputs, use_cache=False).logits
    return output


@cache
def _parameters(layer: type[nn.Module]) -> list[str]:
    return list(inspect.signature(layer.forward).parameters)[1:]


def _copy_dicts(kwargs: dict[str, Any]) -> dict[str, Any]:
    # Layers hand keys and values to later layers in a dictionary that they write into.
    return {name: copy.copy(value) if isinstance(value, MutableMapping) else value for name, value in kwargs.items()}


def _change(states: Tensor, key: int, num_tokens: int) -> Tensor:
    changed = states.clone()
    token = changed.select(states.shape.index(num_tokens), key)
    noise = torch.randn(token.shape, generator=torch.Generator().manual_seed(key), dtype=token.dtype)
    token.add_(noise * states.std())
    return changed
