"""Every causal language model of the installed transformers, shrunk to a few thousand random weights.

`MODEL_TYPES` is transformers' own list. `build` makes one of them small by the names that configurations share
(`num_hidden_layers`, `n_layer`, ...); `_EXCEPTIONS` holds what those names do not reach, and `NOT_BUILT` the
model types that cannot be made, with the reason.
"""

from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

MODEL_TYPES: tuple[str, ...] = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
NUM_LAYERS = 4
VOCAB_SIZE = 96
WIDE_WINDOW = 64
NARROW_WINDOW = 3

_DRAFTS = "a drafting head on the keys and values of another model; it cannot run alone"
NOT_BUILT: dict[str, str] = {
    "gemma3n": "needs the timm package for its vision tower; its text model gemma3n_text is built",
    "gemma4_assistant": _DRAFTS,
    "gemma4_unified_assistant": _DRAFTS,
}

_PROMISED = """
    llama mistral ministral ministral3 mixtral qwen2 qwen2_moe qwen3 qwen3_moe gemma gemma2 gemma3_text gemma3
    phi phi3 phimoe gpt2 gpt_neox opt falcon bloom mpt gptj starcoder2 olmo olmo2 olmo3 olmoe granite granitemoe
    cohere cohere2 cohere2_moe smollm3 deepseek_v2 deepseek_v3 glm4 glm4_moe gpt_oss stablelm biogpt
"""
PROMISED = tuple(_PROMISED.split())
"""The model types of which every layer is to be exact."""

_DEPTHS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    *("decoder_layers", "num_decoder_layers", "num_blocks"),
)
_WINDOWS = (
    *("sliding_window", "sliding_window_size", "window_size"),
    *("local_attention", "attention_window_size", "attention_chunk_size"),
)
_TOKEN_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}

# No axis of hidden states is as long as a test batch has rows (3) or tokens (5): length tells the axes apart.
_SIZES: dict[int, str] = {
    VOCAB_SIZE: """
        vocab_size decoder_vocab_size vocab_size_per_layer_input pronunciation_vocab_size
        shape_vocab_size encoder_hash_byte_group_vocab
    """,
    64: """
        hidden_size_global intermediate_size ffn_dim ffn_hidden_size dff d_inner decoder_ffn_dim
        encoder_ffn_dim dim_ff feed_forward_size intermediate_size_mlp dense_intermediate_size
        max_position_embeddings n_positions n_ctx max_seq_len max_target_positions context_length
        original_max_position_embeddings mamba_d_ssm
    """,
    32: """
        hidden_size n_embd d_model emb_dim embedding_size word_embed_proj_dim input_embedding_size
        output_embedding_size embedding_dim lru_width pronunciation_embed_dim shape_embed_dim
        ple_embed_dim backbone_hidden_size split_ngram_parts
    """,
    24: """
        moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size
        expert_ffn_hidden_size moe_shared_expert_intermediate_size shared_experts_intermediate_size
        router_hidden_size
    """,
    16: """
        kv_lora_rank q_lora_rank d_rel o_lora_rank mamba_d_state ssm_state_size state_size
        hc_lowrank gated_norm_rank mamba_headdim mamba_d_head mamba_head_dim prompt_length
        position_bias_num_buckets qk_head_dim
    """,
    8: """
        head_dim dim_head d_head kv_channels attention_head_size swa_head_dim qk_nope_head_dim
        qk_rope_head_dim v_head_dim index_head_dim linear_head_dim linear_key_head_dim
        linear_value_head_dim global_head_dim rotary_dim chunk_size mamba_chunk_size laurel_rank
        hidden_size_per_layer_input adapter_rank
    """,
    6: """
        num_experts num_local_experts n_routed_experts moe_num_experts zero_expert_num
    """,
    4: """
        num_attention_heads n_head n_heads attention_heads decoder_attention_heads
        encoder_attention_heads num_decoder_attention_heads num_encoder_attention_heads num_heads
        swa_num_attention_heads linear_num_heads linear_num_key_heads linear_num_value_heads
        mamba_num_heads mamba_n_heads index_n_heads
    """,
    2: """
        num_key_value_heads num_kv_heads swa_num_key_value_heads num_experts_per_tok
        num_experts_per_token moe_topk moe_k encoder_layers num_encoder_layers depth n_groups index_topk
    """,
    1: """
        n_group topk_group num_expert_group first_k_dense_replace num_dense_layers
    """,
}
_SIZE_OF: dict[str, int] = {name: size for size, names in _SIZES.items() for name in names.split()}

