import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import nn

from decausal.tagging.arguments import parse_recipe
from decausal.tagging.model import build_model, sketch_model
from decausal.tagging.plan.stand_in import QuantisedLinear, packed_bytes

LABELS = ["O", "B-LOC", "I-LOC"]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize("nested", [True, False])
def test_the_planned_size_of_four_bit_weights_is_what_bitsandbytes_stores(recipe, nested):
    arguments = parse_recipe([recipe(load_in_4bit=True, use_bnb_nested_quant=nested)])
    layers = [m for m in sketch_model(*arguments, LABELS).modules() if isinstance(m, Linear4bit)]
    stored = [_stored(m) for m in build_model(*arguments, LABELS, 0).modules() if isinstance(m, Linear4bit)]
    assert len(stored) == 28
    assert [packed_bytes(layer) for layer in layers] == stored


def _stored(layer: Linear4bit) -> int:
    return layer.weight.nbytes + sum(t.nbytes for t in _tensors(layer.weight.quant_state))


def _tensors(state: object) -> list[torch.Tensor]:
    own = [state.absmax, state.code]
    return [*own, state.offset, *_tensors(state.state2)] if state.nested else own


def test_the_planned_size_of_eight_bit_weights_is_what_bitsandbytes_stores(recipe):
    arguments = parse_recipe([recipe(load_in_8bit=True)])
    layers = [m for m in sketch_model(*arguments, LABELS).modules() if isinstance(m, Linear8bitLt)]
    model = build_model(*arguments, LABELS, 0)
    stored = [m.weight.nbytes + m.weight.SCB.nbytes for m in model.modules() if isinstance(m, Linear8bitLt)]
    assert [packed_bytes(layer) for layer in layers] == stored


def test_a_quantised_layer_computes_with_the_shape_of_its_unpacked_weight():
    layer = QuantisedLinear(Linear8bitLt(8, 3, bias=False), torch.device("cpu"))
    inputs = torch.ones(2, 8, requires_grad=True)
    outputs = layer(inputs)
    outputs.sum().backward()
    assert outputs.shape == (2, 3)
    assert inputs.grad.shape == (2, 8)
    assert isinstance(layer.weight, nn.Parameter)
    assert not layer.weight.requires_grad
