"""Make chosen layers of a decoder-only language model bidirectional."""

from importlib.metadata import version as _version
from typing import Any as _Any

from ._attach import Handle, unmask, unmasked_layers
from ._audit import AuditReport, audit
from ._checkpoint import load
from ._errors import CheckpointError, DataError, UnsupportedModelError
from ._pattern import LayerPattern

__all__ = [
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


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        return _version("decausal")
    raise AttributeError(f"module 'decausal' has no attribute {name!r}")