_ENCODERS = """
    bert bert-generation big_bird camembert data2vec-text electra ernie megatron-bert rembert roberta
    roberta-prelayernorm roc_bert roformer xlm-roberta xlm-roberta-xl xmod
"""
ENCODERS: tuple[str, ...] = tuple(_ENCODERS.split())
"""They see both sides unless their configuration says is_decoder=True."""

_UPPER_HALF_SLIDES = {
    "use_sliding_window": True,
    "layer_types": ["full_attention", "full_attention", "sliding_attention", "sliding_attention"],
}
_EXCEPTIONS: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    # Byte patches: the global model reads two concatenated local states.
    "blt_global_transformer": {"hidden_size": 64, "head_dim": 16},
    "cpmant": {"prompt_length": 0},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
            "full_attention": None,
        },
    },
    # Its attention reads a name that its own configuration class lacks.
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 24},
    },
    "deepseek_v4": {
        "layer_types": [
            "sliding_attention",
            "compressed_sparse_attention",
            "heavily_compressed_attention",
            "sliding_attention",
        ],
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "n_shared_experts": 1},
    "dots1": {"n_routed_experts": 6, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "dots3_note_vision_encoder": {"adapter_in_dim": 32, "adapter_out_dim": 32, "pyramid_num_routed": [-1, 4]},
    "dots3_note_audio_encoder": {"adapter_input_size": 32, "adapter_out_dim": 32},
    "dots3_note_text": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 16,
        "swa_kv_lora_rank": 16,
        "swa_head_dim": 16,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
    },
    "gemma3n_text": {
        "intermediate_size": 64,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
    },
    "gemma4_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "global_head_dim": 8,
    },
    "gemma4_unified_text": {"global_head_dim": 8},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "laguna": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_attention_heads_per_layer": None,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2, "full_attn_idxs": None},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"head_dim": 16},
    "minimax_m3_vl_text": {"layer_types": ["full_attention", "minimax_m3_sparse"] * 2},
    "musicgen_decoder": {"num_codebooks": 1},
    "musicgen_melody_decoder": {"num_codebooks": 1},
    "nemotron": {"num_key_value_heads": 2},
    "qwen2": _UPPER_HALF_SLIDES,
    "qwen2_moe": _UPPER_HALF_SLIDES,
    "qwen3": _UPPER_HALF_SLIDES,
    "qwen3_moe": {"use_sliding_window": True},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 32,
        "indexer_compress_ratio": 2,
    },
    "reformer": {"is_decoder": True, "hash_seed": 0, "axial_pos_embds": False, "attn_layers": ["local", "lsh"] * 2},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "linear_attention", "hybrid", "hybrid"]},
    "zamba2": {"n_mamba_heads": 4},
    "zaya": {
        "num_experts_per_tok": 1,
        "layer_types": ["hybrid_sliding", "hybrid"] * 2,
        "sliding_window": WIDE_WINDOW,
    },
}


def build(
    model_type: str, attn_implementation: str = "eager", window: int = WIDE_WINDOW, is_decoder: bool = True
) -> PreTrainedModel:
    """A small random model of a type, in evaluation mode, float32, with effects large enough to see.

    Args:
        model_type: one of `MODEL_TYPES`.
        attn_implementation: as in transformers.
        window: the reach of sliding windows, in tokens; a narrow one is also set where the type has none by default.
        is_decoder: False leaves an encoder (BERT, ...) an encoder.
    """
    config = small_config(model_type, window, is_decoder)
    torch.manual_seed(0)
    how = {"attn_implementation": attn_implementation, "dtype": torch.float32}
    if model_type.startswith("musicgen"):  # its causal class takes the decoder's configuration
        model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]._from_config(config.decoder, **how)
    else:
        model = AutoModelForCausalLM.from_config(config, **how)
    with torch.no_grad():
        for parameter in model.parameters():
            # On top of what the model chose (norms near 1, decay rates), so that nothing stays zero or tiny.
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    return model.eval()


