"""Finding a model's decoder layers and their softmax attention, by structure instead of by model family.

What depends on how transformers builds and names its decoders is in this file; `_classifier` has the heads.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal, TypeAlias

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from ._errors import UnsupportedModelError

Kernel: TypeAlias = Literal["eager", "sdpa", "flex", "flash"]

_KERNEL_OF_MASK_FUNCTION: Final[dict[str, Kernel]] = {
    "eager_mask": "eager",
    "sdpa_mask": "sdpa",
    "flex_attention_mask": "flex",
    "flash_attention_mask": "flash",
}
# Zamba's layers take two masks: the attention's is `causal_mask`, and `attention_mask` is for the state-space part.
_MASK_NAMES: Final = ("causal_mask", "attention_mask", "attn_mask", "mask")
_CACHE_NAMES: Final = ("past_key_values", "past_key_value", "layer_past", "past_states")
_CROSS_ATTENTION_NAMES: Final = ("crossattention", "cross_attn", "encoder_attn", "cross_attention")

# Submodules that pick or merge keys by a causal rule of their own (DeepSeek, GLM and MiniMax sparse attention).
_KEY_SELECTORS: Final = ("indexer", "compressor")


@dataclass(frozen=True)
class DecoderLayer:
    """One decoder layer of a model.

    Attributes:
        index: zero-based, counted from the embedding side.
        name: the module's path in the model.
        module: the layer itself.
        attentions: its self-attention modules; empty for a linear, state-space or convolution layer.
        kind: for people: what the layer mixes tokens with.
        obstacle: why it cannot be unmasked, empty if it can.
    """

    index: int
    name: str
    module: nn.Module
    attentions: tuple[nn.Module, ...]
    kind: str
    obstacle: str


@dataclass(frozen=True)
class DecoderStack:
    """A model's decoder layers, and the transformers models around them.

    Attributes:
        model: the outermost transformers model.
        wrappers: that one and every transformers model inside it that runs the layers, outermost first.
        layers: the decoder layers from the embedding side.
    """

    model: PreTrainedModel
    wrappers: tuple[PreTrainedModel, ...]
    layers: tuple[DecoderLayer, ...]

    @property
    def runner(self) -> PreTrainedModel:
        """The innermost model, which takes token ids and runs the layers without any head."""
        return self.wrappers[-1]

    @property
    def config(self) -> PreTrainedConfig:
        """The configuration of the decoder, inside a multimodal model that of its text part."""
        return text_config(self.model)


@dataclass(frozen=True)
class ForwardNames:
    """What a layer's `forward` calls its arguments; None where it has no such argument."""

    mask: str | None
    cache: str | None
    parameters: tuple[str, ...]

    @classmethod
    def of(cls, module: nn.Module) -> "ForwardNames":
        """Read the names from the signature of the module's class (an instance's `forward` may be wrapped)."""
        parameters = tuple(inspect.signature(type(module).forward).parameters)[1:]
        return cls(
            mask=_first(parameters, _MASK_NAMES),
            cache=_first(parameters, _CACHE_NAMES),
            parameters=parameters,
        )

    def get(self, name: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The value of an argument in one call, None where it was not given."""
        if name is None or name in kwargs or name not in self.parameters:
            return kwargs.get(name) if name else None
        place = self.parameters.index(name)
        return args[place] if place < len(args) else None

    def put(
        self, name: str, value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call with one argument replaced."""
        place = self.parameters.index(name)
        if name not in kwargs and place < len(args):
            return (*args[:place], value, *args[place + 1 :]), kwargs
        return args, {**kwargs, name: value}


def find_decoder_stack(model: nn.Module) -> DecoderStack:
    """The decoder layers of a transformers model, bare or wrapped (PEFT, DistributedDataParallel, torch.compile, ...).

    Raises:
        UnsupportedModelError: no transformers model with a list of `num_hidden_layers` decoder layers is inside.
    """
    base = transformers_model(model)
    config = text_config(base)
    if config.is_encoder_decoder and base.config.is_encoder_decoder:
        raise UnsupportedModelError(
            f"{type(base).__name__} is an encoder-decoder model: its encoder already sees both sides, and its decoder "
            f"writes text; decausal unmasks decoder-only models."
        )
    depth = num_decoder_layers(config)
    # get_decoder() keeps the layers of a vision tower out; what it returns for some models is their head.
    for part in (_decoder(base), base):
        for modules in part.modules():
            if isinstance(modules, nn.ModuleList) and len(modules) == depth and _are_decoder_layers(modules):
                return _stack(base, config, modules)
    raise UnsupportedModelError(
        f"{type(base).__name__} (model_type={config.model_type!r}) has no list of decoder layers (num_hidden_layers="
        f"{depth}) that take an attention mask; decausal cannot tell where its tokens look."
    )


def transformers_model(module: nn.Module) -> PreTrainedModel:
    """The transformers model inside of a module, or the module itself.

    Raises:
        TypeError: it is no module.
        UnsupportedModelError: there is none, or more than one.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"model={module!r} is of type {type(module).__name__}: give the loaded model itself.")
    found = [inner for inner in module.modules() if isinstance(inner, PreTrainedModel)]
    if not found:
        raise UnsupportedModelError(
            f"{type(module).__name__} holds no transformers PreTrainedModel, so its decoder layers are unknown."
        )
    inside = set(found[0].modules())
    if any(inner not in inside for inner in found):
        raise UnsupportedModelError(
            f"{type(module).__name__} holds several transformers models; decausal takes them one at a time."
        )
    return found[0]


def text_config(model: PreTrainedModel) -> PreTrainedConfig:
    """The configuration of a model's text decoder."""
    config: PreTrainedConfig = model.config.get_text_config(decoder=True)
    return config


def attention_kernel(config: PreTrainedConfig) -> Kernel:
    """The kind of mask that the configured attention implementation works with.

    Raises:
        UnsupportedModelError: transformers builds no mask for this implementation, so it can only be causal.
    """
    implementation = config._attn_implementation
    # transformers builds masks only for implementations that were registered for all of it, not for one instance.
    is_known = implementation in ALL_MASK_ATTENTION_FUNCTIONS._global_mapping
    function = ALL_MASK_ATTENTION_FUNCTIONS[implementation] if is_known else None
    kernel = _KERNEL_OF_MASK_FUNCTION.get(getattr(function, "__name__", ""))
    if kernel is None:
        raise UnsupportedModelError(
            f"attn_implementation={implementation!r}: transformers hands this attention no mask that can be opened "
            f"(paged, custom and sage attention decide for themselves what a token sees); load the model with "
            f'attn_implementation="sdpa", "eager", "flex_attention" or "flash_attention_2".'
        )
    return kernel


def peft_passes_hooks_by() -> bool:
    """Whether the installed PEFT calls the `forward` of the model that it wraps, past its hooks (before 0.21)."""
    try:
        installed = version("peft")
    except PackageNotFoundError:
        return False
    return tuple(map(int, installed.split(".")[:2])) < (0, 21)


def writes_text(model: PreTrainedModel) -> bool:
    """Whether a model's logits are of the next token: it generates, or has a vocabulary head without doing so."""
    return model.can_generate() or model.get_output_embeddings() is not None


def is_encoder(config: PreTrainedConfig) -> bool:
    """Whether the architecture was pretrained to see both sides (BERT, RoBERTa, ModernBERT, ...) and is used so."""
    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)


