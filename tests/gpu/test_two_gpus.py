"""The launch files for several GPUs, each on two, take the ten steps of one process on one."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from distributed.conftest import stories_model, write_recipe  # noqa: F401
from launching import ROOT, deviation, launcher

pytestmark = [
    pytest.mark.gpu(num_devices=2),
    pytest.mark.gpu(num_devices=2, package="sklearn"),  # seqeval's; a whole run is scored, and its curves are drawn
    pytest.mark.gpu(num_devices=2, package="matplotlib"),
]
ZERO = pytest.mark.gpu(num_devices=2, package="deepspeed")
# In float32, where the order of sums is all that may differ.
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "dtype": "float32"}


@pytest.fixture(scope="module")
def train(write_recipe, tmp_path_factory):  # noqa: F811
    """Runs a recipe by a published launch file, and each on one GPU once only."""
    known = {}

    def run(file: str, num_processes: int, fields: dict[str, object]) -> Path:
        key = file, *sorted(fields)
        if key not in known:
            known[key] = tmp_path_factory.mktemp(file) / "run"
            batch = 8 // num_processes
            common = {"use_cpu": None, "gradient_checkpointing": True, "per_device_train_batch_size": batch}
            recipe = write_recipe(known[key], **common, **fields)
            outcome = subprocess.run(
                launcher(f"recipes/launch/{file}.yaml", num_processes, 0, "-m", "decausal.tagging.train", recipe),
                check=False,
                capture_output=True,
                text=True,
                env=os.environ | ({"CUDA_VISIBLE_DEVICES": "0"} if num_processes == 1 else {}),
                cwd=ROOT,
            )
            assert outcome.returncode == 0, outcome.stdout[-2000:] + outcome.stderr[-4000:]
        return known[key]

    return run


@pytest.mark.parametrize(
    ("file", "fields", "strategy"),
    [
        ("ddp", {}, "data parallel"),
        ("ddp", NF4, "data parallel"),
        ("fsdp2", {}, "FSDP2"),
        ("fsdp2_qlora", NF4, "FSDP2"),
        pytest.param("zero2", {}, "DeepSpeed ZeRO-2", marks=ZERO),
        pytest.param("zero3", {}, "DeepSpeed ZeRO-3", marks=ZERO),
        pytest.param("zero3", NF4, "DeepSpeed ZeRO-3", marks=ZERO),
    ],
    ids=lambda value: "nf4" if value is NF4 else None,
)
def test_two_gpus_take_the_steps_of_one(train, file, fields, strategy):
    one, two = train("single_gpu", 1, fields), train(file, 2, fields)
    results = json.loads((two / "results.json").read_text())
    assert results["processes"].startswith(f"2 processes on cuda, {strategy}")
    assert results["audit"].endswith("audit passed")
    assert deviation(two, one) < 1e-4