def small_config(model_type: str, window: int = WIDE_WINDOW, is_decoder: bool = True) -> PretrainedConfig:
    """The configuration of what `build` builds."""
    settings = _shrink(CONFIG_MAPPING[model_type], window)
    if model_type in ENCODERS:
        settings["is_decoder"] = is_decoder
    return CONFIG_MAPPING[model_type](**settings)


def decoder_layers(model: PreTrainedModel) -> tuple[nn.Module, ...]:
    """The layers of a built model's text decoder; none where it has more than one stack."""
    lists = [
        (name, modules)
        for name, modules in model.named_modules()
        if isinstance(modules, nn.ModuleList) and len(modules) == NUM_LAYERS
    ]
    names = [name for name, _ in lists]
    stacks = [modules for name, modules in lists if not any(name.startswith(f"{outer}.") for outer in names)]
    return tuple(stacks[0]) if len(stacks) == 1 else ()


def layer_kinds(model: PreTrainedModel) -> tuple[str, ...]:
    """What transformers calls each layer of a built model: `"sliding"`, ...; `"full"` where it does not say."""
    kinds = getattr(model.config.get_text_config(decoder=True), "layer_types", None) or ()
    if len(kinds) != NUM_LAYERS:
        return ("full",) * NUM_LAYERS
    return tuple(kind.removesuffix("_attention") for kind in kinds)


def can_have_windows(model: PreTrainedModel) -> bool:
    """Whether the configuration of a built model can limit the number of tokens that a layer sees."""
    config = model.config.get_text_config(decoder=True)
    return any(hasattr(config, name) for name in _WINDOWS)


def _shrink(config_class: type[PretrainedConfig], window: int, depth: int = NUM_LAYERS) -> dict[str, Any]:
    default = config_class()
    values = default.to_dict()
    small: dict[str, Any] = {
        name: _SIZE_OF[name]
        for name, value in values.items()
        if name in _SIZE_OF and (value is not None or name == "head_dim")
    }
    small |= {name: depth for name in _DEPTHS if isinstance(values.get(name), int)}
    is_narrow = window < WIDE_WINDOW
    small |= {name: window for name in _WINDOWS if values.get(name) or (is_narrow and name in values)}
    small |= {name: token for name, token in _TOKEN_IDS.items() if values.get(name) is not None}
    small |= _shrink_per_layer_lists(values)
    if "kv_lora_rank" in values:  # latent attention has as many key heads as query heads
        small["num_key_value_heads"] = small["num_attention_heads"]
    for name, part in vars(default).items():
        if isinstance(part, PretrainedConfig):
            is_text = name in ("text_config", "decoder")
            small[name] = _shrink(type(part), window, depth=NUM_LAYERS if is_text else 2)
    return small | _EXCEPTIONS.get(config_class.model_type, {})


def _shrink_per_layer_lists(values: dict[str, Any]) -> dict[str, list[Any]]:
    """The lists with one entry a layer (`layer_types`, ...), cut to layers that show every kind there is."""
    depth = next((values[name] for name in _DEPTHS if isinstance(values.get(name), int)), None)
    lists = {name: value for name, value in values.items() if isinstance(value, list) and len(value) == depth}
    rows = [str(row) for row in zip(*lists.values(), strict=True)]
    firsts = [rows.index(row) for row in dict.fromkeys(rows)]
    others = [layer for layer in range(len(rows)) if layer not in firsts]
    kept = sorted((firsts + others)[:NUM_LAYERS])
    return {name: [value[layer] for layer in kept] for name, value in lists.items()}
