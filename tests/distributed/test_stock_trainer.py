"""What transformers' own `Trainer` makes of the same step on two processes; test_same_numbers.py has ours."""

import json
import re
from pathlib import Path

import pytest

STOCK = str(Path(__file__).with_name("stock.py"))


@pytest.fixture
def first_gradient(launch, write_recipe, tmp_path):
    """Norm of the stock trainer's first gradient, on the same eight sentences."""

    def train(strategy: str, batch: int) -> float:
        fields = {"max_steps": 1, "train_sampling_strategy": "sequential", "per_device_train_batch_size": batch}
        printed = launch(strategy, STOCK, write_recipe(tmp_path / strategy, **fields)).stdout
        log = re.search(r"^log: (.*)$", printed, re.MULTILINE)
        assert log, printed
        return json.loads(log[1])[0]["grad_norm"]

    return train


@pytest.mark.long
def test_the_stock_trainers_gradients_grow_with_the_number_of_processes(first_gradient):
    assert first_gradient("DDP", 4) / first_gradient("one process", 8) == pytest.approx(2, rel=0.1)
