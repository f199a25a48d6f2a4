"""What a tagger needs in Axolotl's YAML: data that Axolotl can read, and settings that do not break it.

Everything happens before Axolotl validates its YAML, since quantisation and data are settled by then.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any, Final

import datasets

from decausal._classifier import HEAD_NAMES
from decausal._errors import DataError
from decausal.tagging.data import ReadReport, describe_unknown_tags, read_dataset, read_sentences

DATASET_TYPE: Final = "decausal.hosts.axolotl_tagging"
MODEL_TYPE: Final = "AutoModelForTokenClassification"

_OPTIONS: Final = ("columns", "separator", "file_format")
_REPAIRS: Final = {
    "lora_mlp_kernel": (False, "Axolotl's LoRA kernels need a causal LM"),
    "lora_qkv_kernel": (False, "the same"),
    "lora_o_kernel": (False, "the same"),
    "lora_embedding_kernel": (False, "the same"),
    "trust_remote_code": (False, f"with it Axolotl ignores model_type: {MODEL_TYPE}"),
    "eval_sample_packing": (False, "entities are counted sentence by sentence"),
    "min_sample_len": (1, "a sentence of one sub-word counts too"),
    "remove_unused_columns": (True, "models take no tags"),
}


@dataclass(frozen=True)
class Alignment:
    """How words become sub-words, by the names that `record_of_tagging` reads."""

    max_length: int
    stride: int
    label_position: str
    add_prefix_space: bool
    tag_scheme: str


def alignment_of(cfg: Any) -> Alignment:
    """What Axolotl's YAML and our block say of it."""
    block = cfg["decausal"]
    stride = block.get("stride")
    return Alignment(
        max_length=cfg["sequence_len"],
        stride=cfg["sequence_len"] // 4 if stride is None else stride,
        label_position=block.get("label_position") or "first",
        add_prefix_space=block.get("add_prefix_space") is not False,
        tag_scheme=block.get("tag_scheme") or "auto",
    )


def is_tagging(cfg: Any) -> bool:
    """Whether the YAML trains a tagger on annotated words."""
    return any(entry.get("type") == DATASET_TYPE for entry in _entries(cfg))


def fit_tagging(cfg: Any, block: Any) -> Iterator[str]:
    """Changes the YAML in place so that it trains a tagger.

    Args:
        cfg: as Axolotl has read it, not yet validated.
        block: our `DecausalBlock`.

    Yields:
        What was changed, a line each, and what was read.

    Raises:
        ValueError: something in the YAML contradicts a tagger.
        DataError: a file cannot be read.
    """
    if cfg.get("model_type") != MODEL_TYPE:
        raise ValueError(
            f"datasets of type {DATASET_TYPE} need model_type: {MODEL_TYPE}; it is {cfg.get('model_type')}."
        )
    others = {str(entry.get("type")) for entry in _entries(cfg)} - {DATASET_TYPE}
    if others:
        raise ValueError(f"datasets of type {DATASET_TYPE} cannot be mixed with those of type {', '.join(others)}.")
    for name in ("skip_prepare_dataset", "streaming", "pretraining_dataset", "process_reward_model"):
        if cfg.get(name):
            raise ValueError(f"{name}: {cfg[name]} does not go with datasets of type {DATASET_TYPE}; leave it out.")
    if not cfg.get("sequence_len"):
        cfg["sequence_len"] = 512
        yield "sequence_len: 512 (longer sentences become overlapping windows)"
    for name, (value, reason) in _REPAIRS.items():
        if cfg.get(name) is not None and cfg[name] != value:
            yield f"{name}: {value}, since {reason}"
        cfg[name] = value
    if cfg.get("load_in_4bit") or cfg.get("load_in_8bit"):
        quantization = dict(cfg.get("bnb_config_kwargs") or {})
        kept = sorted({*HEAD_NAMES, "lm_head", *(quantization.get("llm_int8_skip_modules") or [])})
        cfg["bnb_config_kwargs"] = {**quantization, "llm_int8_skip_modules": kept}
        yield f"bnb_config_kwargs.llm_int8_skip_modules: {kept}, or the fresh head would be quantised"
    yield from _fit_data(cfg, block)


def _fit_data(cfg: Any, block: Any) -> Iterator[str]:
    """Reads all sentences, and leaves them where Axolotl finds them as words and IOB2 tags."""
    tag_scheme, found = block.tag_scheme, {}
    for key in ("datasets", "test_datasets"):
        if not cfg.get(key):
            continue
        parts = []
        for entry in cfg[key]:
            sentences, report = _read(entry, "train" if key == "datasets" else "test", tag_scheme)
            yield str(report)
            if tag_scheme == "auto" and report.has_bare_tags:
                tag_scheme = report.scheme  # a guess, and it must be the same for every file
            parts.append(sentences)
        found[key] = datasets.concatenate_datasets(parts)
    labels = block.labels or _labels(found["datasets"])
    if cfg.get("num_labels") not in (None, len(labels)):
        raise ValueError(f"num_labels: {cfg['num_labels']}, but the labels are {', '.join(labels)}; leave it out.")
    cfg["num_labels"] = len(labels)
    cfg["decausal"] = {**cfg["decausal"], "labels": labels, "tag_scheme": tag_scheme}
    yield f"num_labels: {len(labels)} ({', '.join(labels)})"
    directory = Path(cfg.get("dataset_prepared_path") or "last_run_prepared") / "decausal"
    for key, sentences in found.items():
        if unknown := describe_unknown_tags(key, sentences, labels, "the training data"):
            yield f"warning: {unknown}"
        path = _write(sentences, directory, [labels, vars(alignment_of(cfg))])
        cfg[key] = [{"path": str(path), "ds_type": "json", "split": "train", "type": DATASET_TYPE}]


def _read(entry: Any, split: str, tag_scheme: str) -> tuple[datasets.Dataset, ReadReport]:
    source = str(entry["path"])
    options = {name: entry[name] for name in _OPTIONS if entry.get(name)}
    tag_scheme = entry.get("tag_scheme") or tag_scheme
    if Path(source).exists() or glob(source, recursive=True):
        return read_sentences(source, tag_scheme=tag_scheme, split=entry.get("split"), **options)
    if set(options) - {"columns"}:
        raise DataError(f"{source}: there is no such file, and {', '.join(options)} are for files.")
    return read_dataset(
        source, config_name=entry.get("name"), split=entry.get("split") or split, tag_scheme=tag_scheme, **options
    )


def _labels(sentences: datasets.Dataset) -> list[str]:
    types = {tag[2:] for tags in sentences["tags"] for tag in tags if tag != "O"}
    if not types:
        raise DataError("datasets: no word is tagged as anything but O; is it the right column?")
    return ["O", *(f"{prefix}-{kind}" for kind in sorted(types) for prefix in "BI")]


def _write(sentences: datasets.Dataset, directory: Path, depends_on: object) -> Path:
    """Writes sentences as JSON lines, in a file that is named by all that Axolotl's prepared data depends on."""
    lines = [json.dumps({"tokens": row["tokens"], "tags": row["tags"]}, ensure_ascii=False) for row in sentences]
    text = "\n".join(lines) + "\n"
    digest = hashlib.sha256((text + json.dumps(depends_on)).encode()).hexdigest()[:16]
    directory.mkdir(parents=True, exist_ok=True)
    path, unfinished = directory / f"{digest}.jsonl", directory / f"{digest}.{os.getpid()}"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)  # every process of a run writes it, and none may read half of it
    return path


def _entries(cfg: Any) -> list[Any]:
    return [*(cfg.get("datasets") or []), *(cfg.get("test_datasets") or [])]
