"""What each layer of a real model really sees, found out by changing its input and watching its output."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from ._attach import RECORD, unmasked_layers
from ._errors import UnsupportedModelError
from ._hooks import open_layers, replaying
from ._layers import DecoderLayer, DecoderStack, ForwardNames, find_decoder_stack, tokens_dim
from ._pattern import LayerPattern, format_layers
from ._weights import REPACKS

_LENGTH: Final = 12
_PADDING: Final = 3
_HEAD: Final = slice(0, _PADDING)
_MIDDLE: Final = slice(_LENGTH // 2, _LENGTH // 2 + 1)
_TAIL: Final = slice(_LENGTH - _PADDING, _LENGTH)
_SECOND: Final = slice(_LENGTH // 2, _LENGTH)
_CHANGED_SHARE: Final = 0.02
_CHANGED_BY: Final = 1e-5


@dataclass(frozen=True)
class LayerAudit:
    """What one decoder layer sees.

    Attributes:
        layer: zero-based, counted from the embedding side.
        kind: the layer's attention, or what it has instead.
        expected_open: whether the pattern says that the layer is bidirectional.
        sees_future: some token is moved by one to its right, in at least one of the test rows.
        always_sees_future: the same holds in every test row: unpadded, padded on either side, packed.
        sees_padding: some real token is moved by a padding token.
        sees_neighbour: some token is moved by another document packed into its row; None where the model cannot be
            packed. A layer may see the document to its left without being unmasked: where the host keeps documents
            apart for no layer, or where a state runs through the row.
        sees_next_neighbour: the same for the document to its right.
        has_attention: whether there is softmax attention at all.
        sees_answer: with scope "prompt", some token is moved by an answer that comes after it; None with scope "all".
    """

    layer: int
    kind: str
    expected_open: bool
    sees_future: bool
    always_sees_future: bool
    sees_padding: bool
    sees_neighbour: bool | None
    sees_next_neighbour: bool
    has_attention: bool
    sees_answer: bool | None = None

    @property
    def problem(self) -> str:
        """What disagrees with the pattern, in words; empty where nothing does."""
        problems = []
        if self.expected_open and not self.sees_future:
            problems.append("is causal, the pattern says unmasked")
        elif self.expected_open and not self.always_sees_future:
            problems.append("is causal for some batches (it depends on their padding)")
        if not self.expected_open and self.sees_future:
            problems.append("sees the future, the pattern says causal")
        if self.sees_padding and self.has_attention:
            problems.append("sees padding")
        if self.sees_next_neighbour:
            problems.append("sees the packed neighbour to its right")
        elif self.expected_open and self.sees_neighbour:
            problems.append("sees the packed neighbour to its left")
        if self.sees_answer:
            problems.append("sees an answer from before it")
        return "; ".join(problems)


@dataclass(frozen=True)
class AuditReport:
    """The audit of a whole model.

    Attributes:
        model: the model's class.
        pattern: the pattern that the layers were held against.
        layers: one entry a decoder layer, from the embedding side.
    """

    model: str
    pattern: str
    layers: tuple[LayerAudit, ...]

    @property
    def ok(self) -> bool:
        """Whether every layer is what the pattern says, and none sees padding or a neighbour that it must not see.

        No layer must see the packed document to its right, and an unmasked one not that to its left either.
        """
        return not any(layer.problem for layer in self.layers)

    def __str__(self) -> str:
        unmasked = tuple(layer.layer for layer in self.layers if layer.expected_open)
        head = f"{self.model}: unmask={self.pattern} of {len(self.layers)} layers (unmasked: {format_layers(unmasked)})"
        problems = [f"  layer {layer.layer} {layer.problem}" for layer in self.layers if layer.problem]
        return "\n".join([f"{head}: " + ("audit failed" if problems else "audit passed"), *problems])


def audit(model: nn.Module, pattern: str | LayerPattern | None = None) -> AuditReport:
    """What every decoder layer of the model really sees, held against its pattern.

    Sends a few short rows through the model as it is (its kernels, quantisation, adapters, hooks), then runs each layer
    again on its own with some tokens of its input changed, and notes which output tokens move: about a dozen runs a
    layer. Nothing is trained and nothing is changed. The model's parameters must be on a real device.

    Args:
        model: a decoder-only model, untouched or unmasked, bare or wrapped.
        pattern: what the layers should be; by default what the model's configuration records, and what is attached
            where it records nothing.

    Raises:
        UnsupportedModelError: the model's layers cannot be found, or cannot be run one by one.
        ValueError: the pattern does not fit the model.
    """
    stack = find_decoder_stack(model)
    recorded = getattr(stack.model.config, RECORD, None)
    if pattern is None:
        pattern = recorded["unmask"] if recorded else format_layers(unmasked_layers(model))
        if pattern.isdecimal() and not recorded:
            pattern = f"{pattern}-{pattern}"
    parsed = LayerPattern.parse(pattern)
    expected = parsed.layers(len(stack.layers))
    has_prompts = any(hook.scope == "prompt" for hook in open_layers(model))
    with _evaluating(stack.model), replaying(model), torch.no_grad():
        _begin_as_root(model, stack, has_prompts)
        padded = _sight(stack, (_HEAD, _MIDDLE, _TAIL), **_padded_rows(stack))
        whole = _sight(stack, (_MIDDLE,), **_whole_row(stack))
        packed = _packed_sight(stack)
        answered = _sight(stack, (_SECOND, _TAIL), **_answered_row(stack)) if has_prompts else None
    return AuditReport(
        type(stack.model).__name__,
        str(parsed),
        tuple(
            replace(
                _layer_audit(layer, layer.index in expected, padded[i], whole[i], packed[i] if packed else None),
                sees_answer=_sees_answer(answered[i]) if answered else None,
            )
            for i, layer in enumerate(stack.layers)
        ),
    )


def _layer_audit(
    layer: DecoderLayer, expected_open: bool, padded: Tensor, whole: Tensor, packed: Tensor | None
) -> LayerAudit:
    """Reads what moved in one layer, `[row, query, changed part]`; the parts are those that `audit` names."""
    unpadded_row, left_padded_row, right_padded_row = padded
    before_middle = slice(_PADDING, _MIDDLE.start)
    rows = [
        unpadded_row[before_middle, 1],
        left_padded_row[before_middle, 1],
        right_padded_row[before_middle, 1],
        whole[0, before_middle, 0],
    ]
    sees_padding = left_padded_row[_PADDING:, 0].any() | right_padded_row[:-_PADDING, 2].any()
    sees_neighbour, sees_next_neighbour = None, False
    if packed is not None:
        first_moved, second_moved = packed[0, : _MIDDLE.start], packed[0, _MIDDLE.start :]
        rows.append(first_moved[: _HEAD.stop, 1])
        sees_next_neighbour = bool(first_moved[:, 2].any())
        sees_neighbour = sees_next_neighbour or bool(second_moved[:, 0].any())
    return LayerAudit(
        layer.index,
        layer.kind,
        expected_open,
        sees_future=any(bool(row.any()) for row in rows),
        always_sees_future=all(bool(row.any()) for row in rows),
        sees_padding=bool(sees_padding),
        sees_neighbour=sees_neighbour,
        sees_next_neighbour=sees_next_neighbour,
        has_attention=bool(layer.attentions),
    )


def _sees_answer(moved: Tensor) -> bool:
    """Whether a prompt is moved by its answer, or an answer by its own end: `[row, query, changed part]`."""
    return bool(moved[0, : _SECOND.start, 0].any() or moved[0, _SECOND.start : _TAIL.start, 1].any())


def _packed_sight(stack: DecoderStack) -> list[Tensor] | None:
    if "position_ids" not in ForwardNames.of(stack.runner).parameters:
        return None
    first, inside = slice(0, _SECOND.start), slice(_PADDING, _PADDING + 1)
    try:
        return _sight(stack, (first, inside, _SECOND), **_packed_row(stack))
    except UnsupportedModelError:
        return None


def _sight(stack: DecoderStack, parts: tuple[slice, ...], **inputs: Tensor) -> list[Tensor]:
    """For each layer, which outputs move with which part of its input: bool, `(batch, query_len, parts)`, on CPU."""
    calls: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def keep(index: int) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls[index] = args, kwargs

        return hook

    handles = [
        layer.module.register_forward_pre_hook(keep(layer.index), with_kwargs=True, prepend=True)
        for layer in stack.layers
    ]
    if any(hook.scope == "prompt" for hook in open_layers(stack.model)):
        inputs = {"prompt_mask": torch.ones_like(inputs["input_ids"], dtype=torch.bool), **inputs}
    no_cache = {"use_cache": False} if "use_cache" in ForwardNames.of(stack.runner).parameters else {}
    try:
        stack.runner(**inputs, **no_cache)
    finally:
        for handle in handles:
            handle.remove()
    unseen = torch.zeros(inputs["input_ids"].shape[0], _LENGTH, len(parts), dtype=torch.bool)
    # Some layers run for images only (Mllama): they see nothing here, and fail the audit if they should be open.
    return [
        _layer_sight(layer.module, parts, *calls[layer.index]) if layer.index in calls else unseen
        for layer in stack.layers
    ]


def _layer_sight(layer: nn.Module, parts: tuple[slice, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    names = ForwardNames.of(layer)
    hidden_name = names.parameters[0]
    hidden = names.get(hidden_name, args, kwargs)
    dim = tokens_dim(hidden, _LENGTH)

    def run(states: Tensor) -> Tensor:
        new_args, new_kwargs = names.put(hidden_name, states, args, kwargs)
        output = layer(*new_args, **new_kwargs)
        tensor: Tensor = output[0] if isinstance(output, tuple | list) else output
        return tensor.float().movedim((dim - 1, dim), (0, 1)).flatten(2)

    before = run(hidden.clone())
    scale = before.abs().amax(-1, keepdim=True)
    generator = torch.Generator().manual_seed(0)
    columns = []
    for part in parts:
        changed = hidden.clone()
        tokens = changed.narrow(dim, part.start, part.stop - part.start)
        tokens.copy_(torch.randn(tokens.shape, generator=generator) * hidden.float().std().cpu())
        moved = (run(changed) - before).abs() > _CHANGED_BY * scale
        columns.append(moved.float().mean(-1) > _CHANGED_SHARE)
    return torch.stack(columns, dim=-1).cpu()


def _begin_as_root(model: nn.Module, stack: DecoderStack, has_prompts: bool) -> None:
    """A first forward of what torch's `fully_shard` made its root: the first module that runs becomes it for good."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        from torch.distributed.fsdp import FSDPModule

        if isinstance(model, FSDPModule):
            prompts = {"prompt_mask": _answered_row(stack)["prompt_mask"]} if has_prompts else {}
            model(**_whole_row(stack), **prompts, use_cache=False)


