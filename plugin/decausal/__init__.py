"""Make chosen layers of a decoder-only language model bidirectional."""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING
from typing import Any as _Any

if TYPE_CHECKING:
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
_MODULES = {
    "_attach": ("Handle", "unmask", "unmasked_layers"),
    "_audit": ("AuditReport", "audit"),
    "_checkpoint": ("load",),
    "_errors": ("CheckpointError", "DataError", "UnsupportedModelError"),
    "_pattern": ("LayerPattern",),
}


def __getattr__(name: str) -> _Any:
    """A public name, imported when it is first asked for: torch and transformers take seconds, `--help` needs none."""
    if name == "__version__":
        return _version("decausal")
    for module, names in _MODULES.items():
        if name in names:
            return getattr(_import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
