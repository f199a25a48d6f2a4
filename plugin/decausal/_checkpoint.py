"""The pattern as data: how it travels with a saved model, and how a saved model gets it back."""

import json
import warnings
from pathlib import Path
from typing import Any, cast, get_args

import torch
import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
from transformers.quantizers.auto import AutoQuantizationConfig
from transformers.utils.hub import cached_file

from ._attach import RECORD, unmask
from ._classifier import cast_head_input, token_classification_class
from ._errors import CheckpointError, UnsupportedModelError
from ._layers import encoder_message, is_encoder, num_decoder_layers, transformers_model
from ._masks import Scope, Window
from ._pattern import LayerPattern
from ._tokenizer import load_tokenizer, read_tokenizer
from ._weights import ADAPTER_CONFIG, check_weights, load_weights


def load(
    path: str | Path,
    *,
    device_map: str | dict[str, Any] | None = None,
    dtype: torch.dtype | str | None = None,
    base_model: str | None = None,
    quantized: bool = True,
    **kwargs: Any,
) -> tuple[Any, Any]:
    """A saved model with its pattern applied, in evaluation mode, and its tokenizer.

    Reads what a training run saved: a whole model, or a LoRA adapter with its head beside the model's `config.json`.
    Weights are read from safetensors only.

    Args:
        path: the saved directory.
        device_map: as in `from_pretrained`.
        dtype: as in `from_pretrained`; by default what the checkpoint was trained in.
        base_model: where the adapter's base model is now, if it has moved.
        quantized: load the base model of a QLoRA run in the quantisation that it was trained in.
        **kwargs: more arguments of `from_pretrained`.

    Returns:
        `(model, tokenizer)`. `Handle.of(model)` pauses or removes what is attached.

    Raises:
        CheckpointError: the directory holds no checkpoint, a weights file is damaged, or the recorded pattern is
            missing or contradicts the model. Says what to do.
        UnsupportedModelError: the pattern cannot be applied to this model here.
    """
    directory = Path(path)
    options = {"device_map": device_map, "dtype": dtype, **kwargs}
    model = load_model(directory, base_model=base_model, quantized=quantized, **options)
    source: str | Path = directory
    if (directory / ADAPTER_CONFIG).is_file() and not any(directory.glob("tokenizer*")):
        # ms-swift saves no tokenizer beside an adapter, which leaves that of the base model as it is.
        source = base_model or _base_of(directory)[0]
    return model, _load_tokenizer(source, getattr(transformers_model(model).config, RECORD))


def load_model(directory: Path, *, base_model: str | None = None, quantized: bool = True, **options: Any) -> Any:
    """What `load` loads, without a tokenizer, which may not be there; takes its arguments, and raises its errors."""
    config = _read_config(directory)
    record = read_record(config, directory)
    is_adapter = (directory / ADAPTER_CONFIG).is_file()
    options = {"dtype": None, "use_safetensors": True, **options}
    if is_adapter and (quantization := take_quantization(config)) is not None and quantized:
        options["quantization_config"] = quantization
    check_weights(directory)
    source, task = str(directory), None
    if is_adapter:
        source, revision, task = _base_of(directory)
        options = {"revision": revision, **options} if base_model is None else options
        source = base_model or source
    model_class = _model_class(directory, config, task)
    base = _from_pretrained(model_class, source, directory, {"config": config, "lacks_head": is_adapter, **options})
    unmask(base, record["unmask"], scope=record["scope"], window=record["window"])
    setattr(base.config, RECORD, record)
    cast_head_input(base)
    return (_load_adapter(base, directory) if is_adapter else base).eval()


def read_record(config: PreTrainedConfig, directory: Path) -> dict[str, Any]:
    """The pattern's entry in a saved configuration, checked against the model that the configuration describes.

    Raises:
        CheckpointError: there is none, or depth, model type or layers contradict it.
    """
    record = getattr(config, RECORD, None)
    if not isinstance(record, dict):
        raise CheckpointError(
            f'{directory}: config.json has no "{RECORD}" entry, so nothing says which layers were unmasked. If the '
            f"model was trained causal, load it with transformers; if it was unmasked, load it with transformers and "
            f"call decausal.unmask(model, PATTERN)."
        )
    if record.get("scope") not in get_args(Scope) or record.get("window") not in get_args(Window):
        raise CheckpointError(
            f"{directory}: the recorded scope={record.get('scope')!r}, window={record.get('window')!r} are unknown to "
            f"this version, whose scopes are {', '.join(get_args(Scope))} and whose windows are "
            f"{', '.join(get_args(Window))}: load it with the version that wrote it, or restore the original "
            f"config.json."
        )
    text = config.get_text_config(decoder=True)
    depth = num_decoder_layers(text)
    for key, value in (("num_hidden_layers", depth), ("model_type", text.model_type)):
        if record.get(key) != value:
            raise CheckpointError(
                f"{directory}: the recorded pattern is for {key}={record.get(key)!r}, but config.json describes a "
                f"model with {key}={value!r}. The files belong to different models: restore the original config.json."
            )
    try:
        layers = LayerPattern.parse(record["unmask"]).layers(depth or 0)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{directory}: the recorded pattern cannot be read: {error}") from error
    if list(layers) != record.get("layers"):
        raise CheckpointError(
            f'{directory}: the recorded pattern unmask="{record["unmask"]}" means the layers {list(layers)}, but the '
            f"recorded layers are {record.get('layers')}. One of the two was edited: restore the original config.json."
        )
    return record


