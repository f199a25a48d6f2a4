"""The real models of the recipes: of their published config.json what shapes them, and how many parameters they have.

There is no hub where the tests run. Both are public: the configurations are those of the models' pages on the hub, and
the totals what the hub reads from their safetensors files, unless another source is named.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RealModel:
    """A model as it was published.

    Attributes:
        num_parameters: those below the new head: the published total less what a token classifier leaves out.
        num_linears: linear layers in each of its layers.
        config: its config.json.
    """

    num_parameters: int
    num_linears: int
    config: dict[str, Any]

    @property
    def num_layers(self) -> int:
        return self.config["num_hidden_layers"]

    def save(self, directory: Path) -> str:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps(self.config), encoding="utf-8")
        return str(directory)


_LLAMA_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
_SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
}

REAL_MODELS = {
    # 6,738,415,616 with the LM head.
    "meta-llama/Llama-2-7b-hf": RealModel(6_738_415_616 - 32_000 * 4096, 7, _LLAMA_7B),
    "mistralai/Mistral-7B-v0.3": RealModel(
        7_248_023_552 - 32_768 * 4096,
        7,
        {
            "model_type": "mistral",
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 32768,
            "intermediate_size": 14336,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "tie_word_embeddings": False,
        },
    ),
    "meta-llama/Llama-3.1-8B": RealModel(
        8_030_261_248 - 128_256 * 4096,
        7,
        {
            "model_type": "llama",
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
            "intermediate_size": 14336,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
            "tie_word_embeddings": False,
        },
    ),
    "Qwen/Qwen3-8B-Base": RealModel(
        8_190_735_360 - 151_936 * 4096,
        7,
        {
            "model_type": "qwen3",
            "hidden_size": 4096,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "intermediate_size": 12288,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000,
            "tie_word_embeddings": False,
        },
    ),
    # The LM head is the embedding matrix, counted once.
    "google/gemma-2-9b": RealModel(
        9_241_705_984,
        7,
        {
            "model_type": "gemma2",
            "hidden_size": 3584,
            "num_hidden_layers": 42,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "vocab_size": 256000,
            "intermediate_size": 14336,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "query_pre_attn_scalar": 256,
            "sliding_window": 4096,
            "hidden_activation": "gelu_pytorch_tanh",
        },
    ),
    # As above.
    "HuggingFaceTB/SmolLM2-135M-Instruct": RealModel(134_515_008, 7, _SMOLLM2),
    # The same model, where scripts/prepare_smollm2.py puts it.
    "models/smollm2-135m": RealModel(134_515_008, 7, _SMOLLM2),
    "JackFram/llama-68m": RealModel(
        68_030_208 - 32_000 * 768,
        7,
        {
            "model_type": "llama",
            "hidden_size": 768,
            "num_hidden_layers": 2,
            "num_attention_heads": 12,
            "vocab_size": 32000,
            "intermediate_size": 3072,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
        },
    ),
    # Of `RobertaModel`, whose pooler (1024 x 1024 and a bias) a token classifier leaves out.
    "FacebookAI/roberta-large": RealModel(
        355_359_744 - 1024 * 1024 - 1024,
        6,
        {
            "model_type": "roberta",
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "vocab_size": 50265,
            "intermediate_size": 4096,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "pad_token_id": 1,
        },
    ),
    # With the LM head, whose bias alone a token classifier leaves out.
    "answerdotai/ModernBERT-large": RealModel(
        395_881_664 - 50_368,
        4,
        {
            "model_type": "modernbert",
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "vocab_size": 50368,
            "intermediate_size": 2624,
            "max_position_embeddings": 8192,
            "norm_eps": 1e-5,
            "norm_bias": False,
            "attention_bias": False,
            "mlp_bias": False,
            "classifier_bias": False,
            "classifier_dropout": 0.0,
            "global_attn_every_n_layers": 3,
            "global_rope_theta": 160000.0,
            "local_attention": 128,
            "local_rope_theta": 10000.0,
            "pad_token_id": 50283,
        },
    ),
    # Of `BertModel`, whose pooler a token classifier leaves out.
    "sentence-transformers/all-MiniLM-L6-v2": RealModel(
        22_713_216 - 384 * 384 - 384,
        6,
        {
            "model_type": "bert",
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "vocab_size": 30522,
            "intermediate_size": 1536,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "pad_token_id": 0,
        },
    ),
    # What recipes/pretrain_68m makes: 67,994,457 parameters with the LM head (a dense layer, a norm, and a bias).
    "outputs/roberta-68m-causal": RealModel(
        67_994_457 - (768 * 768 + 768) - 2 * 768 - 50_265,
        6,
        {
            "model_type": "roberta",
            "is_decoder": True,
            "hidden_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 12,
            "vocab_size": 50265,
            "intermediate_size": 3072,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "pad_token_id": 1,
        },
    ),
}
