"""Skips what this machine cannot run, and says what it lacks; holds the random 7B model."""

import importlib.util
from pathlib import Path

import pytest
import torch

from random_model import write_model


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--random-model", type=Path, help="what benchmarks/random_model.py has written; else it is made")
    parser.addoption("--results", type=Path, help="a directory for what was measured; else a temporary one")


def lacks(num_devices: int = 1, package: str | None = None) -> str:
    """What a test asks for and this machine has not; empty where it has all."""
    found = torch.cuda.device_count()
    if found == 0:
        return f"needs a CUDA device, and torch {torch.__version__} sees none"
    if found < num_devices:
        return f"needs {num_devices} CUDA devices, and there is {found}"
    if package is not None and importlib.util.find_spec(package) is None:
        return f"needs the package {package}, which is not installed"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reasons = [lacks(*marker.args, **marker.kwargs) for marker in item.iter_markers("gpu")]
        if any(reasons):
            item.add_marker(pytest.mark.skip(reason=next(filter(None, reasons))))
        elif reasons:  # libraries on a machine that nobody has tried warn of what is not ours
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def random_7b(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised Mistral-7B on disk."""
    given: Path | None = request.config.getoption("--random-model", None)
    if given is not None:
        return given
    directory = tmp_path_factory.mktemp("random") / "mistral-7b"
    write_model(directory, "7b", "cuda")
    return directory


@pytest.fixture
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where measurements are written."""
    directory: Path = request.config.getoption("--results", None) or tmp_path
    directory.mkdir(parents=True, exist_ok=True)
    return directory
