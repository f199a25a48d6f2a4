"""Unmasking chosen layers of a model in place, and putting everything back."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from ._errors import UnsupportedModelError
from ._hooks import (
    ModelGuard,
    OpenLayer,
    check_window,
    end_forward,
    forget_compiled,
    guard_forward,
    hooks_of,
    is_forward_guarded,
    open_layers,
    unregister,
)
from ._layers import (
    DecoderLayer,
    DecoderStack,
    ForwardNames,
    attention_kernel,
    encoder_message,
    find_decoder_stack,
    is_encoder,
    transformers_model,
)
from ._masks import Scope, Window
from ._pattern import LayerPattern, format_layers
from ._prompt_generate import attach_generate, detach_generate
from ._prompt_guard import PromptGuard, end_prompt_forward
from ._prompt_hooks import OpenPrompts, check_prompt_kernel
from ._state import SharedState

RECORD = "decausal"
"""The name of our entry in a model's configuration."""


def unmask(
    model: nn.Module, pattern: str | LayerPattern, *, scope: Scope = "all", window: Window = "symmetric"
) -> "Handle":
    """Makes chosen decoder layers of the model bidirectional, in place.

    Works on a transformers decoder-only model, bare or wrapped, before or after PEFT, and with any attention
    implementation that reads a mask. Padding, packed neighbours and sliding windows stay as the host's mask has them.
    The choice is written to `model.config`, from where `save_pretrained` takes it into `config.json`.

    Args:
        model: the model, or a module that contains one. Give the outermost: of a causal LM whose inner model alone is
            given, the loss and the cache are not watched.
        pattern: which layers; see `LayerPattern`.
        scope: `"all"`: every token of an unmasked layer sees both sides. `"prompt"`: the tokens of a prompt see each
            other in both directions, and answers stay causal (prefix LM), so that causal-LM losses and generation with
            a cache are exact. The prompt of a forward is known from `prompt_mask` (bool, `(batch, query_len)`),
            `completion_mask`, its labels (-100 before an answer) or `token_type_ids` (0); without any of them, what
            fills an empty cache is the prompt. Several turns are several prompts.
        window: `"symmetric"` lets a sliding window reach as far to the right as to the left; `"full"` lifts it in the
            unmasked layers.

    Returns:
        A handle that pauses or removes what was attached; it may be dropped.

    Raises:
        TypeError: the pattern is no text.
        ValueError: the pattern does not fit the model's depth, or an argument has an unknown value.
        UnsupportedModelError: a chosen layer cannot be made exactly bidirectional; names it and says why.
    """
    if scope not in ("all", "prompt"):
        raise ValueError(f'scope={scope!r}: write "all" (every token sees both sides) or "prompt" (those of prompts).')
    if window not in ("symmetric", "full"):
        raise ValueError(f'window={window!r}: write "symmetric" (same reach on both sides) or "full" (no window).')
    if scope == "prompt" and window == "full":
        raise ValueError('window="full" with scope="prompt": answers keep their window, so prompts do; leave it out.')
    parsed = LayerPattern.parse(pattern)
    key = uuid.uuid4().hex
    if parsed.text == "none":
        _forget_record(model)
        return Handle(model, (), key)
    stack = find_decoder_stack(model)
    chosen = parsed.layers(len(stack.layers))
    if not chosen:
        _forget_record(model)
        return Handle(model, (), key)
    _check_supported(stack, chosen, window, scope)
    state = _state_of(stack)
    for index in chosen:
        _open(stack.layers[index], scope, window, state, stack.config).owners[key] = str(parsed)
    _guard(stack, state, window, scope)
    forget_compiled()
    _record(stack.model, {"num_hidden_layers": len(stack.layers), "model_type": stack.config.model_type})
    return Handle(model, chosen, key)


def unmasked_layers(model: nn.Module) -> tuple[int, ...]:
    """The layers that are bidirectional now, ascending; `()` on an untouched model or while paused."""
    return tuple(sorted({hook.index for hook in open_layers(model) if not hook.is_paused}))


