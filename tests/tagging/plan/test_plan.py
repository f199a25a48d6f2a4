import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from decausal.cli import app
from decausal.tagging.plan.plan import largest_batch, make_plan
from launching import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize(
    ("memory", "most", "expected"), [(99, 50, 0), (100, 50, 1), (155, 50, 6), (10_000, 50, 50), (160, 1, 1)]
)
def test_the_largest_batch_is_found_on_a_line(memory, most, expected):
    assert largest_batch(lambda size: 90 + 10 * size, memory, most) == expected


def test_the_largest_batch_is_found_on_a_bent_line():
    assert largest_batch(lambda size: max(300, 10 * size * size), 1000, 500) == 10


def test_the_plan_counts_the_recipes_own_data(recipe):
    epoch = make_plan([recipe(per_device_train_batch_size=16, gradient_accumulation_steps=2)]).epoch
    # 96 short sentences in six batches, each padded to a multiple of 8.
    assert (epoch.windows, epoch.steps, epoch.longest) == (96, 3, 8)
    assert 96 * 3 <= epoch.tokens < 96 * 8
    assert epoch.padded_tokens == 96 * 8


def test_packed_rows_are_planned_with_hardly_any_padding(recipe):
    packed, padded = (make_plan([recipe(packing=packing)]) for packing in (True, False))
    assert packed.epoch.tokens == padded.epoch.tokens
    assert packed.epoch.tokens <= packed.epoch.padded_tokens < packed.epoch.tokens + 6 * 8 < padded.epoch.padded_tokens
    assert "seldom reached" in packed.notes[0]


def test_processes_share_an_epochs_steps(recipe):
    plan = make_plan([recipe(use_cpu=False)], ROOT / "recipes" / "launch" / "ddp.yaml", num_processes=4)
    assert plan.epoch.steps == 2
    assert plan.on_gpu


def test_the_largest_batch_of_a_plan_fits_and_the_next_does_not(recipe):
    memory = make_plan([recipe(per_device_train_batch_size=7)]).needs[False].total
    assert make_plan([recipe()], gpu_memory=f"{memory // 1024 + 1}KiB").needs[False].largest_batch == 7


def test_a_plan_is_for_the_device_of_the_recipe_and_the_launch_file(recipe):
    assert make_plan([recipe(use_cpu=False)]).on_gpu
    assert not make_plan([recipe(use_cpu=True)]).on_gpu
    assert not make_plan([recipe(use_cpu=False), "--use_cpu"]).on_gpu
    assert not make_plan([recipe(use_cpu=False)], ROOT / "recipes" / "launch" / "cpu.yaml").on_gpu


def test_bfloat16_on_a_gpu_is_planned_where_there_is_none(recipe):
    assert make_plan([recipe(use_cpu=False, bf16=True, tf32=True)]).on_gpu


def test_frozen_weights_are_planned_in_the_type_that_they_are_stored_in(recipe):
    whole, half = (make_plan([recipe(bf16=bf16)]) for bf16 in (False, True))
    weights = [plan.needs[False].device["other weights"] for plan in (whole, half)]
    layers = 4 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)  # the linear layers of the base model, two bytes less each
    assert weights[0] - weights[1] == 2 * layers
    assert [plan.notes[-2].partition(";")[0] for plan in (whole, half)] == [
        "Computed in the type of the weights", "Computed in bfloat16"
    ]  # fmt: skip


def test_a_kernel_that_is_not_here_is_planned_as_sdpa_and_the_plan_says_so(recipe):
    plan = make_plan([recipe(attn_implementation="flash_attention_2")])
    assert plan.notes[0].startswith("attn_implementation=flash_attention_2 is planned as sdpa")
    assert plan.needs == make_plan([recipe()]).needs


def test_memory_that_is_no_size_is_refused(recipe):
    with pytest.raises(ValueError, match=r"gpu_memory='much': give a number and its unit"):
        make_plan([recipe()], gpu_memory="much")


def test_the_command_shows_the_parts_and_fails_where_the_recipe_does_not_fit(recipe):
    run = CliRunner().invoke(app, ["plan", recipe(gradient_checkpointing=True), "--gpu-memory", "1MB"])
    assert run.exit_code == 1
    assert "checkpointing (recipe)" in run.output
    assert "largest batch that fits" in run.output


def test_the_command_succeeds_where_it_fits_and_takes_fields_of_the_recipe(recipe):
    run = CliRunner().invoke(app, ["plan", recipe(), "--gpu-memory", "2GiB", "--per_device_train_batch_size", "4"])
    assert run.exit_code == 0
    assert "batches of 4" in run.output


def test_the_plan_of_smollm2_is_within_15_percent_of_its_measured_peak():
    if not (ROOT / "models" / "smollm2-135m").is_dir():
        pytest.skip("needs models/smollm2-135m (scripts/prepare_smollm2.py)")
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs the memory accounting of Linux (/proc/self/clear_refs)")
    recipe = [ROOT / "recipes/ner/right_context_qlora.yaml", "--max_train_samples", "50"]
    command = [sys.executable, "-W", "ignore", "scripts/measure_memory.py", "--only", "lora-checkpointing-2", *recipe]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    ratio = float(re.search(r"ratio ([\d.]+)", found.stdout)[1])
    assert ratio == pytest.approx(1, abs=0.15)
