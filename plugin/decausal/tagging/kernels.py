"""Which attention kernels a machine has, and which of them take a step that is to be measured."""

from collections.abc import Callable

from torch import nn
from transformers.utils.import_utils import is_flash_attn_2_available


def kernels_at_hand(device: str) -> list[str]:
    """The attention implementations that can train on a device.

    Args:
        device: "cpu", "cuda", or another type of torch's.
    """
    if device == "cpu":  # torch has no gradients of flex_attention there
        return ["sdpa"]
    return ["sdpa", "flex_attention", *(["flash_attention_2"] if is_flash_attn_2_available() else [])]


def errors_of(kernels: list[str], model: nn.Module, take: Callable[[], object]) -> dict[str, str]:
    """The kernels under which a step fails, with what they say: none has been tried on every GPU.

    Args:
        kernels: attention implementations.
        model: the transformers model, left with the last of them.
        take: takes a step.
    """
    errors = {}
    for kernel in kernels:
        try:
            model.set_attn_implementation(kernel)  # type: ignore[operator]
            take()
        except Exception as error:
            errors[kernel] = f"{type(error).__name__}: {error}"
    return errors
