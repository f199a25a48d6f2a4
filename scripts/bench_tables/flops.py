"""How much arithmetic a training step needs of the model itself, and how much a card can do.

FLOP of a sub-word, a multiplication and the addition after it counted as two:

    frozen weights     4 each: 2 forward, 2 backward for the gradients of activations
    trained weights    6 each: 2 more for their own gradients (LoRA's, the head's)
    attention          12 * num_heads * head_dim * keys, summed over layers: scores and the weighted sum of values take
                       2 * num_heads * head_dim each for a key that is seen, and twice that backward

Weights are those of linear layers; embeddings are looked up. The keys of a window of n sub-words are n in an unmasked
layer, and (n + 1) / 2 on average in a causal one; sliding windows are taken to be no shorter than those of text. For a
LoRA step of a 7B model this is a little over 4 * 7e9: frozen weights have no gradients, and none are counted.

Nothing else counts: not padding, nor what gradient checkpointing computes again, nor unpacking of 4-bit weights, norms,
dropout, clipping and the optimizer. Real sub-words a second times this, over the card's peak, is thus the "model FLOPs
utilization" of Chowdhery et al. 2022 (PaLM, arXiv 2204.02311, appendix B), which more arithmetic cannot raise.
"""

import re
from collections.abc import Sequence

from torch import nn

import decausal
from decausal._layers import find_decoder_stack

# Dense bfloat16 with sums in float32, in TFLOP/s, by torch.cuda.get_device_name(): from NVIDIA's data sheets, half of
# what they give "with sparsity". Laptop, MIG and export versions have names of their own, and are unknown.
PEAK_TFLOPS = {
    r"NVIDIA H100 80GB HBM3": 989,
    r"NVIDIA H100 PCIe": 756,
    r"NVIDIA H200": 989,
    r"NVIDIA A100-(SXM4|PCIE)-\d+GB": 312,
    r"NVIDIA A100 80GB PCIe": 312,
    r"NVIDIA L40S": 362,
    r"NVIDIA L4": 121,
    r"NVIDIA GeForce RTX 4090": 165,
    r"NVIDIA GeForce RTX 3090": 71,
}


def find_peak(device_name: str) -> float | None:
    """The FLOP/s that a card is built for, None where it is not in the table."""
    return next((peak * 1e12 for name, peak in PEAK_TFLOPS.items() if re.fullmatch(name, device_name)), None)


def count_weights(model: nn.Module) -> dict[str, int]:
    """How many weights of linear layers are `frozen` and `trained`, those of 4 bits counted unpacked.

    Raises:
        UnsupportedModelError: there are matrices of another kind, such as those of experts, not all of which a sub-word
            meets.
    """
    counts = {"frozen": 0, "trained": 0}
    for name, module in model.named_modules():
        matrices = [weight for weight in module.parameters(recurse=False) if weight.ndim > 1]
        if not matrices or isinstance(module, nn.Embedding) or name.endswith("original_module"):  # PEFT trains a copy
            continue
        if not isinstance(module, nn.Linear):
            raise decausal.UnsupportedModelError(
                f"FLOP are counted of linear layers, and {name} ({type(module).__name__}) is another kind of matrix: "
                f"take a model without experts or convolutions."
            )
        kind = "trained" if module.weight.requires_grad else "frozen"
        counts[kind] += module.in_features * module.out_features
    return counts


def count_flops(model: nn.Module, lengths: Sequence[int], num_unmasked: int) -> dict[str, float]:
    """The FLOP of a sub-word in a training step: see above.

    Args:
        model: as it is trained.
        lengths: sub-words of the windows that are trained on.
        num_unmasked: how many layers see both sides.

    Returns:
        On average over the sub-words, for `frozen weights`, `trained weights` and `attention`.

    Raises:
        UnsupportedModelError: the model is not one of linear layers.
    """
    config = find_decoder_stack(model).config
    num_causal = config.num_hidden_layers - num_unmasked
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys = sum(n * (num_unmasked * n + num_causal * (n + 1) / 2) for n in lengths) / sum(lengths)
    weights = count_weights(model)
    return {
        "frozen weights": 4 * weights["frozen"],
        "trained weights": 6 * weights["trained"],
        "attention": 12 * config.num_attention_heads * head_dim * keys,
    }
