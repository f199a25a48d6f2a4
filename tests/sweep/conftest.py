from collections.abc import Callable
from functools import partial

import optuna
import pytest

from decausal.sweep.storage import open_study
from made_up_sweep import outcome, sweep
from small_recipes import base_model, corpus, recipe, write_recipe
from sweep_parts import Runs

__all__ = ["base_model", "corpus", "outcome", "recipe", "sweep", "write_recipe"]


@pytest.fixture
def storage(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture
def study(storage) -> optuna.Study:
    return open_study(storage, "small", heartbeat_seconds=1)


@pytest.fixture
def make_runs(tmp_path) -> Callable[..., Runs]:
    """Makes what stands in for runs, in the directory of the test."""
    return partial(Runs, tmp_path)
