import pytest

from decausal.tagging.arguments import parse_recipe
from decausal.tagging.model import sketch_model
from decausal.tagging.plan.step import FakeStep, StepMemory
from decausal.tagging.plan.strategy import Strategy, Weights, device_memory
from launching import ROOT

STEP = StepMemory(activations=1000, gradients=0, all_gradients=80, update=0, states=160)
# 20 trained numbers (LoRA 10, head 10) in float32; two layers of 150 bytes each.
WEIGHTS = Weights(
    {"quantised weights": 300, "other weights": 100, "LoRA": 40, "head": 40},
    trained=80,
    num_trained=20,
    num_stored=350,
    layer=150,
    layers=300,
)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize(
    ("name", "text", "on_gpu"),
    [
        ("cpu", "one process", False),
        ("single_gpu", "one process", True),
        ("ddp", "data parallel, 8 processes", True),
        ("fsdp2", "FSDP2, 8 processes", True),
        ("fsdp2_qlora", "FSDP2, 8 processes", True),
        ("zero2", "DeepSpeed ZeRO-2, 8 processes", True),
        ("zero2_cpu", "DeepSpeed ZeRO-2, 2 processes", False),
        ("zero3", "DeepSpeed ZeRO-3, 8 processes", True),
        ("zero3_offload", "DeepSpeed ZeRO-3, 8 processes, weights and optimizer in main memory", True),
        ("multinode_zero3", "DeepSpeed ZeRO-3, 16 processes", True),
    ],
)
def test_every_launch_file_is_understood(name, text, on_gpu):
    strategy = Strategy.of(ROOT / "recipes" / "launch" / f"{name}.yaml")
    assert str(strategy) == text
    assert strategy.on_gpu is on_gpu


def test_another_number_of_processes_can_be_planned():
    assert Strategy.of(ROOT / "recipes" / "launch" / "ddp.yaml", 2).processes == 2


def test_a_file_that_is_no_launch_file_is_one_message(tmp_path):
    (tmp_path / "launch.yaml").write_text("nonsense: 1\n")
    with pytest.raises(ValueError, match=r"launch\.yaml is no file of accelerate config"):
        Strategy.of(tmp_path / "launch.yaml")


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy(), {"optimizer states": 160, "gradients": 0, "activations": 1000}),
        (Strategy("data parallel", 4), {"DDP's gradient buckets": 80, "optimizer states": 160, "gradients": 0}),
        (
            Strategy("DeepSpeed ZeRO", 4, 2),
            {"float32 copy of trained weights": 20, "optimizer states": 40, "gradients": 20, "quantised weights": 300},
        ),
        (
            Strategy("DeepSpeed ZeRO", 4, 3),
            {"quantised weights": 75, "gathered weights": 480, "gradients": 20, "optimizer states": 40},
        ),
        (
            Strategy("FSDP2", 4),
            {"quantised weights": 75, "LoRA": 10, "gathered weights": 480, "gradients": 20, "optimizer states": 40},
        ),
    ],
    ids=str,
)
def test_a_device_holds_its_share(strategy, expected):
    device, host = device_memory(WEIGHTS, STEP, strategy, None)
    assert {name: device[name] for name in expected} == expected
    assert host == {}


def test_offloaded_parts_are_in_main_memory():
    device, host = device_memory(WEIGHTS, STEP, Strategy("DeepSpeed ZeRO", 4, 3, True, True), None)
    assert {name: host[name] for name in ("quantised weights", "optimizer states")} == {
        "quantised weights": 75,
        "optimizer states": 40,
    }
    assert "quantised weights" not in device
    assert "optimizer states" not in device


def test_the_peak_is_in_the_update_where_that_holds_more():
    step = StepMemory(activations=10, gradients=0, all_gradients=80, update=40, states=160)
    device, _ = device_memory(WEIGHTS, step, Strategy(), None)
    assert (device["gradients"], device["activations"]) == (80, 40)


def test_weights_are_sorted_by_kind(recipe):
    arguments = parse_recipe([recipe(load_in_4bit=True, lora_r=8)])
    step = FakeStep(sketch_model(*arguments, ["O", "B-PER"]), arguments[2], on_gpu=False)
    weights = Weights.of(step.model)
    head = 2 * 64 + 2
    assert weights.kinds["head"] == 2 * 4 * head  # PEFT trains a copy
    assert weights.kinds["LoRA"] == weights.trained - 4 * head
    assert weights.total == sum(tensor.nbytes for tensor in (*step.model.parameters(), *step.model.buffers()))
    assert weights.layer * 4 == weights.layers


def test_full_fine_tuning_under_zero_needs_no_less_than_deepspeeds_own_estimate(recipe):
    estimates = pytest.importorskip("deepspeed.runtime.zero.stage_1_and_2", reason="needs DeepSpeed")
    arguments = parse_recipe([recipe(use_peft=False, dtype="bfloat16")])
    weights = Weights.of(FakeStep(sketch_model(*arguments, ["O", "B-PER"]), arguments[2], on_gpu=False).model)
    step = StepMemory(0, 0, weights.trained, 0, 0)
    device, _ = device_memory(weights, step, Strategy("DeepSpeed ZeRO", 4, 2), None)
    del device["DeepSpeed's reduce bucket"]  # which the estimate leaves out
    _, estimate = estimates.estimate_zero2_model_states_mem_needs(weights.num_trained, 4, 1, cpu_offload=False)
    assert sum(device.values()) == pytest.approx(estimate, rel=0.02)
