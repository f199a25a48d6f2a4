"""Counts the bytes that tensors hold while code runs, on any device, also on none: fake tensors have sizes too."""

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Ledger(TorchDispatchMode):
    """Inside the `with` block, follows every new storage from the operator that makes it until it is freed.

    torch's own `torch.distributed._tools.mem_tracker.MemTracker` does the same, but 2.13 cannot take a frozen weight:
    it registers a gradient hook on it.

    Fake tensors have no values to look at: a question ("does a row hold several documents?") is answered no, and a
    number (an optimizer's count of steps) is 1.

    Args:
        model: its weights and buffers are there already and not counted; gradients of its weights are told apart.
        keeps_gradients: otherwise each gradient is freed once it is complete, as strategies do that cut it into shards.

    Attributes:
        live: bytes held now, gradients included.
        gradients: bytes of them that are gradients of weights.
        peak: the largest `live`, and the gradients in it.
    """

    def __init__(self, model: nn.Module, keeps_gradients: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.gradients = 0
        self.peak = (0, 0)
        self.keeps_gradients = keeps_gradients
        self._storages: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._gradients: dict[int, int] = {}
        for tensor in (*model.parameters(), *model.buffers()):
            storage = tensor.untyped_storage()
            self._storages[id(storage)] = (weakref.ref(storage), 0)
        self._hooks = [
            weight.register_post_accumulate_grad_hook(self._on_gradient)
            for weight in model.parameters()
            if weight.requires_grad
        ]

    def reset_peak(self) -> None:
        """Forget the largest so far."""
        self.peak = (self.live, self.gradients)

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return False if args[0].dtype == torch.bool else 1
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        if self.live > self.peak[0]:
            self.peak = (self.live, self.gradients)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key in self._storages and self._storages[key][0]() is storage:
            return
        size = storage.nbytes()
        self._storages[key] = (weakref.ref(storage, lambda _: self._free(key)), size)
        self.live += size

    def _free(self, key: int) -> None:
        self.live -= self._storages.pop(key)[1]
        self.gradients -= self._gradients.pop(key, 0)

    def _on_gradient(self, weight: Tensor) -> None:
        if not self.keeps_gradients:
            weight.grad = None
            return
        assert weight.grad is not None
        key = id(weight.grad.untyped_storage())
        if key not in self._gradients:
            self._gradients[key] = self._storages[key][1]
            self.gradients += self._gradients[key]
