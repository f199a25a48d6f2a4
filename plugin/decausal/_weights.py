"""Weights are read from whole safetensors files, and none is made up."""

from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from ._classifier import HEAD_NAMES
from ._errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"
REPACKS = "support_avx512bf16_for_cpu"
"""An attribute of bitsandbytes' `Linear4bit`: in evaluation mode, its weights are packed anew for inference.

It is true on CPUs with AVX-512 and bfloat16. The first forward pass in evaluation mode repacks the weights; from then
on, in training mode too, products are in bfloat16 whatever the model's type, and give no gradient (bitsandbytes 0.50).
"""


def check_place(name: str) -> None:
    """Tells a wrong path from the name of a model on the hub, which has one slash at most.

    Raises:
        FileNotFoundError: it is a path, and nothing is there.
    """
    if (name.startswith(("/", ".", "~")) or name.count("/") > 1) and not Path(name).exists():
        raise FileNotFoundError(f"{name}: no such directory.")


def check_weights(directory: Path) -> None:
    """Checks that a directory's weights, an adapter's or a model's, are whole safetensors files.

    Raises:
        CheckpointError: there are none, or one is damaged; names the file.
    """
    name = "adapter_model" if (directory / ADAPTER_CONFIG).is_file() else "model"
    files = sorted(directory.glob(f"{name}*.safetensors"))
    if not files:
        raise CheckpointError(f"{directory} has no {name}.safetensors; weights are read from safetensors only.")
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise CheckpointError(
                f"{file} is damaged ({error}): fetch it again, or use an earlier checkpoint."
            ) from error


def load_weights(
    model_class: type[PreTrainedModel], source: str | Path, *, lacks_head: bool, **options: Any
) -> PreTrainedModel:
    """What `from_pretrained` loads, or an error where it would go on with random weights after a warning.

    Weights in 4 bits stay as they are in evaluation mode too, so that training can go on after it.

    Args:
        model_class: the class to load.
        source: a directory, or a name on the hub.
        lacks_head: the head may be missing there, and is then random: it is trained, or read from elsewhere.
        **options: arguments of `from_pretrained`.

    Raises:
        CheckpointError: weights are missing; names the first of them.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would report the missing head
    try:
        loaded: Any = model_class.from_pretrained(source, output_loading_info=True, **options)
    finally:
        logging.set_verbosity(verbosity)
    model, info = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
    missing = sorted(k for k in info["missing_keys"] if not (lacks_head and k.split(".")[0] in HEAD_NAMES))
    if missing:
        raise CheckpointError(
            f"{source} lacks {len(missing)} of the weights of {model_class.__name__}, the first of them {missing[0]}: "
            f"is it another model's, or incomplete?"
        )
    keep_packed(model)
    return model


def keep_packed(model: nn.Module) -> None:
    """Leaves weights in 4 bits as they are in evaluation mode too, so that training can go on after it."""
    for module in model.modules():
        if hasattr(module, REPACKS):
            setattr(module, REPACKS, False)
