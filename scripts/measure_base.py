"""What a tagger leaves of the language model that it was made of: perplexity and a continuation, in every state.

    python scripts/measure_base.py RUN BOOK RESULTS.json [--max_words 2000] [--prompt "..."]

RUN is a tagger with an adapter, BOOK annotated sentences, of which the words are read as text. With its adapter off and
its layers paused, the logits are those of a model that was never touched, to the bit, or this fails.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

import decausal
from decausal.tagging.data import read_sentences
from decausal.tagging.results import environment
from prepare_smollm2 import perplexity

_NEW_TOKENS = 30


def states(model: Any, handle: decausal.Handle) -> Iterator[tuple[str, ExitStack]]:
    """Name and context of the four states of a tagger's layers and adapter."""
    for layers in ("paused", "open"):
        for adapter in ("off", "on"):
            stack = ExitStack()
            stack.enter_context(handle.paused() if layers == "paused" else nullcontext())
            stack.enter_context(model.disable_adapter() if adapter == "off" else nullcontext())
            yield f"adapter {adapter}, layers {layers}", stack


def with_language_head(tagger: Any) -> tuple[nn.Module, nn.Module]:
    """A language model around the tagger's own layers, and another that nobody touched."""
    base = tagger.get_base_model()
    load = {"dtype": next(base.base_model.parameters()).dtype, "attn_implementation": "eager"}
    base.set_attn_implementation("eager")
    around, untouched = (AutoModelForCausalLM.from_pretrained(base.name_or_path, **load).eval() for _ in range(2))
    setattr(around, around.base_model_prefix, base.base_model)
    return around, untouched


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("book")
    parser.add_argument("results", type=Path)
    parser.add_argument("--max_words", type=int, default=2000)
    parser.add_argument("--prompt", default="The old man opened the door and")
    chosen = parser.parse_args(arguments)
    sentences, report = read_sentences(chosen.book)
    words = [word for tokens in sentences["tokens"] for word in tokens]
    text = " ".join(words[: chosen.max_words])
    tagger, tokenizer = decausal.load(chosen.run)
    handle = decausal.Handle.of(tagger)
    model, untouched = with_language_head(tagger)
    ids = tokenizer(chosen.prompt, return_tensors="pt").input_ids
    found: dict[str, Any] = {"untouched": describe(untouched, tokenizer, text, ids)}
    with torch.inference_mode():
        expected = untouched(ids).logits
    for name, state in states(tagger, handle):
        with state:
            found[name] = describe(model, tokenizer, text, ids)
            with torch.inference_mode():
                found[name]["logits as untouched"] = torch.equal(model(ids, use_cache=False).logits, expected)
    results = {
        "layers": list(handle.layers),
        "text": Path(report.source).name,
        "words": min(chosen.max_words, len(words)),
        "prompt": chosen.prompt,
        "states": found,
        **environment(),
    }
    chosen.results.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, facts in found.items():
        print(f"{name}: perplexity {facts['perplexity']:.2f}; {chosen.prompt}{facts['continuation']}")
    if not found["adapter off, layers paused"]["logits as untouched"]:
        raise SystemExit("error: with the adapter off and its layers paused the model is not what it was")


def describe(model: Any, tokenizer: Any, text: str, ids: torch.Tensor) -> dict[str, Any]:
    """Perplexity of a text a sub-word, and what the model writes, greedily and without a cache, behind a prompt."""
    with torch.inference_mode():
        written = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=_NEW_TOKENS, use_cache=False,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    return {
        "perplexity": perplexity(model, tokenizer, text),
        "continuation": tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True),
    }


if __name__ == "__main__":
    main()
