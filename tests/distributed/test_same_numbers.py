"""Under every strategy: the losses, gradient norms and weights of one process on the same global batches of eight."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

WORKER = str(Path(__file__).with_name("worker.py"))
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
QUANTISED = {"LoRA": {}, "QLoRA": NF4}
PATTERNS = ("0000", "0011", "1111")
LAYOUTS = {1: ((8, 1), (2, 4)), 2: ((4, 1), (2, 2))}  # processes: sentences of each at once, accumulation steps


def variants() -> list[tuple[str, dict[str, object]]]:
    """Names and fields of all that is trained under each strategy."""
    return [
        (
            f"{method}-{pattern}{'-checkpointing' * checkpointing}",
            {**QUANTISED[method], "unmask": pattern, "gradient_checkpointing": checkpointing},
        )
        for method, pattern, checkpointing in itertools.product(QUANTISED, PATTERNS, (False, True))
    ]


@pytest.fixture(scope="session")
def train_all(launch, write_recipe, once):
    """Trains every variant in every layout under one strategy, in processes that are started once."""

    def train(strategy: str) -> Path:
        def fill(directory: Path) -> None:
            layouts = LAYOUTS[1 if strategy == "one process" else 2]
            recipes = [
                write_recipe(
                    directory / f"{name}-{batch}x{steps}",
                    **fields,
                    per_device_train_batch_size=batch,
                    gradient_accumulation_steps=steps,
                )
                for (name, fields), (batch, steps) in itertools.product(variants(), layouts)
            ]
            launch(strategy, WORKER, *recipes)

        return once(strategy.replace(" ", "_"), fill)

    return train


def read(run: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Loss and gradient norm of each step, and the trained weights."""
    log = json.loads((run / "results.json").read_text())["log"]
    steps = [(step["loss"], step["grad_norm"]) for step in log if "loss" in step]
    assert len(steps) == 10
    return np.array(steps), load_file(run / "adapter_model.safetensors")


@pytest.mark.parametrize("strategy", ["one process", "DDP", "ZeRO-2", "ZeRO-3", "FSDP2"])
def test_steps_are_those_of_one_process(train_all, strategy):
    expected, found = train_all("one process"), train_all(strategy)
    for (name, _), (batch, steps) in itertools.product(variants(), LAYOUTS[1 if strategy == "one process" else 2]):
        case = f"{name}-{batch}x{steps}"
        expected_steps, expected_weights = read(expected / f"{name}-8x1")
        found_steps, found_weights = read(found / case)
        np.testing.assert_allclose(found_steps, expected_steps, rtol=1e-4, err_msg=case)
        assert found_weights.keys() == expected_weights.keys(), case
        for key, weight in expected_weights.items():
            close = {"rtol": 1e-4, "atol": 1e-4 * np.abs(weight).max()}
            np.testing.assert_allclose(found_weights[key], weight, **close, err_msg=f"{case} {key}")
