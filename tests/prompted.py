"""One row of tokens whose beginning is a prompt, and what tests of scope "prompt" do with it."""

import pytest
import torch
from torch import nn

from rows import SIZES

IDS = torch.arange(16)[None] * 5 % 29 + 3
PROMPT = torch.arange(16)[None] < 9
LABELS = IDS.masked_fill(PROMPT, -100)
KERNELS = pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
GREEDY = {
    "max_new_tokens": 6,
    "pad_token_id": 0,
    "eos_token_id": None,
    "do_sample": False,
    "output_logits": True,
    "return_dict_in_generate": True,
}


def moved(model: nn.Module, place: int, **inputs: object) -> list[int]:
    """Which positions' logits move when one token changes: its places."""
    changed = IDS.clone()
    changed[0, place] = (changed[0, place] + 7) % SIZES["vocab_size"]
    with torch.no_grad():
        difference = (model(IDS, **inputs).logits - model(changed, **inputs).logits).abs().amax(-1)[0]
    return (difference > 1e-4).nonzero().flatten().tolist()
