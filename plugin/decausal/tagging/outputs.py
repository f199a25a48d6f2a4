"""The output directory of a run: what may be replaced in it, resumed from it, and written to it."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
from safetensors import SafetensorError
from transformers import AutoConfig, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from decausal._checkpoint import read_record
from decausal._errors import CheckpointError
from decausal._weights import check_weights
from decausal.tagging.arguments import TaggingArguments, TaggingModelConfig, TaggingTrainingArguments
from decausal.tagging.precision import describe_mixed_precision
from decausal.tagging.processes import name_strategy
from decausal.tagging.results import CARD, CURVES, PREDICTIONS, RESULTS

RECIPE = "recipe.json"
_MARKS_OF_A_RUN = ("checkpoint-*", "training_args.bin", RESULTS)
_FILES_OF_A_RUN = (
    *_MARKS_OF_A_RUN,
    "adapter_*",
    "model*.safetensors*",
    "config.json",
    "tokenizer*.json",
    "chat_template.jinja",
    CARD,
    CURVES,
    RECIPE,
    PREDICTIONS.format(split="*"),
)
_MAY_CHANGE = (
    "unmask",  # the layers that it means are compared
    "train_file",  # so is its content
    "validation_file",
    "test_file",
    "dataset_name",
    "max_eval_samples",
    "max_test_samples",
    "preprocessing_num_workers",
    "pad_to_multiple_of",
    "packing",
    "packing_length",
    "early_stopping_patience",
    "overwrite_output_dir",
)
_OF_TRAINING = (
    "seed",
    "learning_rate",
    "lr_scheduler_type",
    "optim",
    "weight_decay",
    "max_grad_norm",
    "label_smoothing_factor",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "train_sampling_strategy",
    "data_seed",
)


def checkpoint_to_resume(training: TrainingArguments, *, overwrite: bool, **sources: object) -> Path | None:
    """The checkpoint that a run is to go on from; None where it begins anew.

    `resume_from_checkpoint` is transformers', and beside a path, `true` and `false` it may be `auto`: go on if there is
    something to go on from, and begin otherwise, so that a scheduler can start one command again and again.

    A checkpoint whose writing was cut off is passed over, since its state, written last, is missing or cut off itself.

    Args:
        training: holds the output directory, and whether to go on.
        overwrite: whether an earlier run in that directory may be replaced.
        **sources: fields that name what a run begins with, which must not be replaced.

    Raises:
        CheckpointError: the output directory holds something and neither resuming nor overwriting was asked for, or
            it holds what the run begins with, or there is nothing to resume from.
    """
    output, wanted = Path(str(training.output_dir)), str(training.resume_from_checkpoint or False).lower()
    if wanted not in ("true", "false", "auto"):
        if not _is_whole(Path(str(training.resume_from_checkpoint))):
            raise CheckpointError(
                f"resume_from_checkpoint={training.resume_from_checkpoint} holds no complete checkpoint."
            )
        return Path(str(training.resume_from_checkpoint))
    found = list(output.glob(f"{PREFIX_CHECKPOINT_DIR}-*")) if wanted != "false" else []
    whole = [checkpoint for checkpoint in found if _is_whole(checkpoint)]
    if whole:
        return max(whole, key=lambda checkpoint: int(checkpoint.name.removeprefix("checkpoint-")))
    if wanted == "true":
        raise CheckpointError(f"resume_from_checkpoint=true: {output} holds no complete checkpoint.")
    others = set(output.iterdir()).difference(found) if output.is_dir() else set()
    if others and not overwrite:
        has_run = any(mark for pattern in _MARKS_OF_A_RUN for mark in output.glob(pattern))
        raise CheckpointError(
            f"output_dir={output} is not empty and is left alone. "
            + (
                "Resume that run with --resume_from_checkpoint true, replace it with --overwrite_output_dir true, "
                "or choose another --output_dir."
                if has_run
                else "It holds no run that could be resumed: choose another --output_dir, or write into it with "
                "--overwrite_output_dir true."
            )
        )
    for field, source in sources.items():
        if overwrite and Path(str(source)).resolve().is_relative_to(output.resolve()):
            raise CheckpointError(
                f"{field}={source} lies in output_dir={output}, which --overwrite_output_dir would delete: choose "
                f"another --output_dir."
            )
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def depends_on(
    tagging: TaggingArguments,
    model_config: TaggingModelConfig,
    training: TaggingTrainingArguments,
    layers: Sequence[int],
    sentences: datasets.Dataset,
) -> dict[str, Any]:
    """What the weights of a run depend on, as JSON holds it: its recipe, its layers, and a digest of its training data.

    Left out is what may change when a run goes on: how long it trains, how processes share the windows of a step, where
    it is saved, and what it is scored on.
    """
    facts = {
        "num_hidden_layers": tagging.num_hidden_layers,  # first: it decides which layers a pattern means
        "layers": list(layers),
        **{name: value for name, value in asdict(tagging).items() if name not in _MAY_CHANGE},
        **asdict(model_config),
        **depends_on_training(training),
        "training data (SHA-256)": hash_sentences(sentences),
    }
    return as_json(facts)


def hash_sentences(sentences: datasets.Dataset) -> str:
    """SHA-256 of the columns `tokens` and `tags`."""
    data = hashlib.sha256()
    for batch in sentences.select_columns(["tokens", "tags"]).iter(batch_size=1000):
        data.update(json.dumps(batch).encode())
    return data.hexdigest()


def depends_on_training(training: TrainingArguments) -> dict[str, Any]:
    """The part of `depends_on` that any training has."""
    return {
        **{name: getattr(training, name) for name in _OF_TRAINING},
        "per_device_train_batch_size x gradient_accumulation_steps x processes": (
            training.train_batch_size * training.gradient_accumulation_steps * training.world_size
        ),
        "strategy": name_strategy(training),
        "computed in": describe_mixed_precision(training),
    }


def as_json(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as they are when a file has been read that they were written to."""
    found: dict[str, Any] = json.loads(json.dumps(facts, default=str))
    return found


