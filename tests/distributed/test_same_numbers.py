"""Under every strategy: the losses, gradient norms and weights of one process on the same global batches of eight."""

import itertools
from pathlib import Path

import pytest

from launching import ROOT, deviation

WORKER = str(Path(__file__).with_name("worker.py"))
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
QUANTISED = {"LoRA": {}, "QLoRA": NF4}
ALL = [*itertools.product(QUANTISED, ("0000", "0011", "1111")), ("LoRA", "shared")]
FEW = [("LoRA", "0011"), ("QLoRA", "1111"), ("LoRA", "shared")]  # what the gate has time for
REST = [run for run in ALL if run not in FEW]
SHARED = {
    "unmask": "all",
    "shared_patterns": "suffixes:4",
    "validation_file": str(ROOT / "examples" / "right_context" / "validation.tsv"),
    "max_eval_samples": 5,
}
REFERENCE = "plain 8x1"
# With gradient checkpointing or without it, sentences at once, accumulation steps: each method meets each.
LAYOUTS = {
    "one process": (REFERENCE, "checkpointing 2x4"),
    "two processes": ("plain 4x1", "checkpointing 2x2"),
    "two processes, the other way round": ("plain 2x2", "checkpointing 4x1"),
}

pytestmark = pytest.mark.timeout(1500)


def variants(strategy: str, runs: list[tuple[str, str]]) -> list[tuple[str, dict[str, object]]]:
    """Names and fields of all that is trained under a strategy."""
    found = []
    for method, pattern in runs:
        crossed = "two processes" if method == "LoRA" else "two processes, the other way round"
        layouts = LAYOUTS["one process" if strategy == "one process" else crossed]
        if pattern == "shared" and strategy != "one process":  # a step's pattern is that of its number alone
            layouts = layouts[1:]
        for layout in layouts:
            checkpointing, _, sizes = layout.partition(" ")
            batch, steps = map(int, sizes.split("x"))
            fields = {"gradient_checkpointing": checkpointing != "plain", **QUANTISED[method]}
            fields |= SHARED if pattern == "shared" else {"unmask": pattern}
            fields |= {"per_device_train_batch_size": batch, "gradient_accumulation_steps": steps}
            found.append((f"{method} {pattern} {layout}", fields))
    return found


@pytest.fixture(scope="session")
def train(launch, write_recipe, once):
    """Trains the variants of some runs under one strategy, in processes that are started once."""

    def run(strategy: str, runs: list[tuple[str, str]]) -> Path:
        def fill(directory: Path) -> None:
            recipes = [write_recipe(directory / name, **fields) for name, fields in variants(strategy, runs)]
            launch(strategy, WORKER, *recipes)

        return once(f"{strategy.replace(' ', '_')}_{len(runs)}", fill)

    return run


@pytest.mark.parametrize("strategy", ["one process", "DDP", "ZeRO-2", "ZeRO-3", "FSDP2"])
@pytest.mark.parametrize("runs", [pytest.param(FEW, id="few"), pytest.param(REST, id="rest", marks=pytest.mark.long)])
def test_steps_are_those_of_one_process(train, strategy, runs):
    expected, found = train("one process", runs), train(strategy, runs)
    for name, _ in variants(strategy, runs):
        method, pattern, _ = name.split(" ", 2)
        assert deviation(found / name, expected / f"{method} {pattern} {REFERENCE}") < 1e-4, name


def test_two_machines_are_one_process_too(launch_machines, write_recipe, train, tmp_path):
    launch_machines(WORKER, write_recipe(tmp_path / "run", unmask="0011", per_device_train_batch_size=4))
    assert deviation(tmp_path / "run", train("one process", FEW) / f"LoRA 0011 {REFERENCE}") < 1e-4


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["DDP", "ZeRO-2", "ZeRO-3", "FSDP2"])
def test_steps_of_smollm2_are_those_of_one_process(launch, write_recipe, smollm2, once, tmp_path, strategy):
    def train(directory: Path, strategy: str, batch: int) -> None:
        fields = {"model_name_or_path": str(smollm2), "per_device_train_batch_size": batch}
        launch(strategy, WORKER, write_recipe(directory / "run", **fields))

    expected = once("smollm2", lambda directory: train(directory, "one process", 8))
    train(tmp_path, strategy, 4)
    assert deviation(tmp_path / "run", expected / "run") < 1e-4
