"""Attention that transformers has rewritten since: what older versions have is refused."""

import pytest
from torch import nn

import decausal


def test_attention_that_is_causal_wherever_it_gets_no_mask_is_refused(llama):
    model = llama("sdpa")
    attention = model.model.layers[2].self_attn
    attention.__class__ = type("NemotronSdpaAttention", (type(attention),), {})
    with pytest.raises(decausal.UnsupportedModelError, match=r"layer 2.*causal wherever it is given no mask.*eager"):
        decausal.unmask(model, "0010")


def test_a_layer_that_takes_two_masks_is_refused(llama):
    model = llama()
    model.model.layers[1] = TwoMasks(model.model.layers[1].self_attn)
    with pytest.raises(decausal.UnsupportedModelError, match=r"layer 1.*its causal mask and its padding mask apart"):
        decausal.unmask(model, "1-1")


class TwoMasks(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x, mask, layer_past=None, attention_mask=None):
        raise NotImplementedError
