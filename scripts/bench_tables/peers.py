"""The table `peers`: other code for the same thing, run by the Python of its own environment."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import decausal
from bench_tables.tagging import BATCH_SIZES, profile_tagging, saved, tag_in_batches
from decausal.tagging.bench import Bench
from decausal.tagging.comparison import Candidate, Table
from decausal.tagging.predict import Tagger

PACKAGES = ("billm", "torch", "transformers", "peft", "accelerate", "tokenizers", "datasets", "numpy")
SAY_VERSIONS = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version

found = {"python": platform.python_version()}
for package in sys.argv[1:]:
    try:
        found[package] = version(package)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


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
    versions = {name: ask_versions(name) for name in ("paper", "billm")}
    whole = Bench([*bench.arguments, "--bf16", "false"], torch.get_num_threads())
    with saved(bench) as directory:
        tagger = Tagger.from_pretrained(directory)
        tuned = Tagger.from_pretrained(directory, dtype=torch.bfloat16)
    tuned.batch_size = max(BATCH_SIZES, key=lambda size: tag_in_batches(tuned, job["tokens"], size))

    def trains(case: Bench) -> Candidate:
        return lambda: case.tokens_per_second(drawn, [case.pack(batch) for batch in drawn])

    candidates = {
        "train: Dukić & Šnajder": partial(ask_peer, "paper", "train", job),
        "train: BiLLM": partial(ask_peer, "billm", "train", job),
        "train: decausal, float32": trains(whole),
        "train: decausal": trains(bench),
        "tag: BiLLM": partial(ask_peer, "billm", "tag", job),
        "tag: decausal": partial(tag_in_batches, tagger, job["tokens"], tagger.batch_size),
        "tag, tuned: BiLLM": partial(ask_peer, "billm", "tag_tuned", job),
        "tag, tuned: decausal": partial(tag_in_batches, tuned, job["tokens"], tuned.batch_size),
    }
    baselines = {name: f"{name.partition(':')[0]}: decausal" for name in candidates}
    leaks = {"BiLLM": ask_peer("billm", "leak", job), "decausal": leak(whole, drawn)}
    facts = {
        "lora": job["lora"],
        "versions of peers": versions,
        "largest change of a probability by padding": leaks,
        "profiles": {"tag, tuned: decausal": profile_tagging(tuned, job["tokens"], tuned.batch_size)},
    }
    return Table("real sub-words (train) or sentences (tag) a second", candidates, baselines, facts)


@torch.no_grad()
def leak(bench: Bench, batches: Sequence[Sequence[int]]) -> float:
    """The largest difference, 0-1, of a label's probability for a window alone and padded beside longer ones."""
    bench.model.eval()

    def probabilities(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = bench.model(**inputs).logits
        return logits.softmax(-1)

    largest = 0.0
    for batch in batches:
        padded = bench.pad(batch)
        padded = {name: padded[name] for name in ("input_ids", "attention_mask")}
        for row, beside in enumerate(probabilities(padded)):
            length = bench.lengths[batch[row]]
            [alone] = probabilities({name: rows[row : row + 1, :length] for name, rows in padded.items()})
            largest = max(largest, (beside[:length] - alone).abs().max().item())
    bench.model.train()
    return largest


def ask_peer(name: str, what: str, job: dict[str, Any]) -> float:
    """What a peer's script in scripts/peers measures."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        return float(run_python_of(name, f"scripts/peers/run_{name}.py", what, file.name).splitlines()[-1])


def ask_versions(name: str) -> dict[str, str]:
    """The versions of what a peer's environment has of `PACKAGES`, and of its Python."""
    found: dict[str, str] = json.loads(run_python_of(name, "-c", SAY_VERSIONS, *PACKAGES))
    return found


def run_python_of(name: str, *arguments: str) -> str:
    """What the Python of a peer's environment prints.

    Raises:
        FileNotFoundError: there is no such environment.
        RuntimeError: it fails.
    """
    command = [f".peers/{name}/bin/python", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}: make it by bash scripts/peers/install.sh CLONE") from error
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout
