"""The recipe: one flat YAML of transformers', TRL's and our few fields, each of which the command line can override."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
import yaml
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments
from trl import ModelConfig, TrlParser

from decausal.tagging.copies import copy_length
from decausal.tagging.precision import computes_in_bfloat16


@dataclass
class TaggingArguments:
    """Which layers there are and are unmasked, which data is read, and how words become sub-words.

    Every other field of a recipe is one of `TaggingTrainingArguments` (transformers) or `TaggingModelConfig` (TRL).
    """

    unmask: str = field(
        default="none",
        metadata={"help": 'Layers to unmask, in quotes: group bits "0011", layers "16-31", "all" or "none".'},
    )
    shared_patterns: str | None = field(
        default=None,
        metadata={"help": 'Several patterns, such as "suffixes:4": every step trains with another one of them, and the '
                  "end scores each on the validation data; evaluations on the way open all layers of unmask."},
    )  # fmt: skip
    scope: str = field(default="all", metadata={"help": 'Which tokens see both sides: "all".'})
    window: str = field(
        default="symmetric",
        metadata={"help": "Sliding windows of unmasked layers: same reach on both sides, or lifted.",
                  "choices": ["symmetric", "full"]},
    )  # fmt: skip
    num_hidden_layers: int | None = field(
        default=None,
        metadata={"help": "Early exit: keep only the first N layers of the model, and drop those behind them."},
    )
    num_copies: int = field(
        default=1,
        metadata={"help": "Sequence repetition: every window is given N times in a row, each time in max_length / N "
                  "sub-words at most, and tagged in its last copy."},
    )  # fmt: skip
    train_file: str | None = field(default=None, metadata={"help": "File, directory or glob of annotated sentences."})
    validation_file: str | None = field(default=None, metadata={"help": "The same for choosing the best checkpoint."})
    test_file: str | None = field(default=None, metadata={"help": "The same for the final scores."})
    dataset_name: str | None = field(default=None, metadata={"help": "Instead of files: a data set of `datasets`."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    columns: str | None = field(
        default=None, metadata={"help": 'Word and tag column, such as "0,-1", or keys, such as "tokens,ner_tags".'}
    )
    separator: str | None = field(default=None, metadata={"help": "What divides columns, if not tabs or blanks."})
    file_format: str | None = field(default=None, metadata={"help": "Format of the files, if not told by their look."})
    tag_scheme: str = field(
        default="auto", metadata={"help": "IOB1, IOB2, BIOES, BILOU, IO, bare-runs, bare-words or auto."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only the first N training sentences."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only the first N validation sentences."})
    max_test_samples: int | None = field(default=None, metadata={"help": "Use only the first N test sentences."})
    max_length: int = field(
        default=512, metadata={"help": "Longest input in sub-words; longer sentences become overlapping windows."}
    )
    stride: int | None = field(
        default=None, metadata={"help": "Overlap of such windows in sub-words; by default a quarter of their length."}
    )
    label_position: Literal["first", "last"] = field(
        default="first",
        metadata={"help": "Sub-word of a word that carries its label; the last lets a causal layer see the word.",
                  "choices": ["first", "last"]},
    )  # fmt: skip
    add_prefix_space: bool = field(
        default=True, metadata={"help": "Whether the language puts spaces between words (not for Chinese)."}
    )
    preprocessing_num_workers: int | None = field(
        default=None,
        metadata={"help": "Processes that tokenize; by default one for each 50,000 sentences, up to all cores."},
    )
    pad_to_multiple_of: int | None = field(default=8, metadata={"help": "Batches are padded to a multiple of this."})
    packing: bool = field(
        default=False, metadata={"help": "Train on the windows of a batch laid into rows, instead of padded: exact."}
    )
    packing_length: int = field(
        default=256, metadata={"help": "Sub-words of a packed row, or those of the longest window if it has more."}
    )
    as_published: bool = field(
        default=False,
        metadata={"help": "Repeat the faults of the paper's code: gradients zeroed before every micro-batch, "
                  "a cosine that hardly falls, sentences cut at max_length in the scores too."},
    )  # fmt: skip
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations without a better validation F1."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Allow an output directory that holds another run, and replace that run."}
    )

    def __post_init__(self) -> None:
        sizes = ("num_hidden_layers", "num_copies", "max_length", "packing_length")
        for name in (*sizes, "max_train_samples", "max_eval_samples", "max_test_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: give at least 1, or leave it out.")
        if self.stride is None:
            self.stride = copy_length(self.max_length, self.num_copies) // 4
        unlike = {"shared_patterns": None, "packing": False, "label_position": "first"}
        for name, value in unlike.items() if self.as_published else ():
            if getattr(self, name) != value:
                raise ValueError(f"as_published=true, {name}={getattr(self, name)}: the paper has no such; drop one.")
        if self.scope != "all":
            raise ValueError(f'scope={self.scope!r}: the words of a tagger are all input; its one scope is "all".')
        if self.dataset_name is None and self.train_file is None:
            raise ValueError("a recipe needs train_file, or dataset_name; it has neither.")
        if self.dataset_name is not None and self.train_file is not None:
            raise ValueError(
                f"train_file={self.train_file!r} and dataset_name={self.dataset_name!r}: give one of them."
            )
        for name in ("validation_file", "test_file", "file_format", "separator"):
            if self.dataset_name is not None and getattr(self, name) is not None:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is for files, and dataset_name for a data set: drop one."
                )


@dataclass
class TaggingModelConfig(ModelConfig):  # type: ignore[misc]
    """TRL's `ModelConfig` with the defaults of token classification: LoRA on every linear layer but the head."""

    use_peft: bool = field(default=True, metadata={"help": "Train a LoRA adapter; false trains all weights."})
    use_bnb_nested_quant: bool = field(default=True, metadata={"help": "Quantise the quantisation constants too."})
    lora_task_type: str = field(default="TOKEN_CLS", metadata={"help": "PEFT's task type."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run model code that comes with the weights."})


@dataclass
class TaggingTrainingArguments(TrainingArguments):
    """transformers' `TrainingArguments`; by default evaluates every epoch and keeps the best validation F1."""

    output_dir: str = field(default="outputs/tagger", metadata={"help": "Where the run is saved."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to score the validation set."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints to keep, besides the best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best validation F1."})
    metric_for_best_model: str | None = field(default="f1", metadata={"help": "What is best."})
    train_sampling_strategy: str = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "How batches are drawn; by default group_by_length, and with packing, which wants no windows "
                  "of like length, random."},
    )  # fmt: skip
    bf16: bool | None = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "Compute in bfloat16; by default as the launch file says, or where the processor can."},
    )

    def __post_init__(self) -> None:
        known = ("f1", "precision", "recall", "accuracy", "loss")
        if str(self.metric_for_best_model).removeprefix("eval_") not in known:
            raise ValueError(f"metric_for_best_model={self.metric_for_best_model!r}: choose one of {', '.join(known)}.")
        if self.prediction_loss_only:
            raise ValueError("prediction_loss_only=true: the validation F1 needs predictions; drop it.")
        if self.push_to_hub:
            raise ValueError(
                "push_to_hub=true: transformers would upload before scores and model card are there, under a card that "
                "does not tell of the pattern; upload output_dir when the run has ended (hf upload REPO DIR)."
            )
        if self.eval_strategy == "no":
            self.load_best_model_at_end = False
        use_cpu = self.use_cpu
        if self.bf16 is None:
            is_decided = self.fp16 or os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no"
            # Without an accelerator, too, transformers wants it said; and accelerate launch --cpu says it elsewhere.
            self.use_cpu |= not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
            accelerator = None if self.use_cpu else torch.accelerator.current_accelerator()
            self.bf16 = not is_decided and computes_in_bfloat16(accelerator.type if accelerator else "cpu")
        super().__post_init__()  # type: ignore[no-untyped-call]
        self.use_cpu = use_cpu
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # torch warns, every epoch, that there is nothing to pin for


