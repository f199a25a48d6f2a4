"""Axolotl's YAML as decausal needs it: our block, no setting that breaks the run, data that Axolotl can read.

Everything happens before Axolotl validates its YAML, since quantisation and data are settled by then.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any, Final

import datasets
from pydantic import BaseModel, ConfigDict, Field, field_validator

from decausal._classifier import HEAD_NAMES
from decausal._errors import DataError
from decausal._masks import Scope
from decausal._pattern import LayerPattern
from decausal.tagging.copies import copy_length
from decausal.tagging.data import ReadReport, describe_unknown_tags, read_dataset, read_sentences
from decausal.tagging.windows import LabelPosition

DATASET_TYPE: Final = "decausal.hosts.axolotl_tagging"
MODEL_TYPE: Final = "AutoModelForTokenClassification"

REPAIRS: Final = {
    "merge_method": ("legacy", "the other way writes the base model's configuration, without the pattern"),
}
"""What every YAML of ours needs: the value of a setting, and why."""

_KERNELS: Final = "Axolotl's LoRA kernels need a causal LM"
TAGGING_REPAIRS: Final = {
    "lora_mlp_kernel": (False, _KERNELS),
    "lora_qkv_kernel": (False, _KERNELS),
    "lora_o_kernel": (False, _KERNELS),
    "lora_embedding_kernel": (False, _KERNELS),
    "trust_remote_code": (False, f"with it Axolotl ignores model_type: {MODEL_TYPE}"),
    "eval_sample_packing": (False, "entities are counted sentence by sentence"),
    "min_sample_len": (1, "a sentence of one sub-word counts too"),
    "remove_unused_columns": (True, "models take no tags"),
}
"""What that of a tagger needs beside."""

TAGGING_REFUSES: Final = (
    "skip_prepare_dataset",
    "streaming",
    "pretraining_dataset",
    "process_reward_model",
    "use_eaft",
)

_OPTIONS: Final = ("columns", "separator", "file_format")


class DecausalBlock(BaseModel):
    """What stands under `decausal:` in the YAML.

    Attributes:
        unmask: which layers; see `LayerPattern`.
        scope: `"prompt"` for models that write text, `"all"` for those that classify; by default what fits the model.
        labels: of a tagger, in the order of their ids; by default those of the training data.
        stride: of a tagger: overlap of the windows of a long sentence in sub-words; by default a quarter of their
            length.
        label_position: of a tagger: the sub-word of a word that carries its label.
        num_copies: of a tagger: how often a window is given in a row, all in `sequence_len`; it is tagged in the last
            copy.
        add_prefix_space: of a tagger: whether the language puts spaces between words.
        tag_scheme: of a tagger: how its training data was read; found from them.
    """

    model_config = ConfigDict(extra="forbid")

    unmask: str
    scope: Scope | None = None
    labels: list[str] | None = None
    stride: int | None = None
    label_position: LabelPosition = "first"
    num_copies: int = Field(default=1, ge=1)
    add_prefix_space: bool = True
    tag_scheme: str = "auto"

    @field_validator("unmask", mode="before")
    @classmethod
    def _is_pattern(cls, value: Any) -> str:
        try:
            return str(LayerPattern.parse(value))
        except TypeError as error:  # 0011 without quotes is a number, which pydantic would call just that
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class Alignment:
    """How words become sub-words, by the names that `record_of_tagging` reads."""

    max_length: int
    stride: int
    label_position: LabelPosition
    num_copies: int
    add_prefix_space: bool
    tag_scheme: str


def alignment_of(cfg: Any) -> Alignment:
    """What Axolotl's YAML and our block say of it."""
    block = DecausalBlock(**cfg["decausal"])
    return Alignment(
        max_length=cfg["sequence_len"],
        stride=copy_length(cfg["sequence_len"], block.num_copies) // 4 if block.stride is None else block.stride,
        label_position=block.label_position,
        num_copies=block.num_copies,
        add_prefix_space=block.add_prefix_space,
        tag_scheme=block.tag_scheme,
    )


def is_tagging(cfg: Any) -> bool:
    """Whether the YAML trains a tagger on annotated words."""
    return any(entry.get("type") == DATASET_TYPE for entry in _entries(cfg))


def repair(cfg: Any, settings: Mapping[str, tuple[Any, str]]) -> list[str]:
    """Changes settings of the YAML in place.

    Args:
        cfg: as Axolotl has read it, not yet validated.
        settings: the value of each, and why.

    Returns:
        What was changed of what the YAML said, a line each.
    """
    changes = []
    for name, (value, reason) in settings.items():
        if cfg.get(name) not in (None, value):
            changes.append(f"{name}: {value}, since {reason}")
        cfg[name] = value
    return changes


