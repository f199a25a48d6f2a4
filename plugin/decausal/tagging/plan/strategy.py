"""How a launch file spreads a model over devices, and what each device then holds besides its activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.commands.config.config_args import load_config_from_file
from torch import nn

from decausal._classifier import HEAD_NAMES
from decausal._layers import find_decoder_stack
from decausal.tagging.plan.stand_in import QuantisedLinear
from decausal.tagging.plan.step import StepMemory

Kind = Literal["one process", "data parallel", "DeepSpeed ZeRO", "FSDP2"]

# DeepSpeed's defaults (0.19), in numbers; accelerate's launch files have no field for them.
_REDUCE_BUCKET = 500_000_000
_MAX_LIVE_PARAMETERS = 1_000_000_000


@dataclass(frozen=True)
class Strategy:
    """What a launch file asks for.

    Attributes:
        kind: which library spreads the model.
        processes: of all machines together.
        stage: of ZeRO; 0 elsewhere.
        offloads_weights: ZeRO-3 keeps weights in main memory.
        offloads_optimizer: ZeRO keeps optimizer states in main memory.
        on_gpu: whether the file asks for GPUs.
    """

    kind: Kind = "one process"
    processes: int = 1
    stage: int = 0
    offloads_weights: bool = False
    offloads_optimizer: bool = False
    on_gpu: bool = True

    @classmethod
    def of(cls, path: Path | None, num_processes: int | None = None) -> "Strategy":
        """What a file says; one process without a file.

        Args:
            path: a file of `accelerate config`.
            num_processes: instead of the file's.

        Raises:
            ValueError: the file cannot be read, or asks for something that is not planned for.
        """
        if path is None:
            return cls()
        try:
            config = load_config_from_file(str(path))
        except Exception as error:  # accelerate passes on what YAML, JSON and its own classes raise
            raise ValueError(f"{path} is no file of accelerate config: {error}") from error
        processes = num_processes or int(config.num_processes)
        on_gpu = not config.use_cpu
        name = str(getattr(config.distributed_type, "value", config.distributed_type))
        if name == "DEEPSPEED":
            settings = config.deepspeed_config or {}
            if "deepspeed_config_file" in settings:
                raise ValueError(f"{path} leaves DeepSpeed's settings to another file; state them in deepspeed_config.")
            moved = [str(settings.get(f"offload_{part}_device", "none")) != "none" for part in ("param", "optimizer")]
            return cls("DeepSpeed ZeRO", processes, int(settings.get("zero_stage", 2)), moved[0], moved[1], on_gpu)
        if name == "FSDP":
            if str((config.fsdp_config or {}).get("fsdp_version", 1)) != "2":
                raise ValueError(f"{path} asks for FSDP 1; plans are made for fsdp_version: 2.")
            return cls("FSDP2", processes, on_gpu=on_gpu)
        if name in ("MULTI_GPU", "MULTI_CPU"):
            return cls("data parallel", processes, on_gpu=on_gpu) if processes > 1 else cls(on_gpu=on_gpu)
        if name != "NO":
            raise ValueError(f"{path} has distributed_type: {name}, for which no plan can be made.")
        return cls(on_gpu=on_gpu)

    @property
    def shards_gradients(self) -> bool:
        """Whether a whole gradient lives only until it is cut into shards."""
        return self.kind == "FSDP2" or self.stage >= 2

    @property
    def leaves_weights(self) -> bool:
        """Whether every process stores whole weights, as it likes."""
        return self.kind in ("one process", "data parallel")

    @property
    def casts_weights(self) -> bool:
        """Whether mixed precision means weights of lower precision, rather than products."""
        return self.kind == "DeepSpeed ZeRO"

    def __str__(self) -> str:
        name = f"{self.kind}-{self.stage}" if self.stage else self.kind
        moved = [n for n, on in (("weights", self.offloads_weights), ("optimizer", self.offloads_optimizer)) if on]
        text = name if self.processes == 1 and self.kind == "one process" else f"{name}, {self.processes} processes"
        return f"{text}, {' and '.join(moved)} in main memory" if moved else text


@dataclass(frozen=True)
class Weights:
    """Bytes of a model's weights by kind, and of what strategies handle as one.

    Attributes:
        kinds: `quantised weights`, `other weights`, `LoRA`, `head`.
        trained: bytes of the trained ones.
        num_trained: how many numbers these are.
        num_stored: how many numbers are stored, packed ones counted packed.
        layer: bytes of the largest decoder layer; 0 where there is none.
        layers: bytes of all decoder layers.
    """

    kinds: dict[str, int]
    trained: int
    num_trained: int
    num_stored: int
    layer: int
    layers: int

    @classmethod
    def of(cls, model: nn.Module) -> "Weights":
        """Those of a model that `make_fake` has made."""
        kinds = dict.fromkeys(("quantised weights", "other weights", "LoRA", "head"), 0)
        packed = {id(module.weight) for module in model.modules() if isinstance(module, QuantisedLinear)}
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            path = name.split(".")
            if id(tensor) in packed:
                kind = "quantised weights"
            elif any(part in HEAD_NAMES for part in path):
                kind = "head"
            else:
                kind = "LoRA" if any(part.startswith("lora_") for part in path) else "other weights"
            kinds[kind] += tensor.nbytes
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        layers = [_bytes(layer) for layer in _layers(model)]
        return cls(
            kinds,
            sum(weight.nbytes for weight in trained),
            sum(weight.numel() for weight in trained),
            sum(weight.numel() for weight in model.parameters()),
            max(layers, default=0),
            sum(layers),
        )

    @property
    def total(self) -> int:
        """Bytes of all."""
        return sum(self.kinds.values())


def device_memory(
    weights: Weights, step: StepMemory, strategy: Strategy, precision: torch.dtype | None
) -> tuple[dict[str, int], dict[str, int]]:
    """What one process holds at its peak, part by part: on its device, and in main memory.

    Args:
        weights: of the model as it is spread, in the type it is computed in.
        step: measured with `keeps_gradients` where gradients are not in shards.
        strategy: how the model is spread.
        precision: of mixed precision.
    """
    device, host = _static_memory(weights, step, strategy, precision)
    computing = {"gradients": step.gradients, "activations": step.activations}
    updating = {"gradients": step.all_gradients, "activations": step.update}
    if strategy.shards_gradients:
        computing["gradients"] = updating["gradients"] = weights.trained // strategy.processes
        if strategy.stage:  # DeepSpeed casts its shard of the gradients to float32 to update with
            updating["activations"] = 4 * weights.num_trained // strategy.processes
    at_peak = max(computing, updating, key=lambda parts: sum(parts.values()))
    return {**device, **at_peak}, host


def _static_memory(
    weights: Weights, step: StepMemory, strategy: Strategy, precision: torch.dtype | None
) -> tuple[dict[str, int], dict[str, int]]:
    count = strategy.processes
    device: dict[str, int] = dict(weights.kinds)
    host: dict[str, int] = {}
    if strategy.leaves_weights:
        device["optimizer states"] = step.states
        if strategy.kind == "data parallel":
            device["DDP's gradient buckets"] = weights.trained
        return device, host
    if strategy.kind == "FSDP2":
        # Trained weights are kept in float32 beside mixed precision; a shard is what the optimizer sees.
        kept = 4 * weights.num_trained - weights.trained if precision else 0
        device = {kind: size // count for kind, size in device.items()}
        device["float32 of trained weights"] = kept // count
        device["optimizer states"] = 2 * (weights.trained + kept) // count
        device["gathered weights"] = weights.total - weights.layers + 2 * weights.layer
        return device, host
    states = {
        "float32 copy of trained weights": 4 * weights.num_trained // count,
        "optimizer states": 2 * 4 * weights.num_trained // count,
    }
    (host if strategy.offloads_optimizer else device).update(states)
    if strategy.stage == 3:
        shards: Mapping[str, int] = {kind: size // count for kind, size in weights.kinds.items()}
        for kind in shards:
            del device[kind]
        (host if strategy.offloads_weights else device).update(shards)
        device["gathered weights"] = int(weights.total * min(1.0, _MAX_LIVE_PARAMETERS / weights.num_stored))
    if strategy.stage:
        number = (torch.finfo(precision).bits if precision else 32) // 8
        device["DeepSpeed's reduce bucket"] = _REDUCE_BUCKET * number
    return device, host


def _layers(model: nn.Module) -> list[nn.Module]:
    try:
        return [layer.module for layer in find_decoder_stack(model).layers]
    except ValueError:  # an encoder
        return []


def _bytes(module: nn.Module) -> int:
    tensors: list[Any] = [*module.parameters(), *module.buffers()]
    return sum(tensor.nbytes for tensor in tensors)