class RecipeParser(TrlParser):  # type: ignore[misc]
    """TRL's parser, whose refusals are one message."""

    def __init__(self, types: Sequence[type]) -> None:
        super().__init__(types, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print below its usage, which for a recipe is two hundred lines."""
        raise ValueError(message)

    def check(self, recipe: str, fields: dict[str, Any], overrides: Sequence[str]) -> None:
        """Refuses a name that is no field.

        Raises:
            ValueError: names it and the nearest field.
        """
        known = {action.dest for action in self._actions} | {"env"}
        flags = [flag.partition("=")[0] for flag in overrides if flag.startswith("--")]
        for place, name in [
            *((recipe, name) for name in fields if name not in known),
            *(("command line", flag) for flag in flags if flag not in self._option_string_actions),
        ]:
            close = get_close_matches(name.removeprefix("--"), known, n=2)
            hint = f": did you mean {' or '.join(map(repr, close))}?" if close else "."
            raise ValueError(f"{place}: unknown field {name!r}{hint}")


def parse_recipe(arguments: Sequence[str]) -> tuple[TaggingArguments, TaggingModelConfig, TaggingTrainingArguments]:
    """The tagging recipe that a command line names, with the fields that it overrides.

    Args:
        arguments: `RECIPE.yaml --field value ...`.

    Raises:
        ValueError: as `parse_fields`.
    """
    types = (TaggingArguments, TaggingModelConfig, TaggingTrainingArguments)
    tagging, model, training = parse_fields(arguments, types, "-m decausal.tagging.train")
    if training.train_sampling_strategy is None:
        training.train_sampling_strategy = "random" if tagging.packing else "group_by_length"
    return tagging, model, training


def parse_fields(arguments: Sequence[str], types: Sequence[type], program: str) -> tuple[Any, ...]:
    """The recipe that a command line names, with the fields that it overrides, as one object of each type.

    Args:
        arguments: `RECIPE.yaml --field value ...`.
        types: dataclasses whose fields a recipe may have.
        program: what python is to run, for somebody who gives no recipe.

    Raises:
        ValueError: no recipe, a file that is no YAML mapping, an unknown field, or a value that a field does not take.
    """
    if not arguments or arguments[0].startswith("--"):
        raise ValueError(f"give a recipe first: python {program} RECIPE.yaml [--field value ...]")
    recipe, *overrides = arguments
    parser = RecipeParser(types)
    parser.check(recipe, read_recipe(Path(recipe)), overrides)
    try:
        parsed: tuple[Any, ...] = parser.parse_args_and_config(["--config", recipe, *overrides])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{recipe}: {error}") from error
    return parsed


def as_flags(fields: Mapping[str, Any]) -> list[str]:
    """Fields as a command line gives them: `--field value`, of a list `--field value value`."""
    values = {name: value if isinstance(value, list | tuple) else [value] for name, value in fields.items()}
    return [text for name, each in values.items() for text in (f"--{name}", *map(str, each))]


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe's fields as YAML reads them.

    Raises:
        ValueError: the file is missing, no YAML mapping, or has a field twice.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such recipe.")
    try:
        text = path.read_text(encoding="utf-8")
        fields, tree = yaml.safe_load(text), yaml.compose(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(fields, dict):
        found = "nothing" if fields is None else type(fields).__name__
        raise ValueError(f"{path} holds {found}; a recipe is a mapping of fields to values.")
    for name, count in Counter(key.value for key, _ in tree.value).items():
        if count > 1:
            raise ValueError(f"{path}: the field {name!r} stands there {count} times: keep one.")
    return fields
