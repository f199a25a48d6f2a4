"""What things cost, measured: one table a command, with machine and versions, as JSON and as a plot.

    python scripts/bench.py TABLE RECIPE.yaml RESULTS.json [--field value ...]

Model, data, LoRA and precision are those of a recipe of `decausal.tagging.train`. Every candidate is timed once in each
repetition, so that a machine which slows down slows all of them; a ratio is that of two times of one repetition. What
is told is the median over repetitions, and the extremes. RESULTS.json is written after each, and at the end RESULTS.svg
beside it.

    hook     seconds of a training step, untouched and unmasked: padded and unpadded, sdpa and eager
    memory   the same for the memory that a step takes at its peak
    pack     real sub-words trained on in a second, in padded batches and in packed rows
    train    the same in float32, in bfloat16 and with the base model in 4 bits
    predict  sentences tagged in a second, by the pipeline of transformers and by `Tagger`
    scale    real sub-words in a second against the length of rows, the number of layers and the size of batches
    peers    training and tagging against BiLLM and the code of Dukić & Šnajder: see scripts/peers/README.md
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from peft import PeftModel
from transformers import pipeline

import decausal
from decausal.tagging.bench import Batch, Bench, Candidate, Table, compare_layouts
from decausal.tagging.predict import Tagger
from measure_memory import MALLOC, resident

KERNELS = ("sdpa", "eager")
PATTERNS = ("untouched", "0011", "1111")
BATCH_SIZES = (1, 8, 16, 32, 64)
SENTENCES_PER_STEP = 64
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)


def unmasking(bench: Bench, steps: int, figure: str, measure: Callable[[list[Batch]], float]) -> Table:
    """A figure of training steps, untouched and unmasked, by kernel, on padded batches and on the same unpadded."""
    padded = [bench.pad(batch) for batch in bench.draw_batches("random", steps)]
    whole = [{name: value for name, value in batch.items() if name != "attention_mask"} for batch in padded]
    model = bench.base

    def candidate(kernel: str, pattern: str, batches: list[Batch]) -> Candidate:
        def run() -> float:
            model.set_attn_implementation(kernel)
            with decausal.unmask(bench.model, pattern) if pattern != "untouched" else nullcontext():
                return measure(batches)

        return run

    candidates = {
        f"{kernel}, {kind}, {pattern}": candidate(kernel, pattern, batches)
        for kernel in KERNELS
        for kind, batches in (("padded", padded), ("unpadded", whole))
        for pattern in PATTERNS
    }
    return Table(figure, candidates, {name: f"{name.rpartition(',')[0]}, untouched" for name in candidates})


def hook(bench: Bench, steps: int) -> Table:
    """Seconds of a training step, untouched and unmasked."""
    return unmasking(bench, steps, "seconds a step", lambda batches: bench.time_steps(batches) / steps)


def memory(bench: Bench, steps: int) -> Table:
    """Bytes that training steps take at their peak beyond what the model holds, untouched and unmasked."""
    on_gpu = bench.training.device.type == "cuda"

    def peak(batches: list[Batch]) -> float:
        if on_gpu:
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            bench.time_steps(batches)
            return torch.cuda.max_memory_allocated() - before
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        before = resident("VmRSS")
        bench.time_steps(batches)
        return resident("VmHWM") - before

    return unmasking(bench, steps, "bytes of a step", peak)


def train(bench: Bench, steps: int) -> Table:
    """Real sub-words trained on in a second, packed: by what the base model is held and computed in."""
    cases = {
        "float32": ["--bf16", "false"],
        "bfloat16": ["--bf16", "true"],
        "4 bits, computed in float32": ["--bf16", "false", "--load_in_4bit", "true", "--dtype", "float32"],
        "4 bits, computed in bfloat16": ["--bf16", "true", "--load_in_4bit", "true", "--dtype", "bfloat16"],
    }
    drawn = bench.draw_batches("random", steps)
    benches = {name: Bench([*bench.arguments, *fields], torch.get_num_threads()) for name, fields in cases.items()}

    def candidate(case: Bench) -> Candidate:
        packed = [case.pack(batch) for batch in drawn]
        return lambda: case.count_tokens(drawn) / case.time_steps(packed)

    return Table(
        "real sub-words a second",
        {name: candidate(case) for name, case in benches.items()},
        dict.fromkeys(benches, "bfloat16"),
        {"profiles": {name: case.profile([case.pack(drawn[0])]) for name, case in benches.items()}},
    )


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

    def by_tagger(tagger: Tagger, batch_size: int) -> float:
        tagger.batch_size = batch_size
        return per_second(len(sentences), lambda: tagger.tag(sentences))

    ways = {name: partial(by_pipeline, tag) for name, tag in pipelines.items()}
    ways |= {name: partial(by_tagger, tagger) for name, tagger in taggers.items()}
    tried = {name: {size: way(size) for size in BATCH_SIZES} for name, way in ways.items()}
    sizes = {name: max(speeds, key=speeds.__getitem__) for name, speeds in tried.items()}
    fastest = max(pipelines, key=lambda name: max(tried[name].values()))
    candidates = {name: partial(way, sizes[name]) for name, way in ways.items()}
    facts = {"batch sizes": sizes, "sentences": len(sentences), "words": sum(map(len, sentences))}
    return Table("sentences a second", candidates, dict.fromkeys(ways, fastest), facts)


def scale(bench: Bench, steps: int) -> Table:
    """Sub-words trained on in a second, untouched and unmasked: by length of rows, documents in them, rows and layers.

    Rows are training windows end to end, cut to length: one document each, or documents of equal length. All but the
    last rows of the table are measured on a quarter of the layers.
    """
    config = bench.base.config
    depth = config.num_hidden_layers
    text = torch.tensor(
        [token for batch in bench.draw_batches("random", 64) for i in batch for token in bench.windows[i]["input_ids"]]
    )

    def rows(count: int, length: int, document: int | None = None) -> Batch:
        ids = text.repeat(count * length // len(text) + 1)[: count * length].view(count, length)
        positions = torch.arange(length).expand(count, length) % (document or length)
        return {"input_ids": ids, "position_ids": positions, "labels": torch.zeros_like(ids)}

    def candidate(pattern: str, batch: Batch, num_layers: int) -> Candidate:
        def run() -> float:
            with decausal.unmask(bench.model, pattern) if pattern != "untouched" else nullcontext():
                config.num_hidden_layers = num_layers
                try:
                    return steps * batch["labels"].numel() / bench.time_steps([batch] * steps)
                finally:
                    config.num_hidden_layers = depth

        return run

    most = LENGTHS[-1]
    curves = {
        **{f"rows of {n}": (rows(most // n, n), depth // 4) for n in LENGTHS},
        **{f"rows of {n}, documents of 64": (rows(most // n, n, 64), depth // 4) for n in LENGTHS},
        **{f"{n} rows of 64": (rows(n, 64), depth // 4) for n in (1, 4, 16)},
        **{f"{n} layers": (rows(16, 64), n) for n in (depth // 2, 3 * depth // 4, depth)},
    }
    candidates = {
        f"{name}, {pattern}": candidate(pattern, batch, num_layers)
        for name, (batch, num_layers) in curves.items()
        for pattern in ("untouched", "1111")
    }
    baselines = {name: f"{name.rpartition(',')[0]}, untouched" for name in candidates}
    return Table("sub-words a second", candidates, baselines)


def peers(bench: Bench, steps: int) -> Table:
    """Real sub-words trained on and sentences tagged in a second: peers, in environments of their own, and decausal."""
    sentences = bench.corpus.sentences["train"]
    if len(sentences) != len(bench.windows):
        raise ValueError(
            f"{len(sentences)} sentences are {len(bench.windows)} windows, and peers cut long sentences off: raise "
            f"max_length, or take data whose sentences are one window each."
        )
    drawn = bench.draw_batches("random", steps)
    chosen = sentences.select([place for batch in drawn for place in batch])
    lora = bench.model.peft_config["default"]
    job = {
        "model": str(Path(str(bench.model_config.model_name_or_path)).resolve()),
        "tokens": chosen["tokens"][:],
        "tags": chosen["tags"][:],
        "labels": bench.corpus.labels,
        "pad_token": bench.tokenizer.pad_token,
        "rope_theta": bench.base.config.rope_parameters["rope_theta"],  # older versions look for it elsewhere
        "layers": list(decausal.unmasked_layers(bench.model)),
        "lora": {
            **{name: getattr(lora, name) for name in ("r", "lora_alpha", "lora_dropout")},
            "target_modules": sorted(lora.target_modules),
        },
        "batch_size": bench.training.per_device_train_batch_size,
        "threads": torch.get_num_threads(),
        "seed": bench.training.seed,
    }
    whole = Bench([*bench.arguments, "--bf16", "false"], torch.get_num_threads())
    with saved(bench) as directory:
        tagger = Tagger.from_pretrained(directory)

    def trains(case: Bench) -> Candidate:
        return lambda: case.count_tokens(drawn) / case.time_steps([case.pack(batch) for batch in drawn])

    candidates = {
        "train: Dukić & Šnajder": partial(ask_peer, "paper", "train", job),
        "train: BiLLM": partial(ask_peer, "billm", "train", job),
        "train: decausal, float32": trains(whole),
        "train: decausal": trains(bench),
        "tag: BiLLM": partial(ask_peer, "billm", "tag", job),
        "tag: decausal": lambda: per_second(len(chosen), lambda: tagger.tag(job["tokens"])),
    }
    baselines = {name: f"{name.partition(':')[0]}: decausal" for name in candidates}
    return Table("real sub-words (train) or sentences (tag) a second", candidates, baselines, {"lora": job["lora"]})


def ask_peer(name: str, what: str, job: dict[str, Any]) -> float:
    """What a peer's script in scripts/peers measures, run by the Python of that peer's environment."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        command = [f".peers/{name}/bin/python", f"scripts/peers/run_{name}.py", what, file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