@dataclass(frozen=True)
class Handle:
    """What one call of `unmask` attached.

    It holds no state of its own: copied or pickled together with its model, it goes on working for the copy.

    Attributes:
        model: the model that was given.
        layers: the zero-based numbers of the layers that this call unmasked.
    """

    model: nn.Module = field(repr=False)
    layers: tuple[int, ...]
    key: str | None = field(repr=False)

    @classmethod
    def of(cls, model: nn.Module) -> "Handle":
        """A handle for everything that is attached to a model, such as one that `load` returned."""
        return cls(model, tuple(sorted({hook.index for hook in open_layers(model)})), None)

    def remove(self) -> None:
        """Give the layers back as they were. A layer that another handle also unmasked stays open for that one.

        Calling it again does nothing. Take a loss's backward pass before: with gradient checkpointing it computes the
        layers once more, and needs them open.
        """
        if not self.layers or not _is_attached(self.model):
            return
        # Looked for anew, not in the decoder stack: layers may have been wrapped or cut off since.
        for module in self.model.modules():
            for hook in hooks_of(module, OpenLayer):
                if self.key is None:
                    hook.owners.clear()
                else:
                    hook.owners.pop(self.key, None)
                if not hook.owners:
                    if not hook.is_paused:
                        hook.close()
                    del hook.state.layers[hook.index]
                    unregister(module, hook)
        if not any(open_layers(self.model)):
            _unguard(self.model)
        forget_compiled()
        base = transformers_model(self.model)
        if hasattr(base.config, RECORD):
            _record(base, getattr(base.config, RECORD))

    @contextmanager
    def paused(self) -> Iterator[nn.Module]:
        """The causal model back for the length of a `with` block, for generation or a causal-LM loss.

        Everything that needs the causal layers belongs inside, the backward pass too: gradient checkpointing computes
        the layers once more. A layer that another handle unmasked as well is paused with this one, and the model is
        paused for every thread that uses it.
        """
        with _pausing(self._hooks()):
            yield self.model

    @contextmanager
    def only(self, pattern: str | LayerPattern) -> Iterator[nn.Module]:
        """Of this handle's layers just those of a pattern open, for the length of a `with` block; as in `paused`.

        So one model is tried, or trained, with one pattern after another: unmask every layer that any of them has.

        Args:
            pattern: which layers; see `LayerPattern`.

        Raises:
            ValueError: the pattern does not fit the model's depth, or has a layer that this handle has not unmasked, or
                that is paused.
        """
        parsed = LayerPattern.parse(pattern)
        layers = find_decoder_stack(self.model).layers
        wanted = parsed.layers(len(layers))
        mine = self._hooks()
        known = {hook.index for hook in mine}
        # Layers that are one module have one hook, under the first of their numbers.
        first = [next(other.index for other in layers if other.module is layer.module) for layer in layers]
        if lacking := tuple(layer for layer in wanted if first[layer] not in known):
            raise ValueError(
                f'only("{parsed}") needs layers {format_layers(lacking)}, and this handle has unmasked '
                f"{format_layers(tuple(sorted(known)))}."
            )
        opened = {first[layer] for layer in wanted}
        if torn := [layer.index for layer in layers if first[layer.index] in opened and layer.index not in wanted]:
            raise ValueError(
                f'only("{parsed}"): layer {torn[0]} is the same module as one of these; give both or none.'
            )
        if asleep := tuple(sorted(hook.index for hook in mine if hook.index in opened and hook.is_paused)):
            raise ValueError(
                f'only("{parsed}"): layers {format_layers(asleep)} are paused; call it outside of that block.'
            )
        with _pausing([hook for hook in mine if hook.index not in opened]):
            yield self.model

    def _hooks(self) -> list[OpenLayer]:
        return [hook for hook in open_layers(self.model) if self.key is None or self.key in hook.owners]

    @contextmanager
    def prompt(self, prompt_mask: Tensor) -> Iterator[nn.Module]:
        """Says for the length of a `with` block what is prompt, where a model of scope "prompt" generates.

        Not needed for a single turn, whose prompt is all that `generate` is given. A conversation needs it, whose
        earlier answers are to stay causal as in training.

        Args:
            prompt_mask: bool, shape `(batch, total_len)`, True = a token of a prompt, padding either; for whole rows,
                those in a cache included. Tokens behind its end are answers.

        Raises:
            ValueError: no layer of this handle has scope "prompt", or the mask has another shape.
        """
        states = {id(hook.state): hook.state for hook in open_layers(self.model) if hook.scope == "prompt"}
        if not states:
            raise ValueError('handle.prompt(...): no layer of this model is unmasked with scope="prompt".')
        if prompt_mask.ndim != 2:
            raise ValueError(f"prompt_mask has shape {tuple(prompt_mask.shape)}; give (batch, total_len).")
        before = {key: state.chosen for key, state in states.items()}
        for state in states.values():
            state.chosen = prompt_mask.bool()
        try:
            yield self.model
        finally:
            for key, state in states.items():
                state.chosen = before[key]

    def __enter__(self) -> "Handle":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


@contextmanager
def _pausing(hooks: list[OpenLayer]) -> Iterator[None]:
    for hook in hooks:
        hook.pause()
    try:
        yield
    finally:
        for hook in hooks:
            if hook.owners:  # else removed inside the block
                hook.resume()


