"""The recipe: one flat YAML of transformers', TRL's and our few fields, each of which the command line can override."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import TrainingArguments
from trl import ModelConfig, TrlParser


@dataclass
class TaggingArguments:
    """What is unmasked, which data is read, and how words become sub-words.

    Every other field of a recipe is one of `TaggingTrainingArguments` (transformers) or `TaggingModelConfig` (TRL).
    """

    unmask: str = field(
        default="none",
        metadata={"help": 'Layers to unmask, in quotes: group bits "0011", layers "16-31", "all" or "none".'},
    )
    scope: str = field(default="all", metadata={"help": 'Which tokens see both sides: "all".'})
    window: str = field(
        default="symmetric",
        metadata={"help": "Sliding windows of unmasked layers: same reach on both sides, or lifted.",
                  "choices": ["symmetric", "full"]},
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
    stride: int = field(default=128, metadata={"help": "Overlap of such windows in sub-words."})
    label_position: Literal["first", "last"] = field(
        default="first",
        metadata={"help": "Sub-word of a word that carries its label; the last lets a causal layer see the word.",
                  "choices": ["first", "last"]},
    )  # fmt: skip
    add_prefix_space: bool = field(
        default=True, metadata={"help": "Whether the language puts spaces between words (not for Chinese)."}
    )
    pad_to_multiple_of: int | None = field(default=8, metadata={"help": "Batches are padded to a multiple of this."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations without a better validation F1."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Allow an output directory that holds another run, and replace that run."}
    )

    def __post_init__(self) -> None:
        for name in ("max_length", "max_train_samples", "max_eval_samples", "max_test_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: give at least 1, or leave it out.")
        if self.scope != "all":
            raise ValueError(f'scope={self.scope!r}: the one scope of this version is "all".')
        if self.dataset_name is None and self.train_file is None:
            raise ValueError("a recipe needs train_file, or dataset_name; it has neither.")
        if self.dataset_name is not None and self.train_file is not None:
            raise ValueError(
                f"train_file={self.train_file!r} and dataset_name={self.dataset_name!r}: give one of them."
            )
        for name in ("validation_file", "test_file"):
            if self.dataset_name is not None and getattr(self, name) is not None:
                raise ValueError(f"{name}={getattr(self, name)!r}: dataset_name brings splits of its own; drop it.")


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
    train_sampling_strategy: str = field(default="group_by_length", metadata={"help": "Sampler for training."})


def parse_recipe(arguments: Sequence[str]) -> tuple[TaggingArguments, TaggingModelConfig, TaggingTrainingArguments]:
    """The recipe that a command line names, with the fields that it overrides.

    Args:
        arguments: `RECIPE.yaml --field value ...`.

    Raises:
        ValueError: no recipe, a file that is no YAML mapping, an unknown field, or a value that a field does not take.
    """
    if not arguments or arguments[0].startswith("--"):
        raise ValueError("give a recipe first: python -m decausal.tagging.train RECIPE.yaml [--field value ...]")
    recipe, *overrides = arguments
    fields = read_recipe(Path(recipe))
    parser = TrlParser((TaggingArguments, TaggingModelConfig, TaggingTrainingArguments))
    known = {action.dest for action in parser._actions} | {"env"}
    for name in fields:
        if name not in known:
            raise ValueError(f"{recipe}: unknown field {name!r}{_suggestion(name, known)}.")
    tagging, model, training = parser.parse_args_and_config(["--config", recipe, *overrides])
    return tagging, model, training


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe's fields as YAML reads them.

    Raises:
        ValueError: the file is missing or no YAML mapping.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such recipe.")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} holds {type(fields).__name__}; a recipe is a mapping of fields to values.")
    return fields


def _suggestion(name: str, known: set[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