def record_beside(place: str | Path, **hub: Any) -> dict[str, Any] | None:
    """The pattern that a saved model or adapter records, as `read_record` reads it; None where it records none.

    Args:
        place: a directory, or a name on the hub.
        **hub: where on the hub: `revision`, `subfolder` and what else `cached_file` of transformers takes.

    Raises:
        CheckpointError: config.json is damaged, or what it records contradicts the rest of it.
        OSError: the hub cannot be reached, so that nobody knows.
    """
    try:
        file = cached_file(str(place), "config.json", **hub)
    except OSError as error:
        raise OSError(
            f"whether {place} records a pattern cannot be known, since its config.json is not here and the hub does "
            f"not answer: {error}"
        ) from error
    if file is None:  # plain PEFT saves no configuration beside an adapter
        return None
    try:
        has_record = RECORD in json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    return read_record(_read_config(Path(file).parent), Path(place)) if has_record else None


def take_quantization(config: PreTrainedConfig) -> Any:
    """Takes out of the configuration beside an adapter how its base model is to be quantised; None where it is not.

    Left there, it would say that the base model's files are quantised already; they are not.
    """
    quantization = getattr(config, "quantization_config", None)
    if quantization is None:
        return None
    del config.quantization_config
    as_dict = quantization if isinstance(quantization, dict) else quantization.to_dict()
    return AutoQuantizationConfig.from_dict(as_dict)


def make_record(config: PreTrainedConfig, pattern: str | LayerPattern, window: str = "symmetric") -> dict[str, Any]:
    """The entry that `read_record` reads, for a model that is about to be saved.

    Raises:
        ValueError: the pattern does not fit the model's depth.
        UnsupportedModelError: the model is an encoder, and the pattern is not `"none"`.
    """
    text = config.get_text_config(decoder=True)
    parsed, depth = LayerPattern.parse(pattern), num_decoder_layers(text)
    if parsed.text != "none" and is_encoder(text):
        raise UnsupportedModelError(encoder_message(text))
    return {
        "unmask": str(parsed),
        "layers": list(parsed.layers(depth or 0)),
        "num_hidden_layers": depth,
        "model_type": text.model_type,
        "scope": "all",
        "window": window,
    }


def _read_config(directory: Path) -> PreTrainedConfig:
    if not directory.is_dir():
        raise CheckpointError(f"{directory} is no directory; give the directory that a training run saved.")
    if not (directory / "config.json").is_file():
        hint = (
            " It holds an adapter that plain PEFT saved: save the model's configuration beside it with "
            "model.config.save_pretrained(directory)."
            if (directory / ADAPTER_CONFIG).is_file()
            else ""
        )
        raise CheckpointError(f"{directory} is no checkpoint: there is no config.json in it.{hint}")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(directory)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory}/config.json cannot be read: {error}") from error
    return config


def _base_of(directory: Path) -> tuple[str, str | None, str | None]:
    """The base model that an adapter was trained on, its revision, and PEFT's name for the task."""
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(directory))
    return str(config.base_model_name_or_path), config.revision, config.task_type


def _model_class(directory: Path, config: PreTrainedConfig, task: str | None) -> type[PreTrainedModel]:
    """The class of a saved model; of an adapter, whose configuration may be the base model's, the class of its task."""
    name = (config.architectures or [""])[0]
    if task == "TOKEN_CLS" or name.endswith("ForTokenClassification"):
        return token_classification_class(config)
    if task == "SEQ_CLS" and type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return cast(type[PreTrainedModel], MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)])
    model_class: type[PreTrainedModel] | None = getattr(transformers, name, None)
    if model_class is None:
        raise CheckpointError(f"{directory}/config.json names the architecture {name!r}, which transformers lacks.")
    return model_class


def _from_pretrained(
    model_class: type[PreTrainedModel], source: str, directory: Path, options: dict[str, Any]
) -> PreTrainedModel:
    try:
        return load_weights(model_class, source, **options)
    except CheckpointError:
        raise
    except Exception as error:  # transformers, safetensors and the hub each raise their own
        raise CheckpointError(f"{directory}: the weights of {source} cannot be loaded: {error}") from error


def _load_tokenizer(directory: str | Path, record: dict[str, Any]) -> Any:
    try:
        if record["scope"] == "prompt":  # a model that writes text reads it as it was trained to
            return read_tokenizer(str(directory))
        return load_tokenizer(str(directory), add_prefix_space=record.get("add_prefix_space", True))
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(f"{directory}: the tokenizer cannot be read: {error}") from error


def _load_adapter(model: PreTrainedModel, directory: Path) -> Any:
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Found missing adapter keys")  # they would be random
            # PEFT 0.21 reads a property that transformers 5.23 has renamed; goes with the next PEFT.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            return PeftModel.from_pretrained(model, str(directory))
    except Exception as error:
        raise CheckpointError(f"{directory}: the adapter cannot be loaded: {error}") from error
