"""The token classifier of every architecture, and its head."""

from typing import Any, cast

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GenericForTokenClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, MODEL_MAPPING

from ._errors import UnsupportedModelError

HEAD_NAMES = ("score", "classifier")
"""What transformers calls the head of a token classifier."""


def token_classification_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The token classification class of an architecture: transformers' own, or the same head on its base model.

    Raises:
        UnsupportedModelError: the architecture has no base model that returns hidden states.
    """
    if type(config) in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        return cast(type[PreTrainedModel], MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)])
    if type(config) not in MODEL_MAPPING:
        raise UnsupportedModelError(f"model_type={config.model_type!r} has no base model for a token classifier.")
    base = cast(type[PreTrainedModel], MODEL_MAPPING[type(config)])
    pretrained = next(c for c in base.__mro__ if c.__name__.endswith("PreTrainedModel") and c is not base)
    name = base.__name__.removesuffix("Model").removesuffix("Text") + "ForTokenClassification"
    prefix = getattr(pretrained, "base_model_prefix", "") or "model"
    return type(name, (GenericForTokenClassification, pretrained), {"base_model_prefix": prefix})


def cast_head_input(model: PreTrainedModel) -> None:
    """Let a float32 head follow layers of lower precision, in training and after loading."""
    for name in HEAD_NAMES:
        head = getattr(model, name, None)
        if isinstance(head, torch.nn.Linear):
            head.register_forward_pre_hook(_to_weight_dtype)


def _to_weight_dtype(head: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    weight = head.weight
    assert isinstance(weight, torch.Tensor)
    return (args[0].to(weight.dtype), *args[1:])
