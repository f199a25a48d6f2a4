"""What unmasking does to one model type: exact, refused with a reason, or a failure of this library.

`judge` builds the type, unmasks what it may, and holds each layer against what it should see, by the behavioural
oracle alone. Anything between exact and refused raises `AssertionError`.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

import decausal
from oracles import logits, moved, record, sees
from zoo import NARROW_WINDOW, NUM_LAYERS, VOCAB_SIZE, build, can_have_windows, decoder_layers, layer_kinds

NUM_ROWS, NUM_TOKENS = 3, 5

EVERYTHING = torch.ones(NUM_ROWS, NUM_TOKENS, NUM_TOKENS, dtype=torch.bool)
CAUSAL = EVERYTHING.tril()
NEAR = torch.tensor(  # what lies within a window of three tokens to either side
    [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
        [0, 1, 1, 1, 1],
        [0, 0, 1, 1, 1],
    ],
    dtype=torch.bool,
)


@dataclass(frozen=True)
class Batch:
    """Inputs, and what no token of an unmasked layer may see.

    Attributes:
        name: for messages.
        inputs: the model's keyword arguments besides `input_ids`.
        is_real: bool, shape `(NUM_ROWS, NUM_TOKENS)`, False = padding.
        visible: bool, shape `(NUM_ROWS, NUM_TOKENS, NUM_TOKENS)`, False where the key is padding or of another
            document.
    """

    name: str
    inputs: dict[str, Tensor]
    is_real: Tensor
    visible: Tensor


def _padded(name: str, is_real: list[list[int]]) -> Batch:
    padding_mask = torch.tensor(is_real)
    real = padding_mask.bool()
    return Batch(name, {"attention_mask": padding_mask}, real, EVERYTHING & real[:, None, :])


def _packed(name: str, position_ids: list[list[int]]) -> Batch:
    positions = torch.tensor(position_ids)
    document = (positions == 0).cumsum(-1)
    same = document[:, :, None] == document[:, None, :]
    return Batch(name, {"position_ids": positions}, torch.ones_like(positions, dtype=torch.bool), same)


UNPADDED = Batch("no mask", {}, EVERYTHING[:, 0], EVERYTHING)
FULL = _padded("no padding", [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
LEFT_PADDED = _padded("left padding", [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
RIGHT_PADDED = _padded("right padding", [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
PACKED = _packed("packed rows", [[0, 1, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 4]])


@dataclass(frozen=True)
class Verdict:
    """The outcome for one model type under one attention implementation.

    Attributes:
        exact: the layers that are exactly bidirectional when chosen.
        reason: why other layers are refused; empty where all are exact.
        packing: what packed rows do; empty where nothing is exact.
        has_windows: whether exact layers can be limited to a window.
    """

    exact: tuple[int, ...] = ()
    reason: str = ""
    packing: str = ""
    has_windows: bool = False


def judge(model_type: str, attn_implementation: str) -> Verdict:
    """The verdict on one model type.

    Raises:
        AssertionError: a layer is neither exact nor refused, an unchosen layer changed, or removal left a trace.
    """
    model = build(model_type, attn_implementation)
    where = f"{model_type}, {attn_implementation}"
    exact, reason = accepted_layers(model)
    if not exact:
        return Verdict(reason=reason)
    _check_host(model, exact, LEFT_PADDED, where)
    for batch in (UNPADDED, LEFT_PADDED, RIGHT_PADDED):
        _check(model, exact, batch, where)
    _check(model, exact[::2], LEFT_PADDED, where)
    packing = _check_packed(model, exact, where)
    has_windows = can_have_windows(model) and _check_windows(model_type, attn_implementation, exact, where)
    return Verdict(exact, reason, packing, has_windows)


def accepted_layers(model: PreTrainedModel) -> tuple[tuple[int, ...], str]:
    """The layers that `unmask` accepts one by one, and the message that refused the others."""
    exact, reason = [], ""
    for layer in range(NUM_LAYERS):
        try:
            decausal.unmask(model, pattern_of([layer])).remove()
            exact.append(layer)
        except decausal.UnsupportedModelError as error:
            reason = reason or str(error)
    assert decausal.unmasked_layers(model) == ()
    assert not reason or type(model).__name__ in reason, f"the message names no model: {reason}"
    return tuple(exact), reason


def _check_host(model: PreTrainedModel, layers: tuple[int, ...], batch: Batch, where: str) -> None:
    """The untouched layers are causal, so that unmasking means something."""
    calls = record(model, decoder_layers(model), **inputs_of(batch))
    for layer in layers:
        seen = sees(calls[layer], NUM_ROWS, NUM_TOKENS)
        _assert_sees(seen, CAUSAL & batch.visible, batch, f"{where}, {batch.name}, untouched layer {layer}")


def _check(
    model: PreTrainedModel,
    chosen: tuple[int, ...],
    batch: Batch,
    where: str,
    windows: dict[int, Tensor] | None = None,
) -> None:
    """The chosen layers see all they may, the others do what they did, and removing leaves no trace."""
    where = f"{where}, {batch.name}, {chosen} unmasked"
    inputs = inputs_of(batch)
    layers = decoder_layers(model)
    host_logits = logits(model, **inputs)
    host_calls = record(model, layers, **inputs)
    host_outputs = {layer: call.replay() for layer, call in host_calls.items()}

    handle = decausal.unmask(model, pattern_of(chosen))
    assert handle.layers == decausal.unmasked_layers(model) == chosen
    calls = record(model, layers, **inputs)
    for layer in chosen:
        expected = batch.visible & windows[layer] if windows else batch.visible
        _assert_sees(sees(calls[layer], NUM_ROWS, NUM_TOKENS), expected, batch, f"{where}, layer {layer}")
    for layer in host_calls.keys() - set(chosen):
        unchanged = torch.equal(host_calls[layer].replay(), host_outputs[layer])
        assert unchanged, f"{where}: layer {layer} changed as well"
    if not windows and batch is not RIGHT_PADDED:
        _assert_last_token_moves(model, inputs, batch.is_real, where)
    handle.remove()
    assert torch.equal(logits(model, **inputs), host_logits), f"{where}: removing left a trace"


def _check_windows(model_type: str, attn_implementation: str, chosen: tuple[int, ...], where: str) -> bool:
    """An unmasked layer's window reaches as far to the right as to the left; returns whether there are any."""
    model = build(model_type, attn_implementation, window=NARROW_WINDOW)
    kinds = layer_kinds(model)
    expected: dict[int, Tensor] = {}
    for batch in (LEFT_PADDED, FULL):
        calls = record(model, decoder_layers(model), **inputs_of(batch))
        for layer in chosen:
            host = sees(calls[layer], NUM_ROWS, NUM_TOKENS)
            # A convolution inside the layer may reach further to the left than the window.
            expected[layer] = host | (NEAR if "sliding" in kinds[layer] else host.mT)
        _check(model, chosen, batch, f"{where}, window of {NARROW_WINDOW} tokens", expected)
    return any(not seen.all() for seen in expected.values())


