"""The pattern as data: how it travels with a saved model, and how a saved model gets it back."""

import warnings
from pathlib import Path
from typing import Any, cast, get_args

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GenericForTokenClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, MODEL_MAPPING
from transformers.quantizers.auto import AutoQuantizationConfig
from transformers.utils import logging

from ._attach import RECORD, unmask
from ._errors import CheckpointError, UnsupportedModelError
from ._layers import encoder_message, is_encoder, num_decoder_layers
from ._masks import Window
from ._pattern import LayerPattern
from ._tokenizer import load_tokenizer

ADAPTER_CONFIG = "adapter_config.json"
HEAD_NAMES = ("score", "classifier")
"""What transformers calls the head of a token classifier."""


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
        `(model, tokenizer)`.

    Raises:
        CheckpointError: the directory holds no checkpoint, a weights file is damaged, or the recorded pattern is
            missing or contradicts the model. Says what to do.
        UnsupportedModelError: the pattern cannot be applied to this model here.
    """
    directory = Path(path)
    config = _read_config(directory)
    record = read_record(config, directory)
    is_adapter = (directory / ADAPTER_CONFIG).is_file()
    options = {"device_map": device_map, "dtype": dtype, "use_safetensors": True, **kwargs}
    if is_adapter and hasattr(config, "quantization_config"):
        # Left in the configuration it would say that the base model's files are quantised already; they are not.
        quantization = config.quantization_config
        del config.quantization_config
        if quantized:
            options["quantization_config"] = AutoQuantizationConfig.from_dict(_as_dict(quantization))
    check_weights(directory)
    source: str | Path = directory
    if is_adapter:
        source, revision = _base_of(directory)
        options = {"revision": revision, **options} if base_model is None else options
        source = base_model or source
    base = _from_pretrained(source, directory, config, {"lacks_head": is_adapter, **options})
    unmask(base, record["unmask"], window=record["window"])
    setattr(base.config, RECORD, record)
    cast_head_input(base)
    model = _load_adapter(base, directory) if is_adapter else base
    return model.eval(), _load_tokenizer(directory, record)


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
    if record.get("scope") != "all" or record.get("window") not in get_args(Window):
        raise CheckpointError(
            f"{directory}: the recorded scope={record.get('scope')!r}, window={record.get('window')!r} are unknown to "
            f'this version, whose scope is "all" and whose windows are {", ".join(get_args(Window))}: load it with the '
            f"version that wrote it, or restore the original config.json."
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
    return model


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


def _as_dict(quantization: Any) -> dict[str, Any]:
    return quantization if isinstance(quantization, dict) else dict(quantization.to_dict())


def _base_of(directory: Path) -> tuple[str, str | None]:
    """The base model that an adapter was trained on, and its revision."""
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(directory))
    return str(config.base_model_name_or_path), config.revision


def _from_pretrained(
    source: str | Path, directory: Path, config: PreTrainedConfig, options: dict[str, Any]
) -> PreTrainedModel:
    name = (config.architectures or [""])[0]
    model_class = token_classification_class(config) if name.endswith("ForTokenClassification") else None
    model_class = model_class or getattr(transformers, name, None)
    if model_class is None:
        raise CheckpointError(f"{directory}/config.json names the architecture {name!r}, which transformers lacks.")
    try:
        return load_weights(model_class, source, config=config, **options)
    except CheckpointError:
        raise
    except Exception as error:  # transformers, safetensors and the hub each raise their own
        raise CheckpointError(f"{directory}: the weights of {source} cannot be loaded: {error}") from error


def _load_tokenizer(directory: Path, record: dict[str, Any]) -> Any:
    try:
        return load_tokenizer(str(directory), add_prefix_space=record.get("add_prefix_space", True))
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(f"{directory}: the tokenizer cannot be read: {error}") from error


def _load_adapter(model: PreTrainedModel, directory: Path) -> Any:
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Found missing adapter keys")  # they would be random
            return PeftModel.from_pretrained(model, str(directory))
    except Exception as error:
        raise CheckpointError(f"{directory}: the adapter cannot be loaded: {error}") from error