def check_resumed(checkpoint: Path, labels: list[str], facts: dict[str, Any]) -> None:
    """Holds what `depends_on` says against the run that is to go on.

    Raises:
        CheckpointError: the two differ, or a file of the checkpoint is damaged.
    """
    check_weights(checkpoint)
    config = AutoConfig.from_pretrained(checkpoint)
    saved_labels = [config.id2label[i] for i in range(len(config.id2label))]
    if saved_labels != labels:
        raise CheckpointError(
            f"{checkpoint} was trained for the labels {', '.join(saved_labels)}, but the training data has "
            f"{', '.join(labels)}: resume with the data that the run began with, or begin a new run."
        )
    record = read_record(config, checkpoint)
    check_recipe(checkpoint, facts, f' (its unmask="{record["unmask"]}")')


def check_recipe(checkpoint: Path, facts: dict[str, Any], hint: str = "") -> None:
    """Holds what weights depend on, as JSON, against what it was when they were saved.

    Raises:
        CheckpointError: the two differ, or the checkpoint does not say.
    """
    try:
        saved = json.loads((checkpoint / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint / RECIPE} cannot be read, so what was trained is unknown: {error}"
        ) from error
    for name in facts:
        if saved.get(name) != facts[name]:
            raise CheckpointError(
                f"{checkpoint} was trained with {name}={saved.get(name)}, but this run means {facts[name]}: resume "
                f"with the recipe that the run began with{hint}, or begin a new run."
            )


@contextmanager
def holding(output: Path) -> Iterator[None]:
    """Keeps an output directory, made if need be, from other runs as long as this process lives in it.

    Raises:
        CheckpointError: another run is at work there.
    """
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(output, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise CheckpointError(
            f"output_dir={output}: another run is at work there; wait for its end, or choose another --output_dir."
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def remove_run(output: Path) -> None:
    """Delete what an earlier run left, lest its adapter, say, be taken for a part of the new run."""
    if not any(found for pattern in _MARKS_OF_A_RUN for found in output.glob(pattern)):
        return
    for pattern in _FILES_OF_A_RUN:
        for path in output.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turns what the libraries raise when they cannot write into one error that names the place.

    Raises:
        OSError: `directory` could not be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save raises a RuntimeError on a full disk
        free = shutil.disk_usage(next(place for place in (directory, *directory.parents) if place.exists())).free
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise OSError(
            f"{directory} could not be written ({reason}; {free / 2**20:,.0f} MiB are free there). Mend that; then the "
            f"same command with --resume_from_checkpoint true goes on from the last whole checkpoint, if there is one."
        ) from error
