"""One training step of a sketch, with fake tensors: every operator runs, and nothing is computed but sizes."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import Trainer
from transformers.training_args import OptimizerNames

from decausal.tagging.arguments import TaggingTrainingArguments
from decausal.tagging.plan.ledger import Ledger
from decausal.tagging.plan.stand_in import make_fake
from decausal.tagging.precision import mixed_precision
from decausal.tagging.trainer import token_mean_loss

_DEVICE = torch.device("cpu")


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one process when it holds the most, weights and optimizer states not counted.

    Attributes:
        activations: all that is neither a weight nor a gradient of one, while gradients are computed.
        gradients: gradients of weights at that moment.
        all_gradients: gradients when all are there.
        update: what the optimizer holds besides its states while it updates the weights.
        states: optimizer states of all trained weights.
    """

    activations: int
    gradients: int
    all_gradients: int
    update: int
    states: int


class FakeStep:
    """Runs training steps of one model with fake tensors.

    Fake tensors of a torch without CUDA cannot be on CUDA, so they are on the CPU, whose scaled_dot_product_attention
    keeps no matrix of scores for the backward pass, as that of a GPU; dropout, which keeps numbers on a CPU and bits
    on a GPU, is exchanged for the GPU's.

    Args:
        sketch: from `sketch_model`; it is changed.
        training: the recipe's, for precision, checkpointing, accumulation and optimizer.
        on_gpu: whether the step is that of a GPU.
        cast: the type that the strategy casts weights to; by default they stay, and products are cast (autocast).
    """

    def __init__(
        self, sketch: nn.Module, training: TaggingTrainingArguments, on_gpu: bool, cast: torch.dtype | None = None
    ) -> None:
        self.model = sketch
        self.training = training
        self.on_gpu = on_gpu
        self.precision = mixed_precision(training)
        self.is_cast = cast is not None
        self.mode = FakeTensorMode()
        self._updated: tuple[int, int] | None = None  # no batch changes it
        with self.mode:
            make_fake(sketch, _DEVICE, cast)
        sketch.train()
        if training.gradient_checkpointing:
            sketch.gradient_checkpointing_enable(training.gradient_checkpointing_kwargs)  # type: ignore[operator]

    def measure(self, batch_size: int, length: int, keeps_gradients: bool = True) -> StepMemory:
        """The memory of one step.

        Args:
            batch_size: windows of a micro-batch.
            length: sub-words of each, padding included.
            keeps_gradients: as in `Ledger`.
        """
        with self._faking(), Ledger(self.model, keeps_gradients) as ledger:
            ids = torch.zeros(batch_size, length, dtype=torch.long, device=_DEVICE)
            # Gradients of earlier micro-batches are there while a later one is computed.
            for _ in range(min(2, self.training.gradient_accumulation_steps)):
                ledger.reset_peak()
                self._backward(ids)
            peak, gradients = ledger.peak
            if keeps_gradients and self._updated is None:
                self._updated = self._update(ledger)
            for weight in self.model.parameters():
                weight.grad = None
        trained = sum(weight.nbytes for weight in self.model.parameters() if weight.requires_grad)
        states, update = self._updated or (0, 0)
        return StepMemory(peak - gradients, gradients, trained, update, states)

    def _backward(self, ids: Tensor) -> None:
        context = torch.autocast(_DEVICE.type, self.precision) if self.precision and not self.is_cast else nullcontext()
        with context:
            outputs = self.model(input_ids=ids, attention_mask=torch.ones_like(ids))
            loss = token_mean_loss(outputs, ids)
        del outputs
        loss.backward()

    def _update(self, ledger: Ledger) -> tuple[int, int]:
        """Bytes of the optimizer's states, and what it holds besides them while it works."""
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(self.training)
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        if kind.__module__.startswith("bitsandbytes"):
            return bitsandbytes_states(self.model, OptimizerNames(self.training.optim).value), 0
        if self.on_gpu and "foreach" in kind.__init__.__code__.co_varnames and not settings.get("fused"):
            settings["foreach"] = True  # torch's own choice on a GPU
        optimizer = kind(weights, **settings)
        before = ledger.live
        optimizer.step()
        states = ledger.live - before
        ledger.reset_peak()
        start = ledger.live
        optimizer.step()
        return states, ledger.peak[0] - start

    @contextmanager
    def _faking(self) -> Iterator[None]:
        # Not a torch function mode: none is in force in the backward pass, where checkpointing computes anew.
        dropout = patch.object(torch.nn.functional, "dropout", _native_dropout) if self.on_gpu else nullcontext()
        with self.mode, dropout:
            yield


def bitsandbytes_states(model: nn.Module, name: str) -> int:
    """Bytes of the states of an optimizer of bitsandbytes, which on this machine may have no kernels.

    In 8 bits a state has a byte for each number and a scale for 256 of them, but four bytes in weights of fewer than
    4,096 numbers, and in embeddings, as transformers asks.

    Args:
        model: its trained weights count.
        name: as `optim` of the recipe.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    num_states = 1 if any(kind in name for kind in ("lion", "rmsprop")) else 2
    total = 0
    for weight in model.parameters():
        if weight.requires_grad:
            numel = weight.numel()
            is_small = "8bit" in name and numel >= 4096 and id(weight) not in embeddings
            total += num_states * (numel + 4 * -(-numel // 256) if is_small else 4 * numel)
    return total


def _native_dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or p == 0:
        return input
    return torch.native_dropout(input, p, training)[0]
