import optuna
import pytest

from decausal.sweep.study import open_study
from small_recipes import base_model, corpus, recipe, write_recipe

__all__ = ["base_model", "corpus", "recipe", "write_recipe"]


@pytest.fixture
def storage(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture
def study(storage) -> optuna.Study:
    return open_study(storage, "small", heartbeat_seconds=1)
