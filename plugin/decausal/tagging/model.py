"""A token classifier on a causal language model: quantised, unmasked, prepared, and given LoRA, in this order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model, prepare_model_for_kbit_training
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel
from transformers.quantizers.auto import AutoHfQuantizer
from trl import get_peft_config, get_quantization_config

from decausal._attach import RECORD, unmask
from decausal._checkpoint import make_record
from decausal._classifier import HEAD_NAMES, cast_head_input, token_classification_class
from decausal._layers import find_decoder_stack, is_encoder, num_decoder_layers, text_config, transformers_model
from decausal._pattern import LayerPattern, format_layers
from decausal._weights import check_weights, load_weights
from decausal.tagging.arguments import TaggingArguments, TaggingModelConfig, TaggingTrainingArguments
from decausal.tagging.base import read_config
from decausal.tagging.early_exit import keep_first_layers
from decausal.tagging.precision import mixed_precision
from decausal.tagging.processes import asked_for, count_weights

_DROPOUT = 0.1  # of Dukić & Šnajder (ACL Findings 2024, arXiv 2401.14556)


def build_model(
    tagging: TaggingArguments,
    model_config: TaggingModelConfig,
    training: TaggingTrainingArguments,
    labels: Sequence[str],
    pad_token_id: int | None = None,
) -> nn.Module:
    """The model that a recipe describes, ready to train.

    The head (dropout, 0.1 unless the model's configuration has `classifier_dropout`, and a linear layer with bias) is
    never quantised and no target of LoRA. Beside an adapter it is kept in float32, trained, and saved with it. The base
    model is quantised and unmasked before PEFT wraps it.

    Args:
        tagging: holds the pattern, and how many layers are kept.
        model_config: holds the base model, quantisation and LoRA.
        training: holds what gradient checkpointing needs.
        labels: the label names, in the order of their ids.
        pad_token_id: the tokenizer's.

    Returns:
        A `PeftModel`, or without `use_peft` the transformers model.

    Raises:
        ValueError: the pattern or `num_hidden_layers` does not fit the model, or LoRA is asked to target the head.
        UnsupportedModelError: the pattern cannot be applied to this model, or it cannot be cut.
    """
    base_config = read_config(model_config)
    config = _configure(base_config, tagging, labels, pad_token_id)
    name = str(model_config.model_name_or_path)
    if Path(name).is_dir():
        check_weights(Path(name))
    model = load_weights(
        token_classification_class(config),
        name,
        lacks_head=True,
        config=config,
        revision=model_config.model_revision,
        dtype=model_config.dtype,
        attn_implementation=model_config.attn_implementation,
        quantization_config=_quantization(model_config),
        use_safetensors=True,
    )
    return _make_trainable(model, base_config, tagging, model_config, training)


def sketch_model(
    tagging: TaggingArguments,
    model_config: TaggingModelConfig,
    training: TaggingTrainingArguments,
    labels: Sequence[str],
) -> nn.Module:
    """What `build_model` returns, of its real size on the meta device: it costs no memory, and cannot compute.

    Weights in 4 bits are of the packed kind, but have the shape that they had before.

    Args:
        tagging: as in `build_model`.
        model_config: as in `build_model`; of the base model only its configuration is read.
        training: as in `build_model`.
        labels: as in `build_model`.

    Raises:
        ValueError: as in `build_model`.
        UnsupportedModelError: as in `build_model`.
    """
    base_config = read_config(model_config)
    config = _configure(base_config, tagging, labels)
    dtype = config.dtype if model_config.dtype in (None, "auto") else getattr(torch, str(model_config.dtype))
    quantization = _quantization(model_config)
    with torch.device("meta"):
        model = token_classification_class(config)._from_config(
            config, dtype=dtype or torch.float32, attn_implementation=model_config.attn_implementation
        )
        if quantization is not None:
            quantizer = AutoHfQuantizer.from_config(quantization)
            quantizer.preprocess_model(model, device_map=None)
            quantizer.postprocess_model(model)
        return _make_trainable(model, base_config, tagging, model_config, training)


def _configure(
    base_config: PreTrainedConfig,
    tagging: TaggingArguments,
    labels: Sequence[str],
    pad_token_id: int | None = None,
) -> PreTrainedConfig:
    """The base model's configuration with the layers that are kept, labels, and dropout of the head."""
    config = keep_first_layers(base_config, tagging.num_hidden_layers)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    if config.get_text_config().pad_token_id is None:
        config.get_text_config().pad_token_id = pad_token_id
    if getattr(config, "classifier_dropout", None) is None:
        # Else some architectures take that of their hidden states, which is often 0.
        config.classifier_dropout = _DROPOUT
    config.architectures = [token_classification_class(config).__name__]
    return config


def _make_trainable(
    model: PreTrainedModel,
    base_config: PreTrainedConfig,
    tagging: TaggingArguments,
    model_config: TaggingModelConfig,
    training: TaggingTrainingArguments,
) -> nn.Module:
    """Unmask a model that may be quantised, write that down in its configuration, and give it LoRA."""
    pattern = LayerPattern.parse(tagging.unmask)
    record = make_record(model.config, pattern, tagging.window)
    unmask(model, pattern, scope=tagging.scope, window=tagging.window)  # type: ignore[arg-type]
    depths = [num_decoder_layers(c.get_text_config(decoder=True)) or 0 for c in (base_config, model.config)]
    facts = {"num_dropped_layers": depths[0] - depths[1], "bf16": mixed_precision(training) is torch.bfloat16}
    setattr(model.config, RECORD, record | record_of_tagging(tagging) | facts)
    if model_config.use_peft:
        return _with_lora(model, model_config, training)
    if model_config.load_in_4bit or model_config.load_in_8bit:
        raise ValueError("use_peft=false trains all weights, but quantised ones cannot be trained: drop load_in_4bit.")
    return model


def record_of_tagging(tagging: Any) -> dict[str, Any]:
    """What a saved pattern is kept with in a tagger: how words become sub-words, and how tags were read.

    Args:
        tagging: `TaggingArguments`, or anything that has these fields of it.
    """
    alignment = {name: getattr(tagging, name) for name in ("max_length", "stride", "label_position", "num_copies")}
    return {"tagging": alignment, **{name: getattr(tagging, name) for name in ("add_prefix_space", "tag_scheme")}}


def describe_parameters(model: nn.Module) -> str:
    """How many parameters are trained, of how many (4-bit weights are counted unpacked), and in how many bits."""
    if isinstance(model, PeftModel):
        trainable, total = model.get_nb_trainable_parameters()
    else:
        parameters = list(model.parameters())
        total = sum(map(count_weights, parameters))
        trainable = sum(count_weights(parameter) for parameter in parameters if parameter.requires_grad)
    base = transformers_model(model)
    bits = 4 if getattr(base, "is_loaded_in_4bit", False) else 8 if getattr(base, "is_loaded_in_8bit", False) else None
    held = f", the base model in {bits} bits" if bits else ""
    return f"{trainable:,} of {total:,} parameters trained ({100 * trainable / total:.2f} %){held}"


def _quantization(model_config: TaggingModelConfig) -> BitsAndBytesConfig | None:
    if model_config.load_in_4bit and model_config.dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(
            f"dtype={model_config.dtype!r} with load_in_4bit: name what 4-bit weights are computed in, "
            f'"bfloat16" (GPU) or "float32" (CPU).'
        )
    quantization: BitsAndBytesConfig | None = get_quantization_config(model_config)
    if quantization is not None:
        # bitsandbytes would quantise the fresh head as well, which then can neither be trained nor saved.
        quantization.llm_int8_skip_modules = [*HEAD_NAMES, "lm_head"]
        if asked_for("FSDP") and model_config.bnb_4bit_quant_storage is None:
            # FSDP shards packed weights only if they are stored as numbers of the type that all others have.
            quantization.bnb_4bit_quant_storage = quantization.bnb_4bit_compute_dtype
    return quantization


def _with_lora(
    model: PreTrainedModel, model_config: TaggingModelConfig, training: TaggingTrainingArguments
) -> nn.Module:
    head = next(name for name in HEAD_NAMES if hasattr(model, name))
    targets = model_config.lora_target_modules or "all-linear"
    if isinstance(targets, str) and targets != "all-linear" and targets.isidentifier():
        targets = [targets]  # TRL unpacks a list of one, and PEFT would read the name as a pattern for whole paths
    if head in targets and targets != "all-linear":
        raise ValueError(f"lora_target_modules={targets} names the head {head!r}, which is trained as it is: drop it.")
    if getattr(model, "is_quantized", False):
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=training.gradient_checkpointing,
            gradient_checkpointing_kwargs=training.gradient_checkpointing_kwargs,
        )
    elif training.gradient_checkpointing:
        model.enable_input_require_grads()
    config = get_peft_config(model_config)
    config.target_modules = targets if isinstance(targets, str) else set(targets)
    config.modules_to_save = sorted({head, *(model_config.lora_modules_to_save or [])})
    # PEFT keeps "all-linear" off the head of sequence classifiers only.
    config.exclude_modules = [head]
    getattr(model, head).to(torch.float32)
    cast_head_input(model)
    adapted: nn.Module = get_peft_model(model, config, revision=model_config.model_revision)
    return adapted


def describe_layers(model: nn.Module, pattern: str) -> str:
    """The pattern with the layers that it means in this model, as they are printed side by side."""
    base = transformers_model(model)
    if is_encoder(text_config(base)):
        return f'unmask="{pattern}" (an encoder: every layer sees both sides){_describe_dropped(base)}'
    num_layers = len(find_decoder_stack(model).layers)
    layers = LayerPattern.parse(pattern).layers(num_layers)
    found = f"layers {format_layers(layers)} of {num_layers} are bidirectional (0 = input side)"
    if not layers:
        found = f"all {num_layers} layers are causal"
    return f'unmask="{pattern}": {found}{_describe_dropped(base)}'


def num_dropped_layers(model: nn.Module) -> int:
    """How many layers of its base model a tagger lacks: the last ones, dropped by `num_hidden_layers`."""
    record: dict[str, Any] = getattr(transformers_model(model).config, RECORD, {})
    return int(record.get("num_dropped_layers", 0))


def _describe_dropped(model: PreTrainedModel) -> str:
    dropped = num_dropped_layers(model)
    if not dropped:
        return ""
    depth = dropped + (num_decoder_layers(text_config(model)) or 0)
    return f"; the base model has {depth}, of which the last {dropped} are dropped"
