"""The forward pre-hooks of an unmasked model: one opens the mask of a layer, one guards the models around the layers.

They are plain objects on the modules, so that copies, pickles and wrappers of the model carry them along.
"""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, Final, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from transformers import PreTrainedConfig, PreTrainedModel

from ._errors import UnsupportedModelError
from ._layers import DecoderLayer, ForwardNames, Kernel, attention_kernel, peft_passes_hooks_by, tokens_dim, writes_text
from ._masks import AttentionMask, Scope, Window, document_mask, open_block_mask, open_mask, packed_documents
from ._pattern import format_layers
from ._state import SharedState

Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]
Hook = TypeVar("Hook")


class OpenLayer:
    """The forward pre-hook of an unmasked decoder layer: opens the mask that the host built."""

    scope: Scope = "all"

    def __init__(self, layer: DecoderLayer, window: Window, state: SharedState, config: PreTrainedConfig) -> None:
        self.index = layer.index
        self.name = layer.name
        self.names = ForwardNames.of(layer.module)
        self.window = window
        self.state = state
        self.config = config
        self.owners: dict[str, str] = {}
        self.attentions = layer.attentions
        self._num_pauses = 0
        self._found: list[bool | None] = []
        self.open()

    @property
    def is_paused(self) -> bool:
        """Whether the layer is causal for now."""
        return self._num_pauses > 0

    def open(self) -> None:
        """Tell the attention modules: without a mask their kernels go by this attribute."""
        self._found = [getattr(attention, "is_causal", None) for attention in self.attentions]
        self._set([found if found is None else False for found in self._found])

    def close(self) -> None:
        """Put the attribute back."""
        self._set(self._found)
        self._found = []

    def _set(self, values: list[bool | None]) -> None:
        for attention, is_causal in zip(self.attentions, values, strict=True):
            if is_causal is not None:
                attention.is_causal = is_causal  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        if self.is_paused:
            raise RuntimeError(
                f"{self.name} is paused, and a copy of it would stay causal for good: copy or pickle the model outside "
                f"of `with handle.paused():`."
            )
        return self.__dict__

    def pause(self) -> None:
        """Make the layer causal until as many calls of `resume`."""
        if not self.is_paused:
            self.close()
        self._num_pauses += 1

    def resume(self) -> None:
        """Undo one `pause`."""
        self._num_pauses -= 1
        if not self.is_paused:
            self.open()

    def __call__(self, layer: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        if self.is_paused:
            return None
        assert self.names.mask is not None
        self._check_cache(args, kwargs)
        mask = self.names.get(self.names.mask, args, kwargs)
        args, kwargs = self.names.put(self.names.mask, self._opened(mask, args, kwargs), args, kwargs)
        if "is_causal" in kwargs:
            kwargs = {**kwargs, "is_causal": False}
        return args, kwargs

    def _check_cache(self, args: Args, kwargs: Kwargs) -> None:
        if self.names.get(self.names.cache, args, kwargs) is not None:
            raise UnsupportedModelError(
                f"{self.name} is unmasked and got a KV cache: the cached tokens would have had to see the tokens that "
                f"come now. {_WAY_OUT}"
            )

    def _opened(self, mask: AttentionMask, args: Args, kwargs: Kwargs) -> AttentionMask:
        position_ids = self.names.get("position_ids", args, kwargs)
        if position_ids is None and self.state.run.position_ids is not None:
            position_ids = self._positions_of_forward(mask)
        key = position_ids if mask is None else mask
        if key is None:
            return self._open(None, None, args, kwargs)
        if not isinstance(key, Tensor | BlockMask):
            raise UnsupportedModelError(f"{self.name} got its masks as {type(key).__name__}; one tensor is expected.")
        if torch.compiler.is_compiling():
            return self._open(mask, position_ids, args, kwargs)
        known = self.state.remembered(key, position_ids)
        if known is not None:
            return known.opened
        return self.state.remember(key, position_ids, self._open(mask, position_ids, args, kwargs))

    def _open(self, mask: AttentionMask, position_ids: Tensor | None, args: Args, kwargs: Kwargs) -> AttentionMask:
        if mask is None:
            return self._mask_of_documents(position_ids, args, kwargs)
        if isinstance(mask, Tensor) and mask.ndim == 2 and attention_kernel(self.config) == "flash":
            if packed_documents(position_ids, mask.bool()) is not None:
                raise UnsupportedModelError(
                    f"{self.name}: flash attention does not look at positions where there is a padding mask, so that "
                    f"packed documents would see each other; leave the mask out, and padding too."
                )
            return mask
        if isinstance(mask, Tensor) and mask.dtype != torch.bool and not mask.is_floating_point():
            raise UnsupportedModelError(
                f"{self.name} got an attention mask of {mask.dtype}; give bool (True = may attend) or floating point "
                f"(added to the scores)."
            )
        if len(mask.shape) != 4 or mask.shape[-1] != mask.shape[-2]:
            raise UnsupportedModelError(
                f"{self.name} got an attention mask of shape {tuple(mask.shape)}; an unmasked layer needs (batch, "
                f"heads, query_len, kv_len) with query_len == kv_len. Keys without queries come from a KV cache or "
                f"from prefix tuning. {_WAY_OUT}"
            )
        if isinstance(mask, BlockMask):
            return open_block_mask(mask, position_ids)
        return open_mask(mask, position_ids, self.window)

    def _mask_of_documents(self, position_ids: Tensor | None, args: Args, kwargs: Kwargs) -> AttentionMask:
        """The host has dropped the mask: nothing but the borders of packed documents remains to be kept."""
        documents = packed_documents(position_ids)
        if documents is None or position_ids is None:
            return None
        kernel = attention_kernel(self.config)
        if kernel == "flash":
            hidden = self.names.get(self.names.parameters[0], args, kwargs)
            rows = hidden.shape[tokens_dim(hidden, documents.shape[-1]) - 1]
            if any(kwargs.get(name) is None for name in _BORDERS):  # transformers then goes by positions
                self._check_flash_documents(documents, position_ids, rows)
            elif not torch.compiler.is_compiling():
                self._check_flash_borders(documents.expand(rows, -1), kwargs["cu_seq_lens_q"], kwargs["cu_seq_lens_k"])
            return None
        if kernel == "flex":
            raise UnsupportedModelError(f"{self.name}: flex_attention got packed rows without a block mask.")
        same = document_mask(documents)
        if kernel == "sdpa":
            return same
        dtype = self.names.get(self.names.parameters[0], args, kwargs).dtype
        return torch.zeros((), dtype=dtype, device=same.device).masked_fill(~same, torch.finfo(dtype).min)

    def _check_flash_documents(self, documents: Tensor, position_ids: Tensor, rows: int) -> None:
        if rows > 1:
            raise UnsupportedModelError(
                f"{self.name}: flash attention keeps packed documents apart in a batch of one row only, and this "
                f"one has {rows}; pack everything into one row, or pass {', '.join(_BORDERS)}."
            )
        # transformers begins a document for the kernel wherever a position is the smallest one.
        if not torch.equal((position_ids == position_ids.min()).cumsum(-1) - 1, documents):
            raise UnsupportedModelError(
                f"{self.name}: flash attention keeps packed documents apart where each begins at the same position, "
                f"and these do not; let all begin at 0, or pass {', '.join(_BORDERS)}."
            )

    def _check_flash_borders(self, documents: Tensor, *borders: Tensor) -> None:
        starts = documents.diff(dim=-1, prepend=documents[:, :1] - 1).flatten().nonzero()
        if not all(torch.isin(starts, border).all() for border in borders):
            raise UnsupportedModelError(
                f"{self.name}: position_ids start a document where cu_seq_lens_q or cu_seq_lens_k has no border, so "
                f"that packed documents would see each other; pass the borders of these documents, or none."
            )

    def _positions_of_forward(self, mask: AttentionMask) -> Tensor | None:
        if mask is None and packed_documents(self.state.run.position_ids) is not None:
            raise UnsupportedModelError(
                f"{self.name}: position_ids start again inside a row, but neither a mask nor the positions reach the "
                f"layers of this model, so that packed documents would see each other. Pass a 4-D attention mask, or "
                f"do not pack."
            )
        return self.state.run.position_ids


class ModelGuard:
    """The forward pre-hook of every transformers model around open layers: no KV cache, no causal-LM loss."""

    def __init__(
        self, model: PreTrainedModel, is_runner: bool, state: SharedState, config: PreTrainedConfig, window: Window
    ) -> None:
        self.window = window
        self.names = ForwardNames.of(model)
        self.config = config
        self.model_name = type(model).__name__
        self.writes_text = writes_text(model)
        self.is_runner = is_runner
        self.state = state
        self.is_called_twice = False
        self.has_run = False

    def __call__(self, model: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        if self.is_called_twice:  # here, and by `GuardedForward`
            self.has_run = True
        return self.check(args, kwargs)

    def check(self, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        """The call as it may go on; None where it may go on as it is."""
        unmasked = self.state.active_layers()
        if not unmasked:
            return None
        if self.is_runner and not torch.compiler.is_compiling():
            check_window(attention_kernel(self.config), self.window, self.model_name)  # exchanged since, perhaps
            self.state.begin()
        if self.is_runner:
            self.state.run.position_ids = self.names.get("position_ids", args, kwargs)
        has_cache = self.names.get(self.names.cache, args, kwargs) is not None
        if has_cache or self.names.get("use_cache", args, kwargs):
            raise UnsupportedModelError(
                f"{self.model_name} was {'given' if has_cache else 'asked to use'} a KV cache while layers "
                f"{format_layers(unmasked)} are unmasked: a cached token cannot see the tokens that come later. "
                f"{_WAY_OUT}"
            )
        if self.writes_text and self.names.get("labels", args, kwargs) is not None:
            raise UnsupportedModelError(
                f"{self.model_name} was given labels while layers {format_layers(unmasked)} are unmasked: in a "
                f"causal-LM loss every position would read its own answer to the right. Take this loss and its "
                f"backward pass inside `with handle.paused():`, or compute a loss of your own from the logits."
            )
        if "use_cache" not in self.names.parameters:
            return None
        return self.names.put("use_cache", False, args, kwargs)


def end_forward(model: nn.Module, *_: object) -> None:
    """The forward hook that goes with a guard."""
    for guard in hooks_of(model, ModelGuard):
        guard.has_run = False
        guard.state.end()


class GuardedForward:
    """Stands in for a model's `forward`, as a method, where its hooks may be passed by."""

    def __init__(self, model: nn.Module) -> None:
        self.forward = type(model).forward
        self.__name__ = "forward"
        self.__signature__ = inspect.signature(self.forward)

    def __call__(self, model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        guards = list(hooks_of(model, ModelGuard))
        passed_by = [guard for guard in guards if not guard.has_run]
        try:
            for guard in passed_by:
                args, kwargs = guard.check(args, kwargs) or (args, kwargs)
            return self.forward(model, *args, **kwargs)
        finally:
            for guard in guards:
                guard.has_run = False  # of a forward that was interrupted, perhaps
            if passed_by:
                end_forward(model)


def guard_forward(model: nn.Module) -> None:
    """Guards a model's `forward` itself where PEFT calls it instead of the model.

    Raises:
        UnsupportedModelError: something else has put its own in that place.
    """
    if not peft_passes_hooks_by() or is_forward_guarded(model):
        return
    if "forward" in model.__dict__:
        raise UnsupportedModelError(
            f"{type(model).__name__}: its forward has been replaced (by accelerate, perhaps), and PEFT before 0.21 "
            f"calls it past our guard: unmask the model before it is prepared for training, or install peft>=0.21."
        )
    model.forward = MethodType(GuardedForward(model), model)
    for guard in hooks_of(model, ModelGuard):
        guard.is_called_twice = True


def is_forward_guarded(model: nn.Module) -> bool:
    """Whether `guard_forward` has been here."""
    return isinstance(getattr(model.__dict__.get("forward"), "__func__", None), GuardedForward)


def check_window(kernel: Kernel, window: Window, name: str) -> None:
    """Refuses to lift a sliding window that is in no mask that can be opened.

    Raises:
        UnsupportedModelError: names the kernel.
    """
    if window == "full" and kernel in ("flex", "flash"):
        raise UnsupportedModelError(
            f'{name}: window="full" is not available with {kernel} attention, which is given the window apart from the '
            f"mask; use sdpa or eager."
        )


def forget_compiled() -> None:
    """Lets torch.compile compile anew: it does not look whether hooks came or went since it compiled a model."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def hooks_of(module: nn.Module, kind: type[Hook]) -> list[Hook]:
    """Our forward pre-hooks of one kind on a module."""
    return [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, kind)]


def open_layers(model: nn.Module) -> Iterator[OpenLayer]:
    """The hooks of all unmasked layers in a model."""
    for module in model.modules():
        yield from hooks_of(module, OpenLayer)


@contextmanager
def replaying(model: nn.Module) -> Iterator[None]:
    """Lets the layers of a model be run once more on their own, in scope "prompt" with the last forward's prompts."""
    states = {id(hook.state): hook.state for hook in open_layers(model)}
    for state in states.values():
        state.is_replaying = True
    try:
        yield
    finally:
        for state in states.values():
            state.is_replaying = False


def unregister(module: nn.Module, hook: object) -> None:
    """Take a forward hook or pre-hook off a module, by the hook itself: torch's own handles do not survive a copy."""
    for hooks, flags in (
        (module._forward_pre_hooks, (module._forward_pre_hooks_with_kwargs,)),
        (module._forward_hooks, (module._forward_hooks_with_kwargs, module._forward_hooks_always_called)),
    ):
        for key in [key for key, registered in hooks.items() if registered is hook]:
            del hooks[key]
            for flag in flags:
                flag.pop(key, None)


# Where packed documents begin in the rows of a batch laid end to end, as flash kernels take it from transformers.
_BORDERS: Final = "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"
_WAY_OUT = (
    "Generate or decode inside `with handle.paused():`, which gives the causal model back, or run the whole text in "
    "one forward with use_cache=False."
)
