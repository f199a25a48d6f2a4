"""The output directory of a run: what may be replaced in it, resumed from it, and written to it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftConfig
from safetensors import SafetensorError
from transformers import AutoConfig
from transformers.trainer import TRAINER_STATE_NAME

from decausal._checkpoint import make_record, read_record
from decausal._errors import CheckpointError
from decausal._weights import ADAPTER_CONFIG, check_weights
from decausal.tagging.arguments import TaggingArguments, TaggingModelConfig, TaggingTrainingArguments
from decausal.tagging.results import CARD, CURVES, RESULTS

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
)


def checkpoint_to_resume(
    tagging: TaggingArguments, model_config: TaggingModelConfig, training: TaggingTrainingArguments
) -> Path | None:
    """The checkpoint that a run is to go on from; None where it begins anew.

    A checkpoint whose writing was cut off is passed over, since its state, written last, is missing.

    Raises:
        CheckpointError: the output directory holds something and neither resuming nor overwriting was asked for, or
            it holds the model to train, or there is nothing to resume from.
    """
    output, wanted = Path(training.output_dir), training.resume_from_checkpoint
    if wanted is None or str(wanted).lower() == "false":
        if output.is_dir() and any(output.iterdir()) and not tagging.overwrite_output_dir:
            raise CheckpointError(
                f"output_dir={output} is not empty and is left alone. Resume that run with --resume_from_checkpoint "
                f"true, replace it with --overwrite_output_dir true, or choose another --output_dir."
            )
        model = Path(str(model_config.model_name_or_path))
        if tagging.overwrite_output_dir and model.resolve().is_relative_to(output.resolve()):
            raise CheckpointError(
                f"model_name_or_path={model} lies in output_dir={output}, which --overwrite_output_dir would delete: "
                f"choose another --output_dir."
            )
        return None
    if str(wanted).lower() != "true":
        if not (Path(wanted) / TRAINER_STATE_NAME).is_file():
            raise CheckpointError(f"resume_from_checkpoint={wanted} holds no complete checkpoint.")
        return Path(wanted)
    whole = [state.parent for state in output.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
    if not whole:
        raise CheckpointError(f"resume_from_checkpoint={wanted}: {output} holds no complete checkpoint.")
    return max(whole, key=lambda checkpoint: int(checkpoint.name.removeprefix("checkpoint-")))


def check_resumed(
    checkpoint: Path, labels: list[str], tagging: TaggingArguments, model_config: TaggingModelConfig
) -> None:
    """Holds the recipe and its data against the run that is to go on.

    Raises:
        CheckpointError: they differ in something that the weights were trained for, or a weights file is damaged.
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
    adapter = PeftConfig.from_pretrained(str(checkpoint)) if (checkpoint / ADAPTER_CONFIG).is_file() else None
    quantization = getattr(config, "quantization_config", None) or {}
    saved = {
        **{name: record[name] for name in ("layers", "window", "add_prefix_space")},
        **record["tagging"],
        "use_peft": adapter is not None,
        "load_in_4bit": quantization.get("load_in_4bit", False),
        "load_in_8bit": quantization.get("load_in_8bit", False),
    }
    wanted: dict[str, Any] = {
        **{
            name: getattr(source, name) for source in (tagging, model_config) for name in saved if hasattr(source, name)
        },
        "layers": make_record(config, tagging.unmask)["layers"],
    }
    if adapter is not None:
        saved |= {"lora_r": adapter.r, "lora_alpha": adapter.lora_alpha}
        wanted |= {"lora_r": model_config.lora_r, "lora_alpha": model_config.lora_alpha}
    for name, value in saved.items():
        if value != wanted[name]:
            raise CheckpointError(
                f"{checkpoint} was trained with {name}={value}, but the recipe means {wanted[name]}: resume with the "
                f'recipe that the run began with (its unmask="{record["unmask"]}"), or begin a new run.'
            )


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
        raise OSError(
            f"{directory} could not be written, with {free / 2**20:.0f} MiB free there: {str(error).splitlines()[0]} "
            f"Make room; the same command with --resume_from_checkpoint true then goes on from the last whole "
            f"checkpoint, if there is one."
        ) from error
