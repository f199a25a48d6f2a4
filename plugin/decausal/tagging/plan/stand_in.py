"""The sketch of a model made to run: fake tensors on a real device, 4-bit layers in their packed size."""

from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import Tensor, nn

_BLOCK, _NESTED_BLOCK = 64, 256  # of bitsandbytes: weights with one scale, scales with one scale of their own


def packed_bytes(layer: nn.Linear) -> int:
    """What bitsandbytes stores for the weight of a quantised layer: packed numbers, their scales, code books.

    Args:
        layer: a `Linear4bit` or `Linear8bitLt`, its weight in the shape that it has unpacked.
    """
    weight: Any = layer.weight
    numel: int = weight.numel()
    if isinstance(layer, Linear8bitLt):
        return int(numel + 4 * layer.out_features)
    blocks = -(-numel // _BLOCK)
    codes = 16 * 4
    if not weight.compress_statistics:
        return (numel + 1) // 2 + 4 * blocks + codes
    nested_codes, offset = 256 * 4, 4
    return (numel + 1) // 2 + blocks + 4 * -(-blocks // _NESTED_BLOCK) + codes + nested_codes + offset


class QuantisedLinear(nn.Module):
    """A frozen layer that unpacks its weight for every product, forward and backward, as bitsandbytes does."""

    def __init__(self, layer: nn.Linear, device: torch.device) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        packed = torch.empty(packed_bytes(layer), dtype=torch.uint8, device=device)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = layer.bias
        self.compute_dtype = getattr(layer, "compute_dtype", None)

    def forward(self, inputs: Tensor) -> Tensor:
        """The product, in the type of the inputs."""
        computed = inputs if self.compute_dtype is None else inputs.to(self.compute_dtype)
        product: Tensor = _UnpackedProduct.apply(computed, self.out_features)  # type: ignore[no-untyped-call]
        if self.bias is not None:
            product = product + self.bias.to(product.dtype)
        return product.to(inputs.dtype)


class _UnpackedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, out_features: int) -> Tensor:
        ctx.unpacked = (out_features, inputs.shape[-1])
        return inputs @ inputs.new_empty(ctx.unpacked).T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        [gradient] = gradients
        return gradient @ gradient.new_empty(ctx.unpacked), None


def make_fake(model: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> None:
    """Give a sketch weights that exist, inside of a `FakeTensorMode`, in place.

    Args:
        model: from `sketch_model`.
        device: where the weights are to be.
        dtype: cast floating-point weights to this type, as DeepSpeed does.
    """
    quantised = (Linear4bit, Linear8bitLt)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, quantised):
                setattr(parent, name, QuantisedLinear(child, device))
    made: dict[Tensor, Any] = {}  # tied weights stay tied

    def fake(tensor: Tensor) -> Tensor:
        cast = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        return torch.empty(tensor.shape, dtype=cast, device=device)

    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None and weight.is_meta:
                if weight not in made:
                    made[weight] = nn.Parameter(fake(weight), requires_grad=weight.requires_grad)
                module._parameters[name] = made[weight]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = fake(buffer)