def fit_tagging(cfg: Any) -> list[str]:
    """Changes the YAML in place so that it trains a tagger.

    Args:
        cfg: as Axolotl has read it, not yet validated.

    Returns:
        What was changed of what the YAML said, a line each, and what was read.

    Raises:
        ValueError: something in the YAML contradicts a tagger.
        DataError: a file cannot be read.
    """
    block = DecausalBlock(**cfg["decausal"])
    if cfg.get("model_type") != MODEL_TYPE:
        raise ValueError(
            f"datasets of type {DATASET_TYPE} need model_type: {MODEL_TYPE}; it is {cfg.get('model_type')}."
        )
    if block.scope == "prompt":
        raise ValueError(
            f"scope: prompt does not go with datasets of type {DATASET_TYPE}: every word has a tag, and none is a "
            f"prompt; leave it out."
        )
    others = {str(entry.get("type")) for entry in _entries(cfg)} - {DATASET_TYPE}
    if others:
        raise ValueError(f"datasets of type {DATASET_TYPE} cannot be mixed with those of type {', '.join(others)}.")
    for name in TAGGING_REFUSES:
        if cfg.get(name):
            raise ValueError(f"{name}: {cfg[name]} does not go with datasets of type {DATASET_TYPE}; leave it out.")
    changes = repair(cfg, TAGGING_REPAIRS)
    if not cfg.get("sequence_len"):
        cfg["sequence_len"] = 512
        changes.append("sequence_len: 512 (longer sentences become overlapping windows)")
    if cfg.get("load_in_4bit") or cfg.get("load_in_8bit"):
        quantization = dict(cfg.get("bnb_config_kwargs") or {})
        kept = sorted({*HEAD_NAMES, "lm_head", *(quantization.get("llm_int8_skip_modules") or [])})
        cfg["bnb_config_kwargs"] = {**quantization, "llm_int8_skip_modules": kept}
        changes.append(f"bnb_config_kwargs.llm_int8_skip_modules: {kept}, or the fresh head would be quantised")
    return changes + _fit_data(cfg, block)


def _fit_data(cfg: Any, block: DecausalBlock) -> list[str]:
    """Reads all sentences, and leaves them where Axolotl finds them as words and IOB2 tags."""
    tag_scheme, found, changes = block.tag_scheme, {}, []
    for key in ("datasets", "test_datasets"):
        if not cfg.get(key):
            continue
        parts = []
        for entry in cfg[key]:
            sentences, report = _read(entry, "train" if key == "datasets" else "test", tag_scheme)
            changes.append(str(report))
            if tag_scheme == "auto" and report.has_bare_tags:
                tag_scheme = report.scheme  # a guess, and it must be the same for every file
            parts.append(sentences)
        found[key] = datasets.concatenate_datasets(parts)
    labels = block.labels or _labels(found["datasets"])
    if cfg.get("num_labels") not in (None, len(labels)):
        raise ValueError(f"num_labels: {cfg['num_labels']}, but the labels are {', '.join(labels)}; leave it out.")
    cfg["num_labels"] = len(labels)
    cfg["decausal"] = {**cfg["decausal"], "labels": labels, "tag_scheme": tag_scheme}
    changes.append(f"num_labels: {len(labels)} ({', '.join(labels)})")
    directory = Path(cfg.get("dataset_prepared_path") or "last_run_prepared") / "decausal"
    for key, sentences in found.items():
        if unknown := describe_unknown_tags(key, sentences, labels, "the training data"):
            changes.append(f"warning: {unknown}")
        path = _write(sentences, directory, [labels, vars(alignment_of(cfg))])
        cfg[key] = [{"path": str(path), "ds_type": "json", "split": "train", "type": DATASET_TYPE}]
        changes.append(f"{key}: {path}")
    return changes


def _read(entry: Any, split: str, tag_scheme: str) -> tuple[datasets.Dataset, ReadReport]:
    source = str(entry["path"])
    options = {name: entry[name] for name in _OPTIONS if entry.get(name)}
    tag_scheme = entry.get("tag_scheme") or tag_scheme
    if Path(source).exists() or glob(source, recursive=True):
        return read_sentences(source, tag_scheme=tag_scheme, split=entry.get("split"), **options)
    if set(options) - {"columns"}:
        raise DataError(f"{source}: there is no such file, and {', '.join(options)} are for files.")
    try:
        return read_dataset(
            source, config_name=entry.get("name"), split=entry.get("split") or split, tag_scheme=tag_scheme, **options
        )
    except DataError as error:
        raise DataError(f"{source}: there is no such file, and no data set of this name was read: {error}") from error


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
