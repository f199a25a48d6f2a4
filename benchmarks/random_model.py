"""A randomly initialised Mistral on disk, of its real size or tiny: for what does not depend on what was learned.

    python benchmarks/random_model.py DIRECTORY [--shape 7b] [--device cuda] [--tokenizer DIRECTORY]

The 7B one takes 14.5 GB of disk; on a GPU its weights are drawn there, one decoder layer at a time. With the tokenizer
of a real model beside it, recipes can be run on it.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, MistralConfig

from decausal._tokenizer import read_tokenizer

SHAPES = {
    # mistralai/Mistral-7B-v0.3
    "7b": {
        "vocab_size": 32768,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    },
    # Heads of 32: flex_attention on CUDA takes 16 and more.
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


def write_model(directory: Path, shape: str, device: str, tokenizer: Path | None = None) -> None:
    """Write configuration and bfloat16 weights as `save_pretrained` does, a file for each decoder layer.

    Args:
        directory: where; made if it is missing.
        shape: one of `SHAPES`.
        device: where the weights are drawn.
        tokenizer: a model's directory; its tokenizer is written too, and the vocabulary is as large as it needs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = MistralConfig(**SHAPES[shape], max_position_embeddings=32768, sliding_window=None)
    if tokenizer is not None:
        taken = read_tokenizer(str(tokenizer))
        taken.save_pretrained(directory)
        config.vocab_size = max(config.vocab_size, len(taken))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.config.save_pretrained(directory)
    files: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for name, weight in model.state_dict().items():
        part = name.split(".")[2] if ".layers." in name else "rest"
        files[f"model-{part}.safetensors"][name] = weight
    generator = torch.Generator(device).manual_seed(0)
    for file, weights in files.items():
        drawn = {name: _draw(weight, config.initializer_range, generator) for name, weight in weights.items()}
        save_file(drawn, directory / file, metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": sum(weight.nbytes for weights in files.values() for weight in weights.values())},
        "weight_map": {name: file for file, weights in files.items() for name in weights},
    }
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def _draw(weight: torch.Tensor, std: float, generator: torch.Generator) -> torch.Tensor:
    """A weight as transformers initialises it: ones for a norm, else normally distributed around 0."""
    drawn = torch.empty(weight.shape, dtype=weight.dtype, device=generator.device)
    return drawn.fill_(1) if weight.ndim == 1 else drawn.normal_(0, std, generator=generator)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokenizer", type=Path)
    arguments = parser.parse_args()
    write_model(arguments.directory, arguments.shape, arguments.device, arguments.tokenizer)
