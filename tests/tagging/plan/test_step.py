import pytest
import torch
from torch import nn

from decausal.tagging.arguments import parse_recipe
from decausal.tagging.model import build_model, sketch_model
from decausal.tagging.plan.ledger import Ledger
from decausal.tagging.plan.step import FakeStep, bitsandbytes_states
from decausal.tagging.trainer import token_mean_loss

LABELS = ["O", "B-LOC", "I-LOC"]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def step(recipe):
    """Builds the step of a recipe with any field changed."""

    def build(on_gpu: bool = False, **fields: object) -> FakeStep:
        arguments = parse_recipe([recipe(**fields)])
        return FakeStep(sketch_model(*arguments, LABELS), arguments[2], on_gpu)

    return build


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"use_peft": False},
        {"gradient_checkpointing": True},
        {"attn_implementation": "eager"},
        {"unmask": "none", "lora_dropout": 0.1},
        {"dtype": "bfloat16"},
        {"bf16": True},
    ],
)
def test_fake_tensors_hold_what_real_ones_do(recipe, fields):
    arguments = parse_recipe([recipe(**fields)])
    planned = FakeStep(sketch_model(*arguments, LABELS), arguments[2], on_gpu=False).measure(4, 32)
    model = build_model(*arguments, LABELS, 0).train()
    if arguments[2].gradient_checkpointing:
        model.gradient_checkpointing_enable()
    with Ledger(model) as ledger, torch.autocast("cpu", torch.bfloat16, enabled=arguments[2].bf16):
        ids = torch.zeros(4, 32, dtype=torch.long)
        mask = torch.ones_like(ids)
        mask[1:, 20:] = 0
        loss = token_mean_loss(model(input_ids=ids, attention_mask=mask), ids)
        loss.backward()
    assert planned.activations + planned.gradients == pytest.approx(ledger.peak[0], rel=0.02)


def test_the_states_of_adam_are_two_numbers_for_each_that_is_trained(step):
    full = step(use_peft=False)
    found = full.measure(1, 8)
    trained = sum(weight.nbytes for weight in full.model.parameters())
    assert found.all_gradients == trained
    assert found.states == pytest.approx(2 * trained, rel=0.001)


def test_adam_in_eight_bits_keeps_a_byte_for_each_state_but_of_small_weights_and_embeddings():
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(8, 8, bias=False), nn.Embedding(64, 64))
    assert bitsandbytes_states(model, "paged_adamw_8bit") == 2 * (4096 + 4 * 16) + 2 * 4 * 64 + 2 * 4 * 4096
    assert bitsandbytes_states(model, "paged_adamw_32bit") == 2 * 4 * (4096 + 64 + 4096)


def test_the_recipe_decides_on_the_optimizer(step):
    states = [
        step(use_peft=False, optim=name).measure(1, 8).states for name in ("adamw_bnb_8bit", "sgd", "adamw_torch")
    ]
    assert states[1] == 0 < states[0] < states[2]


def test_dropout_of_a_gpu_is_computed_anew_as_it_was_first(step):
    # torch raises where the second forward of a checkpoint keeps other tensors than the first.
    kept = [step(True, lora_dropout=0.1, gradient_checkpointing=on).measure(4, 32).activations for on in (True, False)]
    assert 0 < kept[0] < kept[1]


def test_gradient_checkpointing_keeps_less(step):
    plain, checkpointed = step().measure(8, 64), step(gradient_checkpointing=True).measure(8, 64)
    assert checkpointed.activations < plain.activations / 2


def test_dropout_keeps_bits_on_a_gpu_and_numbers_on_a_cpu(step):
    cpu, gpu = (step(on_gpu, lora_dropout=0.1).measure(4, 32).activations for on_gpu in (False, True))
    assert gpu < 0.95 * cpu


def test_with_accumulation_earlier_gradients_are_there_while_activations_peak(step):
    alone, accumulated = (step(use_peft=False, gradient_accumulation_steps=n).measure(4, 32) for n in (1, 4))
    assert alone.gradients < accumulated.gradients
    assert accumulated.gradients >= accumulated.all_gradients


def test_a_step_can_be_measured_again_and_says_the_same(step):
    made = step()
    assert made.measure(2, 16) == made.measure(2, 16)
