import subprocess
import sys
from importlib.metadata import version

import pytest

import decausal

_LIGHT = """
import sys
import torch, transformers
import decausal
heavy = {"peft", "trl", "accelerate", "bitsandbytes", "datasets", "seqeval", "matplotlib", "typer", "yaml"}
before = {"typer", "yaml", "accelerate"}  # transformers may bring them itself
print(sorted((heavy - before) & set(sys.modules)))
"""
_SHOW_HEAVY = """
atexit.register(lambda: print(sorted({"torch", "transformers", "peft", "datasets"} & set(sys.modules))))
from decausal.cli import main
main()
"""


def test_the_public_names_are_these():
    assert decausal.__all__ == [
        "AuditReport",
        "CheckpointError",
        "DataError",
        "Handle",
        "LayerPattern",
        "UnsupportedModelError",
        "audit",
        "load",
        "unmask",
        "unmasked_layers",
    ]
    assert all(hasattr(decausal, name) for name in decausal.__all__)


def test_the_version_is_that_of_the_package():
    command = [sys.executable, "-W", "ignore", "-m", "decausal", "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == f"decausal {decausal.__version__}\n"
    assert decausal.__version__ == version("decausal")


def test_importing_brings_in_torch_and_transformers_only():
    output = subprocess.run([sys.executable, "-W", "ignore", "-c", _LIGHT], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


def test_help_waits_for_neither_torch_nor_transformers():
    code = "import sys; sys.argv = ['decausal', '--help']; import atexit\n" + _SHOW_HEAVY
    output = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip().endswith("[]")


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'unmaks'"):
        decausal.unmaks  # noqa: B018
    assert "unmask" in dir(decausal)
