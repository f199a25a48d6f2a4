"""What scope "prompt" does to one model type: held against what prompts may see, and against its own decoding.

`judge_prompts` builds the type small, with narrow windows where it has any, so that prompts are longer than a window.
It raises `AssertionError` where a layer sees what it should not, and where cached generation is less exact than that
of the untouched model.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

import decausal
from decausal._hooks import replaying
from oracles import record, sees
from verdicts import (
    LEFT_PADDED,
    NEAR,
    NUM_ROWS,
    NUM_TOKENS,
    PACKED,
    RIGHT_PADDED,
    Batch,
    accepted_layers,
    inputs_of,
    pattern_of,
)
from zoo import NARROW_WINDOW, NUM_LAYERS, VOCAB_SIZE, build, decoder_layers, layer_kinds

BOUND = 5e-5
PROMPTS = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], dtype=torch.bool)
SAME_PROMPT = torch.tensor(
    [
        [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]],
        [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
        [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]],
    ],
    dtype=torch.bool,
)
_IDS = torch.randint(10, VOCAB_SIZE - 10, (2, 17), generator=torch.Generator().manual_seed(3))
_REAL = torch.ones_like(_IDS)
_REAL[1, :3] = 0
_NUM_PROMPT, _NUM_STEPS = 9, 3


@dataclass(frozen=True)
class PromptVerdict:
    """The outcome for one model type under one attention implementation.

    Attributes:
        reason: why every layer is refused; empty where any can be opened.
        packing: what packed rows do: `"exact"`, `"refused"` or `"takes no positions"`; empty where no layer is open.
        host_differs: the decodings in which the untouched model already differs from its own full forward, or fails;
            in all others the unmasked one is exact.
    """

    reason: str = ""
    packing: str = ""
    host_differs: tuple[str, ...] = ()


def judge_prompts(model_type: str, attn_implementation: str) -> PromptVerdict:
    """The verdict on one model type.

    Raises:
        AssertionError: a layer is neither exact nor refused, or decoding is less exact than the untouched model's.
    """
    model = _build(model_type, attn_implementation)
    chosen, reason = accepted_layers(model)
    if not chosen:
        return PromptVerdict(reason)
    where = f"{model_type}, {attn_implementation}"
    for batch in (LEFT_PADDED, RIGHT_PADDED):
        _check_layers(model, chosen, batch, where)
    packing = _check_packed(model, chosen, where)
    host = {name: _host_error(decode, model) for name, decode in _DECODINGS.items()}
    differs = tuple(name for name, error in host.items() if error >= BOUND)
    with decausal.unmask(model, pattern_of(chosen), scope="prompt") as handle:
        for name in host.keys() - set(differs):
            error = _DECODINGS[name](model, handle)
            assert error < BOUND, f"{where}, {name}: off by {error}, where the untouched model is by {host[name]}"
    return PromptVerdict(packing=packing, host_differs=differs)


def _build(model_type: str, attn_implementation: str) -> PreTrainedModel:
    """With eager attention where the type has no other."""
    try:
        return build(model_type, attn_implementation, window=NARROW_WINDOW)
    except ValueError as error:
        if "does not support an attention implementation" not in str(error):
            raise
        return build(model_type, "eager", window=NARROW_WINDOW)


def _check_packed(model: PreTrainedModel, chosen: tuple[int, ...], where: str) -> str:
    if "position_ids" not in inspect.signature(type(model).forward).parameters:
        return "takes no positions"
    try:
        _check_layers(model, chosen, PACKED, where)
    except decausal.UnsupportedModelError:
        return "refused"
    return "exact"


def _check_layers(model: PreTrainedModel, chosen: tuple[int, ...], batch: Batch, where: str) -> None:
    """A chosen layer sees what it saw, and what lies to the right in the same prompt; the others what they saw."""
    where = f"{where}, {batch.name}"
    layers, inputs, kinds = decoder_layers(model), inputs_of(batch), layer_kinds(model)
    host = {layer: sees(call, NUM_ROWS, NUM_TOKENS) for layer, call in record(model, layers, **inputs).items()}
    with decausal.unmask(model, pattern_of(chosen), scope="prompt"), replaying(model):
        calls = record(model, layers, prompt_mask=PROMPTS, **inputs)
        seen = {layer: sees(call, NUM_ROWS, NUM_TOKENS) for layer, call in calls.items()}
    for layer in seen.keys() - set(chosen):
        assert torch.equal(seen[layer], host[layer]), f"{where}: layer {layer} changed as well"
    for layer in chosen:
        # A convolution or a state beside the attention reaches further to the left, and into earlier documents.
        right = (NEAR if "sliding" in kinds[layer] else host[layer].mT) & SAME_PROMPT & batch.visible
        needed = right | (host[layer] & batch.visible)
        for row in range(NUM_ROWS):
            queries = batch.is_real[row]
            found = seen[layer][row, queries]
            assert (found >= needed[row, queries]).all(), f"{where}, layer {layer}, row {row}: sees less\n{found.int()}"
            allowed = (right | host[layer])[row, queries]
            assert (found <= allowed).all(), f"{where}, layer {layer}, row {row}: sees more\n{found.int()}"


def _first_turn(model: PreTrainedModel, handle: decausal.Handle | None) -> float:
    ids, real = _IDS[:, :_NUM_PROMPT], _REAL[:, :_NUM_PROMPT]
    return _distance(model, handle, _generate(model, ids, real), torch.ones_like(ids))


def _second_turn(model: PreTrainedModel, handle: decausal.Handle | None) -> float:
    ids, real = _IDS[:, :_NUM_PROMPT], _REAL[:, :_NUM_PROMPT]
    first = _generate(model, ids, real)
    conversation = torch.cat([first.sequences, _IDS[:, _NUM_PROMPT : _NUM_PROMPT + 5]], -1)
    prompts = torch.tensor([[1] * _NUM_PROMPT + [0] * _NUM_STEPS + [1] * 5] * 2)
    if handle is None:
        second = _generate(model, conversation, _REAL[:, :17], first.past_key_values)
    else:
        with handle.prompt(prompts):
            second = _generate(model, conversation, _REAL[:, :17], first.past_key_values)
    return _distance(model, handle, second, prompts)


_DECODINGS: dict[str, Callable[[PreTrainedModel, decausal.Handle | None], float]] = {
    "first turn": _first_turn,
    "second turn": _second_turn,
}


def _host_error(decode: Callable[[PreTrainedModel, decausal.Handle | None], float], model: PreTrainedModel) -> float:
    """How far the untouched model's decoding is off; infinite where it cannot."""
    try:
        return decode(model, None)
    except Exception:
        return float("inf")