@contextmanager
def saved(bench: Bench) -> Iterator[str]:
    """A checkpoint of the model as it is, in a directory that goes away."""
    with tempfile.TemporaryDirectory() as directory:
        bench.model.save_pretrained(directory)
        bench.base.config.save_pretrained(directory)
        bench.tokenizer.save_pretrained(directory)
        yield directory


def per_second(count: int, run: Callable[[], object]) -> float:
    """How many of a number of things are done in a second, when a call does them all."""
    begin = time.perf_counter()
    run()
    return count / (time.perf_counter() - begin)


TABLES: dict[str, tuple[Callable[[Bench, int], Table], list[str]]] = {
    "hook": (hook, ["--unmask", "none"]),
    "memory": (memory, ["--unmask", "none"]),
    "pack": (compare_layouts, []),
    "train": (train, []),
    "predict": (predict, []),
    "scale": (scale, ["--unmask", "none"]),
    "peers": (peers, []),
}
"""What makes each table, and the fields that a recipe must have for it."""


def plot(results: dict[str, Any], title: str, path: Path) -> None:
    """Medians as bars, with their extremes as whiskers."""
    figure = Figure(figsize=(8, 1 + 0.35 * len(results)), layout="constrained")
    axes = figure.subplots()
    rows = [row["figure"] for row in results.values()]
    medians = [row["median"] for row in rows]
    spread = [[row["median"] - row["min"] for row in rows], [row["max"] - row["median"] for row in rows]]
    axes.barh(list(results), medians, xerr=spread)
    axes.invert_yaxis()
    axes.set_xlabel(title)
    figure.savefig(path)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("recipe", help="its fields may follow as --field value")
    parser.add_argument("results", type=Path)
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps of a measurement")
    parser.add_argument("--repetitions", type=int, default=5, help="measurements of each candidate")
    parser.add_argument("--threads", type=int, help="of a CPU; by default torch's own number")
    arguments, fields = parser.parse_known_args()
    if arguments.table == "memory" and not MALLOC.items() <= os.environ.items():
        # With malloc's defaults a peak is what it keeps, not what tensors need; it reads these when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)
    make, forced = TABLES[arguments.table]
    bench = Bench([arguments.recipe, *fields, *forced], arguments.threads)
    table = make(bench, arguments.steps)
    facts = {"figure": table.figure, **table.facts, **bench.facts(), "steps": arguments.steps}
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Any] = {}
    for repetition, rows in enumerate(islice(table.measure(), arguments.repetitions), start=1):
        arguments.results.write_text(json.dumps({**facts, "results": rows}, indent=1) + "\n", encoding="utf-8")
        print(f"repetition {repetition} of {arguments.repetitions}", flush=True)
    for name, row in rows.items():
        figure, ratio = row["figure"], row["ratio"]
        print(
            f"{name}: {figure['median']:.4g} ({figure['min']:.4g} to {figure['max']:.4g}), "
            f"ratio {ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
        )
    plot(rows, table.figure, arguments.results.with_suffix(".svg"))


if __name__ == "__main__":
    main()