def encoder_message(config: PreTrainedConfig, name: str = "The model") -> str:
    """Why an encoder is refused, and what to write instead."""
    return (
        f"{name} (model_type={config.model_type!r}) is an encoder: its layers already see both sides. "
        f'Use unmask="none".'
    )


def _decoder(model: PreTrainedModel) -> nn.Module:
    decoder: nn.Module = model.get_decoder()
    return decoder


def num_decoder_layers(config: PreTrainedConfig) -> int | None:
    """The number of decoder layers that a configuration asks for; None where it does not say."""
    # The decoder half of BART's descendants keeps its own number; there num_hidden_layers is the encoder's.
    depth: int | None = getattr(config, "decoder_layers", None) or getattr(config, "num_hidden_layers", None)
    return depth


def tokens_dim(hidden: Tensor, query_len: int) -> int:
    """Which dimension of a layer's hidden states counts tokens; the one before it counts rows.

    Most layers take (batch, query_len, hidden_size); some carry several streams, on either side of the tokens.
    """
    return next((dim for dim in range(1, hidden.ndim) if hidden.shape[dim] == query_len), 1)


def _are_decoder_layers(modules: nn.ModuleList) -> bool:
    return any(ForwardNames.of(_unwrapped(module)).mask is not None for module in modules)


def _unwrapped(module: nn.Module) -> nn.Module:
    """The layer inside of what torch.compile, activation checkpointing or FSDP may have put around it."""
    while ForwardNames.of(module).mask is None and len(children := list(module.children())) == 1:
        module = children[0]
    return module


