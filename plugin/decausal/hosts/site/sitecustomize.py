"""Python runs this file as it starts in the child processes of `decausal run`, whose PYTHONPATH names its directory.

Nothing but the standard library is imported here: most processes never load a model. A class that
`decausal.hosts._seams` names is changed when the process imports its module; the first call imports decausal itself.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_CHANGED = {
    "transformers.modeling_utils": ("PreTrainedModel.from_pretrained",),
    "transformers.integrations.peft": ("PeftAdapterMixin.load_adapter",),
    "transformers.trainer": ("Trainer.train",),
    "peft.peft_model": ("PeftModel.load_adapter", "PeftModel.save_pretrained"),
    "accelerate.accelerator": ("Accelerator.prepare",),
}


class _Finder(MetaPathFinder):
    """Finds the modules in which something is changed, as they would be found without it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _CHANGED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                for name in _CHANGED[fullname]:
                    _change(module, name)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _change(module: ModuleType, name: str) -> None:
    owner_name, attribute = name.split(".")
    owner = getattr(module, owner_name)
    original = owner.__dict__[attribute]
    function = getattr(original, "__func__", original)
    call = _deferred(module.__name__, name, function)
    setattr(owner, attribute, classmethod(call) if isinstance(original, classmethod) else call)


def _deferred(module: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        from decausal.hosts import _seams
        from decausal.hosts._wanted import Wanted

        wanted = Wanted.from_json(os.environ[_seams.RUN_VARIABLE])
        return _seams.SEAMS[module][name](wanted, function, *args, **kwargs)

    return call


def _run_hidden() -> None:
    """Run the `sitecustomize` that this one hides, if there is one (of the distribution, or of a conda environment)."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = [entry for entry in sys.path if os.path.abspath(entry) != here]
    spec = PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _Finder())
_run_hidden()
