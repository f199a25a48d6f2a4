"""What a run computes in: bfloat16 where the processor has instructions for it, and weights held ready for that."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from transformers import TrainingArguments


def computes_in_bfloat16(device: str) -> bool:
    """Whether a processor multiplies in bfloat16 by instructions of its own, so that float32 is slower.

    Args:
        device: "cpu", "cuda", or another type of torch's, of which nothing is claimed.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())  # torch 2.6 has no public name for it
    return False


def mixed_precision(training: TrainingArguments) -> torch.dtype | None:
    """What products are computed in where weights have another type; None where that is the weights' own.

    The recipe says so, or the launch file.
    """
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(training.mixed_precision)


def describe_mixed_precision(training: TrainingArguments) -> str | None:
    """The name of `mixed_precision`, such as "bfloat16"."""
    dtype = mixed_precision(training)
    return None if dtype is None else str(dtype).removeprefix("torch.")


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[None]:
    """torch.autocast, or nothing where the type is None."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def store_frozen_weights(model: nn.Module, dtype: torch.dtype | None) -> None:
    """Stores the frozen weights of linear layers in the type in which autocast multiplies them.

    Autocast would round each of them in every forward pass, and keep the rounded copy until the backward pass is over.
    Results are the same to the bit, and only under autocast can the model run from now on. DoRA, which reads these
    weights itself, keeps them as they are.

    Args:
        model: with everything frozen that will not be trained.
        dtype: from `mixed_precision`; nothing is changed where it is None.
    """
    if dtype is None or any("lora_magnitude_vector" in name for name, _ in model.named_parameters()):
        return
    for module in model.modules():
        if type(module) is nn.Linear:  # those of quantisation have their own ways
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(dtype)
