"""What is known of a recipe's base model before its weights are read."""

from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerFast

from decausal._tokenizer import load_tokenizer
from decausal._weights import ADAPTER_CONFIG, check_place
from decausal.tagging.arguments import TaggingArguments, TaggingModelConfig


def read_config(model_config: TaggingModelConfig) -> PreTrainedConfig:
    """The configuration of the base model.

    Raises:
        OSError: neither a directory nor a model that the hub delivers.
        ValueError: the directory holds an adapter, or no model.
    """
    name = str(model_config.model_name_or_path)
    check_place(name)
    if (Path(name) / ADAPTER_CONFIG).is_file():
        raise ValueError(
            f"model_name_or_path={name} holds an adapter, and training begins with a base model: give the one that "
            f"the adapter was trained on, or go on with that run by --resume_from_checkpoint true."
        )
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            name, revision=model_config.model_revision, trust_remote_code=model_config.trust_remote_code
        )
    except (OSError, ValueError) as error:
        kind = "directory" if Path(name).is_dir() else "model on this machine or the hub"
        raise type(error)(f"model_name_or_path={name}: no {kind} that can be read: {error}") from error
    return config


def longest_input(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast) -> int:
    """How many sub-words the model takes: positions that it was built with, or fewer if the tokenizer knows better."""
    positions: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return min(tokenizer.model_max_length, positions or tokenizer.model_max_length)


def base_tokenizer(tagging: TaggingArguments, model_config: TaggingModelConfig) -> PreTrainedTokenizerFast:
    """The tokenizer of the base model, which pads on the right.

    Raises:
        OSError: neither a directory nor a model that the hub delivers.
        ValueError: as `load_tokenizer` says.
    """
    tokenizer = load_tokenizer(
        str(model_config.model_name_or_path),
        add_prefix_space=tagging.add_prefix_space,
        revision=model_config.model_revision,
        trust_remote_code=model_config.trust_remote_code,
    )
    tokenizer.padding_side = "right"
    return tokenizer