def _check_supported(stack: DecoderStack, chosen: tuple[int, ...], window: Window, scope: Scope) -> None:
    name = type(stack.model).__name__
    if is_encoder(stack.config):
        raise UnsupportedModelError(encoder_message(stack.config, name))
    if "attention_mask" not in ForwardNames.of(stack.runner).parameters:
        raise UnsupportedModelError(
            f"{name} takes no attention_mask but tells padding from its token ids, so that what its layers see "
            f"cannot be decided from outside."
        )
    if getattr(stack.config, "is_causal", True) is False:
        raise UnsupportedModelError(
            f"{name}: its configuration says is_causal=False, with which transformers opens every layer, packed "
            f"neighbours included. Remove that and choose the layers here."
        )
    check_window(attention_kernel(stack.config), window, name)
    if scope == "prompt":
        check_prompt_kernel(attention_kernel(stack.config), name)
    for hook in open_layers(stack.model):
        if hook.scope != scope:
            raise ValueError(
                f"scope={scope!r}: layer {hook.index} is already unmasked with scope={hook.scope!r}, and a model has "
                f"one scope; remove that handle first."
            )
        if hook.window != window:
            raise ValueError(
                f"window={window!r}: layer {hook.index} is already unmasked with window={hook.window!r}, and a model "
                f"has one window; remove that handle first."
            )
    for layer in (stack.layers[index] for index in chosen):
        where = f"{name}: layer {layer.index} ({layer.name}, {layer.kind}) cannot be unmasked: "
        if layer.obstacle:
            possible = tuple(other.index for other in stack.layers if not other.obstacle)
            raise UnsupportedModelError(
                f"{where}{layer.obstacle}. The layers of this model that can be unmasked: {format_layers(possible)}."
            )
        for other in stack.layers:
            if other.module is layer.module and other.index not in chosen:
                raise UnsupportedModelError(
                    f"{where}it is the same module as layer {other.index}; choose both or neither."
                )
            if other.module is not layer.module and not {*layer.attentions}.isdisjoint(other.attentions):
                raise UnsupportedModelError(f"{where}it shares its attention module with layer {other.index}.")
        if any(hook.is_paused for hook in hooks_of(layer.module, OpenLayer)):
            raise ValueError(f"layer {layer.index} is paused by another handle: call unmask outside of that block.")
        if not hooks_of(layer.module, OpenLayer) and any(
            getattr(attention, "is_causal", True) is False for attention in layer.attentions
        ):
            raise UnsupportedModelError(
                f"{where}it has is_causal=False already, so something else decided what it sees: the configuration "
                f"(is_causal, use_bidirectional_attention) or other code. Undo that first."
            )


def _open(layer: DecoderLayer, scope: Scope, window: Window, state: SharedState, config: PreTrainedConfig) -> OpenLayer:
    hooks = hooks_of(layer.module, OpenLayer)
    if hooks:
        return hooks[0]
    hook = (OpenPrompts if scope == "prompt" else OpenLayer)(layer, window, state, config)
    state.layers[layer.index] = hook
    layer.module.register_forward_pre_hook(hook, with_kwargs=True)
    return hook


def _guard(stack: DecoderStack, state: SharedState, window: Window, scope: Scope) -> None:
    for model in stack.wrappers:
        if not hooks_of(model, ModelGuard):
            is_runner = model is stack.runner
            if scope == "prompt":
                guard: ModelGuard = PromptGuard(model, stack, state)
                if is_runner:
                    model.register_forward_hook(end_prompt_forward, with_kwargs=True)
            else:
                guard = ModelGuard(model, is_runner, state, stack.config, window)
            model.register_forward_pre_hook(guard, with_kwargs=True)
            model.register_forward_hook(end_forward, always_call=True)
    guard_forward(stack.model)
    if scope == "prompt":
        attach_generate(stack.model, state)


def _is_attached(model: nn.Module) -> bool:
    return any(hooks_of(module, OpenLayer) or hooks_of(module, ModelGuard) for module in model.modules())


def _unguard(model: nn.Module) -> None:
    for module in model.modules():
        for guard in hooks_of(module, ModelGuard):
            unregister(module, guard)
        unregister(module, end_forward)
        unregister(module, end_prompt_forward)
        detach_generate(module)
        if is_forward_guarded(module):
            del module.__dict__["forward"]


def _state_of(stack: DecoderStack) -> SharedState:
    return next((hook.state for hook in open_layers(stack.model)), SharedState())


def _forget_record(model: nn.Module) -> None:
    """A model on which nothing is attached may have been loaded, causal, with the record of an unmasked one."""
    base = transformers_model(model)
    if hasattr(base.config, RECORD) and not any(open_layers(model)):
        delattr(base.config, RECORD)


def _record(base: PreTrainedModel, facts: Mapping[str, object]) -> None:
    """Writes what is open into the configuration, beside facts of the model; nothing where nothing is open."""
    hooks = list(open_layers(base))
    if not hooks:
        delattr(base.config, RECORD)
        return
    layers = tuple(sorted({hook.index for hook in hooks}))
    patterns = {pattern for hook in hooks for pattern in hook.owners.values()}
    record = {
        **facts,
        "unmask": patterns.pop() if len(patterns) == 1 else _pattern_of(layers),
        "layers": list(layers),
        "scope": hooks[0].scope,
        "window": hooks[0].window,
    }
    setattr(base.config, RECORD, record)


def _pattern_of(layers: tuple[int, ...]) -> str:
    text = format_layers(layers)
    return f"{text}-{text}" if len(layers) == 1 else text