def _padded_rows(stack: DecoderStack) -> dict[str, Tensor]:
    mask = torch.ones(3, _LENGTH, dtype=torch.long)
    mask[1, :_PADDING] = 0
    mask[2, -_PADDING:] = 0
    return {"input_ids": _tokens(stack, 3), "attention_mask": mask.to(_device(stack))}


def _whole_row(stack: DecoderStack) -> dict[str, Tensor]:
    return {"input_ids": _tokens(stack, 1)}


def _packed_row(stack: DecoderStack) -> dict[str, Tensor]:
    positions = torch.arange(_LENGTH // 2, device=_device(stack)).repeat(2)[None]
    return {"input_ids": _tokens(stack, 1), "position_ids": positions}


def _answered_row(stack: DecoderStack) -> dict[str, Tensor]:
    prompt_mask = torch.arange(_LENGTH, device=_device(stack))[None] < _SECOND.start
    return {"input_ids": _tokens(stack, 1), "prompt_mask": prompt_mask}


def _tokens(stack: DecoderStack, rows: int) -> Tensor:
    vocabulary = stack.config.vocab_size
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocabulary // 4, vocabulary, (rows, _LENGTH), generator=generator).to(_device(stack))


def _device(stack: DecoderStack) -> torch.device:
    device: torch.device = next(stack.model.parameters()).device
    return device


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off, and no token rounded by what another holds; everything is put back afterwards."""
    training = [module for module in model.modules() if module.training]
    # LLM.int8 computes the columns in which any token of the batch has an outlier in higher precision, for all tokens.
    states: list[Any] = [m.state for m in model.modules() if type(m).__name__ == "Linear8bitLt"]
    thresholds = [state.threshold for state in states]
    repacking = [module for module in model.modules() if getattr(module, REPACKS, False)]
    for module in repacking:
        setattr(module, REPACKS, False)
    model.eval()
    for state in states:
        state.threshold = 0.0
    try:
        yield
    finally:
        for module in training:
            module.training = True
        for module in repacking:
            setattr(module, REPACKS, True)
        for state, threshold in zip(states, thresholds, strict=True):
            state.threshold = threshold