def _check_packed(model: PreTrainedModel, chosen: tuple[int, ...], where: str) -> str:
    """In packed rows, an unmasked layer sees its own document only, or the run is refused."""
    if "position_ids" not in inspect.signature(type(model).forward).parameters:
        return "takes no positions"
    inputs, where = inputs_of(PACKED), f"{where}, {PACKED.name}"
    host_calls = record(model, decoder_layers(model), **inputs)
    host_sees = {layer: sees(host_calls[layer], NUM_ROWS, NUM_TOKENS) for layer in chosen}
    with decausal.unmask(model, pattern_of(chosen)):
        try:
            calls = record(model, decoder_layers(model), **inputs)
        except decausal.UnsupportedModelError:
            return "refused"
        seen = {layer: sees(calls[layer], NUM_ROWS, NUM_TOKENS) for layer in chosen}
    if all(torch.equal(seen[layer], PACKED.visible) for layer in chosen):
        host_is_apart = all(torch.equal(host_sees[layer], CAUSAL & PACKED.visible) for layer in chosen)
        return "apart" if host_is_apart else "apart in unmasked layers"
    for layer in chosen:  # a convolution or a state beside the attention carries the host's own past along
        expected = host_sees[layer] | PACKED.visible
        _assert_sees(seen[layer], expected, PACKED, f"{where}, layer {layer}")
    return "earlier documents visible"


def _assert_sees(seen: Tensor, expected: Tensor, batch: Batch, where: str) -> None:
    for row in range(NUM_ROWS):
        queries = batch.is_real[row]
        assert torch.equal(seen[row, queries], expected[row, queries]), (
            f"{where}, row {row}: sees (queries x keys)\n{seen[row].int()}\nand should see\n{expected[row].int()}"
        )


def _assert_last_token_moves(model: PreTrainedModel, inputs: dict[str, Any], expected: Tensor, where: str) -> None:
    """A change of the last token moves the logits of all expected tokens."""
    changed = inputs["input_ids"].clone()
    changed[:, -1] += 1
    before, after = logits(model, **inputs), logits(model, **{**inputs, "input_ids": changed})
    actual = moved(before, after, NUM_ROWS, NUM_TOKENS)
    assert torch.equal(actual & expected, expected), f"{where}: the last token moves\n{actual.int()}"


def inputs_of(batch: Batch) -> dict[str, Any]:
    """A model's keyword arguments for a batch: the same random tokens each time, and what the batch says."""
    # Above the numbers of special tokens; padding is 0, which some models go by instead of the mask.
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(10, VOCAB_SIZE - 10, (NUM_ROWS, NUM_TOKENS), generator=generator)
    return {"input_ids": input_ids.masked_fill(~batch.is_real, 0), **batch.inputs}


def pattern_of(layers: Iterable[int]) -> str:
    """The pattern that names just these layers."""
    return ",".join(f"{layer}-{layer}" for layer in layers)
