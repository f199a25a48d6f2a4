"""Two rows of tokens, the padding that some tests give them, and the sizes of the models that take them."""

import torch
from torch import nn

IDS = torch.tensor([[5, 9, 23, 7, 41, 3], [8, 2, 60, 33, 12, 6]])
MASK = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
REAL = MASK.bool()
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def logits(model: nn.Module, **inputs: object) -> torch.Tensor:
    """Shape `(batch, query_len, vocab_size)`, without gradients."""
    with torch.no_grad():
        output: torch.Tensor = model(**inputs).logits
    return output


def future_moves(model: nn.Module) -> bool:
    """Whether the logits of the first token change when the last one does."""
    changed = IDS.clone()
    changed[:, -1] = 50
    return not torch.equal(logits(model, input_ids=IDS)[:, 0], logits(model, input_ids=changed)[:, 0])