def _stack(base: PreTrainedModel, config: PreTrainedConfig, modules: nn.ModuleList) -> DecoderStack:
    path = next(name for name, module in base.named_modules() if module is modules)
    wrappers = tuple(
        module
        for module in base.modules()
        if isinstance(module, PreTrainedModel) and any(inner is modules for inner in module.modules())
    )
    inner = [_unwrapped(module) for module in modules]
    is_attention = _declares_causality if any(_find(module, _declares_causality) for module in inner) else _takes_mask
    layers = tuple(
        _layer(config, index, f"{path}.{index}", module, _find(module, is_attention))
        for index, module in enumerate(inner)
    )
    return DecoderStack(base, wrappers, layers)


def _layer(
    config: PreTrainedConfig, index: int, name: str, module: nn.Module, attentions: tuple[nn.Module, ...]
) -> DecoderLayer:
    types = getattr(config, "layer_types", None)
    layer_type = types[index] if types and index < len(types) else None
    mixer = type(attentions[0]).__name__ if attentions else type(module).__name__
    kind = f"{layer_type} ({mixer})" if layer_type else mixer
    return DecoderLayer(index, name, module, attentions, kind, _obstacle(module, attentions))


def _obstacle(layer: nn.Module, attentions: tuple[nn.Module, ...]) -> str:
    parameters = inspect.signature(type(layer).forward).parameters
    mask = ForwardNames.of(layer).mask
    if not attentions or mask is None:
        return "it has no softmax attention over a mask (a linear, state-space or convolution layer only looks left)"
    if {"mask", "attention_mask"} <= parameters.keys():  # CTRL in transformers 5.6; no longer in 5.16
        return "it takes its causal mask and its padding mask apart"
    if "dict" in str(parameters[mask].annotation):
        return "it takes its masks as a dictionary"
    return next((found for attention in attentions if (found := _rule_of_its_own(attention))), "")


def _rule_of_its_own(attention: nn.Module) -> str:
    """What in an attention module decides which keys are seen, besides the mask that it is given; empty if nothing."""
    for name, buffer in attention.named_buffers(recurse=False):
        if buffer.ndim >= 2 and buffer.shape[-1] == buffer.shape[-2]:
            return f"its attention keeps a causal mask of its own, the buffer {name!r}"
    for name, _ in attention.named_children():
        if name in _KEY_SELECTORS:
            return f"its attention picks its keys by a causal rule of its own, the module {name!r}"
    for name in inspect.signature(type(attention).forward).parameters:
        if "topk" in name:  # HY-V4, GLM-DSA: layers that reuse what an earlier one picked
            return f"its attention is given the keys that a causal rule picked in an earlier layer ({name!r})"
    # DiffLlama, Moshi and Nemotron in transformers 5.6; in 5.16 they go by is_causal like all others.
    if type(attention).__name__.endswith("SdpaAttention"):
        return 'its attention is causal wherever it is given no mask; use attn_implementation="eager"'
    if hasattr(attention, "chunk_length"):
        return "its attention looks within chunks by a causal rule of its own"
    if getattr(attention, "attention_type", "") == "block_sparse":
        return "its attention skips blocks of keys in long texts (attention_type='block_sparse')"
    if getattr(attention, "is_kv_shared_layer", False):
        return "it has no keys of its own, but reads those of an earlier layer"
    return ""


def _find(layer: nn.Module, is_attention: Callable[[nn.Module], bool]) -> tuple[nn.Module, ...]:
    """The innermost self-attention modules of a layer."""
    found: list[nn.Module] = []
    for name, module in layer.named_modules():
        is_cross = any(part in _CROSS_ATTENTION_NAMES for part in name.split("."))
        if not is_cross and is_attention(module) and not any(is_attention(inner) for inner in module.children()):
            found.append(module)
    return tuple(found)


def _declares_causality(module: nn.Module) -> bool:
    return isinstance(getattr(module, "is_causal", None), bool)


def _takes_mask(module: nn.Module) -> bool:
    # Older architectures compute softmax(QK + mask) themselves and have no is_causal switch: the mask is all they obey.
    return type(module).__name__.endswith("Attention") and ForwardNames.of(module).mask is not None


def _first(names: tuple[str, ...], wanted: tuple[str, ...]) -> str | None:
    return next((name for name in wanted if name in names), None)
