"""The table `predict`: `Tagger` against the pipeline of transformers."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from transformers import pipeline

import decausal
from decausal.tagging.bench import Bench, profile_operations
from decausal.tagging.comparison import Table
from decausal.tagging.predict import Tagger

BATCH_SIZES = (1, 8, 16, 32, 64)
SENTENCES_PER_STEP = 64


def predict(bench: Bench, steps: int) -> Table:
    """Sentences tagged in a second: each of the two with the batch size that it is fastest with."""
    words = bench.corpus.sentences["train"]["tokens"]
    sentences = [
        words[place * len(words) // (steps * SENTENCES_PER_STEP)] for place in range(steps * SENTENCES_PER_STEP)
    ]
    texts = [" ".join(sentence) for sentence in sentences]
    with saved(bench) as directory:
        loaded, tokenizer = decausal.load(directory)
        models = {"pipeline": loaded}
        for name, dtype in (("pipeline, merged", None), ("pipeline, merged, bfloat16", torch.bfloat16)):
            model, _ = decausal.load(directory)
            models[name] = (model.merge_and_unload() if isinstance(model, PeftModel) else model).to(dtype)
        taggers = {
            "decausal": Tagger.from_pretrained(directory),
            "decausal, bfloat16": Tagger.from_pretrained(directory, dtype=torch.bfloat16),
        }
    pipelines = {
        name: pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")
        for name, model in models.items()
    }

    def by_pipeline(tag: Any, batch_size: int) -> float:
        return per_second(len(texts), lambda: tag(texts, batch_size=batch_size))

    ways = {name: partial(by_pipeline, tag) for name, tag in pipelines.items()}
    ways |= {name: partial(tag_in_batches, tagger, sentences) for name, tagger in taggers.items()}
    tried = {name: {size: way(size) for size in BATCH_SIZES} for name, way in ways.items()}
    sizes = {name: max(speeds, key=speeds.__getitem__) for name, speeds in tried.items()}
    fastest = max(pipelines, key=lambda name: max(tried[name].values()))
    candidates = {name: partial(way, sizes[name]) for name, way in ways.items()}
    profiles = {name: profile_tagging(tagger, sentences, sizes[name]) for name, tagger in taggers.items()}
    facts = {
        "batch sizes": sizes, "sentences": len(sentences), "words": sum(map(len, sentences)), "profiles": profiles,
    }  # fmt: skip
    return Table("sentences a second", candidates, dict.fromkeys(ways, fastest), facts)


@contextmanager
def saved(bench: Bench) -> Iterator[str]:
    """A checkpoint of the model as it is, in a directory that goes away."""
    with tempfile.TemporaryDirectory() as directory:
        bench.model.save_pretrained(directory)
        bench.base.config.save_pretrained(directory)
        bench.tokenizer.save_pretrained(directory)
        yield directory


def tag_in_batches(tagger: Tagger, sentences: Sequence[Sequence[str]], batch_size: int) -> float:
    """Sentences that a tagger tags in a second, in batches of that size."""
    tagger.batch_size = batch_size
    return per_second(len(sentences), lambda: tagger.tag(sentences))


def profile_tagging(tagger: Tagger, sentences: Sequence[Sequence[str]], batch_size: int) -> dict[str, float]:
    """The shares of torch's operations in a tagger's time, in batches of that size, once they are warm."""
    tag_in_batches(tagger, sentences, batch_size)
    return profile_operations(lambda: tagger.tag(sentences), next(tagger.model.parameters()).device)


def per_second(count: int, run: Callable[[], object]) -> float:
    """How many of a number of things are done in a second, when a call does them all."""
    begin = time.perf_counter()
    run()
    return count / (time.perf_counter() - begin)
