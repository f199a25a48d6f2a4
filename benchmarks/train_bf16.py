"""`decausal.tagging.train` in bfloat16 on cores without bfloat16 units, where torch's own products are slow.

    accelerate launch benchmarks/train_bf16.py RECIPE.yaml --dtype bfloat16

Products are taken in float32 and rounded to bfloat16: what such units do, and torch's own loops.
"""

import sys

import torch

from decausal.tagging.train import main


def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`torch.mm`; bfloat16 through float32."""
    if a.dtype == torch.bfloat16:
        return multiply(a.float(), b.float()).bfloat16()
    return torch.mm(a, b, out=a.new_empty(len(a), b.shape[1]))


if __name__ == "__main__":
    kernels = torch.library.Library("aten", "IMPL")
    kernels.impl("mm", multiply, "CPU", allow_override=True)
    sys.exit(main())
