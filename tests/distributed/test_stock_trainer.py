"""What transformers' own `Trainer` makes of the same step on two processes: why ours has a loss of its own."""

import json
import re
from pathlib import Path

import pytest

STOCK = str(Path(__file__).with_name("stock.py"))
WORKER = str(Path(__file__).with_name("worker.py"))


@pytest.fixture
def first_step(launch, write_recipe, tmp_path):
    """Gradient norm of the first step on the same eight sentences: the stock trainer's, and ours."""

    def train(strategy: str, batch: int) -> tuple[float, float]:
        fields = {"max_steps": 1, "train_sampling_strategy": "sequential", "per_device_train_batch_size": batch}
        recipe = write_recipe(tmp_path / strategy, **fields)
        stock = json.loads(re.search(r"^log: (.*)$", launch(strategy, STOCK, recipe).stdout, re.MULTILINE)[1])
        launch(strategy, WORKER, recipe)
        ours = json.loads((tmp_path / strategy / "results.json").read_text())["log"]
        return stock[0]["grad_norm"], ours[0]["grad_norm"]

    return train


@pytest.mark.timeout(600)
def test_the_stock_trainers_gradients_grow_with_the_number_of_processes_and_ours_do_not(first_step):
    stock_alone, ours_alone = first_step("one process", 8)
    stock_shared, ours_shared = first_step("DDP", 4)
    assert stock_shared / stock_alone == pytest.approx(2, rel=0.1)
    assert ours_shared == pytest.approx(ours_alone, rel=1e-4)
