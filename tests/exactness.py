"""One forward and backward pass of a small model under a pattern, by any kernel on any device, for comparing kernels.

What is compared is what an attention kernel can change: the logits of real tokens, and the gradients of all weights.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedModel

import decausal
from decausal.tagging.packing import PackingCollator
from random_model import SHAPES

PATTERNS = ("0000", "0011", "1111")
CASES = [
    ("llama", "whole"),
    ("llama", "left padding"),
    ("llama", "right padding"),
    ("llama", "packed"),
    ("window", "left padding"),
    ("window", "packed"),
]
LENGTH = 150  # more than one block of flex_attention, and no multiple of one

_SIZES = {
    **SHAPES["tiny"],
    "max_position_embeddings": 256,
    "initializer_range": 0.1,  # large enough that what a token sees matters
}
_CONFIGS = {"llama": LlamaConfig(**_SIZES), "window": MistralConfig(**_SIZES, sliding_window=8)}

FLOAT32_BOUND = 1e-4
"""Of `difference`, in float32: kernels differ by the order of their sums, on a CPU by 3e-6."""

BFLOAT16_BOUND = 0.15
"""Of `difference`, in bfloat16, which keeps eight binary digits.

Rounding alone moves the worst gradient of eager attention by up to 0.06, and one layer with the wrong mask moves it by
0.80 and more (both measured on a CPU): a bound between the two.
"""


class Pass(NamedTuple):
    """What one pass gave, in float32 on the CPU.

    Attributes:
        logits: of the real tokens, one after another, shape `(num_real_tokens, vocab_size)`.
        gradients: by weight, for a loss that depends on every real token.
    """

    logits: Tensor
    gradients: dict[str, Tensor]


def build(name: str, attn_implementation: str, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """A small model with the same random weights everywhere: "llama", or "window" for a sliding window of 8 tokens."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(_CONFIGS[name], dtype=torch.float32)
    model.set_attn_implementation(attn_implementation)
    return model.to(device, dtype).eval()


def batch(name: str, device: str, vocab_size: int = 512) -> dict[str, Tensor]:
    """Two rows of tokens, "whole" or with padding, or one row "packed" of three documents."""
    ids = torch.randint(vocab_size // 4, vocab_size, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": ids}
    if name == "packed":
        inputs = {"input_ids": ids[:1], "position_ids": torch.cat([torch.arange(n) for n in (40, 61, 49)])[None]}
    elif name != "whole":
        mask = torch.ones_like(ids)
        mask[0, slice(0, 20) if name == "left padding" else slice(-20, None)] = 0
        inputs["attention_mask"] = mask
    return {key: value.to(device) for key, value in inputs.items()}


def packed_for_training(device: str) -> dict[str, Tensor | int]:
    """The documents of the batch "packed" as `PackingCollator` lays them for flash kernels, with their borders."""
    packed = batch("packed", "cpu")
    starts = (packed["position_ids"][0] == 0).nonzero().flatten().tolist()[1:]
    windows = [
        {"input_ids": ids.tolist(), "labels": ids.tolist()} for ids in packed["input_ids"][0].tensor_split(starts)
    ]
    inputs = PackingCollator(pad_token_id=0, is_flash=True)(windows)
    del inputs["labels"]
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}


def run(model: PreTrainedModel, pattern: str, inputs: Mapping[str, Any]) -> Pass:
    """Forward and backward under a pattern; the model is then as before."""
    with decausal.unmask(model, pattern):
        real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
        logits = model(**inputs, use_cache=False).logits[real].float()
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)).to(logits.device)
        (logits * weights).sum().backward()
    gradients = {name: weight.grad.float().cpu() for name, weight in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return Pass(logits.detach().cpu(), gradients)


def difference(found: Pass, expected: Pass) -> float:
    """The largest relative distance (Euclidean norm) of the logits and of each weight's gradients."""
    assert found.gradients.keys() == expected.gradients.keys()
    pairs = [(found.logits, expected.logits)]
    pairs += [(found.gradients[name], gradient) for name, gradient in expected.gradients.items()]
    return max(float((some - other).norm() / other.norm()) for some, other in pairs)