def _generate(model: PreTrainedModel, ids: Tensor, real: Tensor, cache: Any = None) -> Any:
    # Decoders of encoder-decoder models make as many cache layers as their encoder would have.
    for name in ("encoder_layers", "num_encoder_layers"):
        if hasattr(model.config, name):
            setattr(model.config, name, NUM_LAYERS)
    return model.generate(
        ids,
        attention_mask=real,
        past_key_values=cache,
        use_cache=True,
        do_sample=False,
        max_new_tokens=_NUM_STEPS,
        min_new_tokens=_NUM_STEPS,
        eos_token_id=None,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )


def _distance(model: PreTrainedModel, handle: decausal.Handle | None, output: Any, prompts: Tensor) -> float:
    """The largest difference of a decoded step from one forward with the mask of a prefix LM."""
    ids, num_new = output.sequences, len(output.logits)
    real = torch.nn.functional.pad(_REAL[:, : ids.shape[1] - num_new], (0, num_new), value=1)
    inputs: dict[str, Tensor] = {"attention_mask": real}
    if "position_ids" in inspect.signature(type(model).forward).parameters:
        inputs["position_ids"] = (real.cumsum(-1) - 1).clamp(min=0)
    if handle is not None:
        inputs["prompt_mask"] = torch.nn.functional.pad(prompts, (0, num_new))
    with torch.no_grad():
        whole = model(ids, use_cache=False, **inputs).logits
    return float((whole[:, -num_new - 1 : -1] - torch.stack(output.logits, 1)).abs().max())
