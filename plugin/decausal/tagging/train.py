"""`accelerate launch -m decausal.tagging.train RECIPE.yaml [--field value ...]`: annotated words in, a tagger out."""

import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import (
    DataCollatorForTokenClassification,
    EarlyStoppingCallback,
    PreTrainedTokenizerFast,
    set_seed,
)

from decausal._attach import unmasked_layers
from decausal._checkpoint import make_record
from decausal._layers import num_decoder_layers, text_config, transformers_model
from decausal.tagging.arguments import TaggingArguments, TaggingModelConfig, TaggingTrainingArguments, parse_recipe
from decausal.tagging.as_published import AsPublishedTrainer
from decausal.tagging.base import base_tokenizer, longest_input, read_config
from decausal.tagging.begin import CheckFirst
from decausal.tagging.copies import describe_copies
from decausal.tagging.early_exit import keep_first_layers
from decausal.tagging.interrupt import StopOnSignal, ValidationStopped
from decausal.tagging.metrics import score
from decausal.tagging.model import build_model, describe_layers, describe_parameters, num_dropped_layers
from decausal.tagging.outputs import check_resumed, checkpoint_to_resume, depends_on, holding, writing
from decausal.tagging.packing import PackingCollator, check_packable
from decausal.tagging.processes import check_launch, name_rank, say
from decausal.tagging.reading.corpus import ReadReport
from decausal.tagging.results import PREDICTIONS, describe, environment, save_predictions, save_results
from decausal.tagging.shards import fit_shards
from decausal.tagging.shared import SharedTrainer, read_patterns
from decausal.tagging.splits import Corpus, Split, fit_windows
from decausal.tagging.trainer import TaggingTrainer


def main(arguments: list[str] | None = None) -> int:
    """Train as the command line says.

    Returns:
        The exit status: 0; 1 after an error that a user can act on, printed as one message; 130 when interrupted.
    """
    try:
        results = train(*parse_recipe(sys.argv[1:] if arguments is None else arguments))
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError, SafetensorError) as error:
        print(f"{name_rank()}error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("stopped by SIGINT; nothing was saved that was not saved before.", file=sys.stderr)
        return 130
    if torch.distributed.is_initialized():  # gloo's threads, left to the interpreter's end, may abort a finished run
        torch.distributed.destroy_process_group()
    return 0 if results else 130


def train(
    tagging: TaggingArguments, model_config: TaggingModelConfig, training: TaggingTrainingArguments
) -> dict[str, Any]:
    """One run: data, model, audit, training, scores, a saved directory.

    Returns:
        What `results.json` in the output directory says; nothing when a signal stopped the run.

    Raises:
        DataError: a file cannot be read as asked.
        CheckpointError: the output directory holds another run, or a checkpoint to resume from does not fit.
        UnsupportedModelError: the pattern cannot be applied, or the audit failed.
        FloatingPointError: the loss is no number.
        ValueError: an argument does not fit.
    """
    started = time.time()
    check_launch(training)
    output = Path(training.output_dir)
    checkpoint = checkpoint_to_resume(
        training, overwrite=tagging.overwrite_output_dir, model_name_or_path=model_config.model_name_or_path
    )
    with holding(output) if training.process_index == 0 else nullcontext():
        return _train(tagging, model_config, training, checkpoint, started)


def _train(
    tagging: TaggingArguments,
    model_config: TaggingModelConfig,
    training: TaggingTrainingArguments,
    checkpoint: Path | None,
    started: float,
) -> dict[str, Any]:
    output = Path(training.output_dir)
    set_seed(training.seed)
    # Layers that are not there, or a pattern that does not fit, are better known at once.
    config = keep_first_layers(read_config(model_config), tagging.num_hidden_layers)
    layers = make_record(config, tagging.unmask, tagging.window)["layers"]
    patterns = read_patterns(tagging, config, layers)
    if tagging.packing:
        check_packable(config, training)
    with training.main_process_first():  # the others find what it has read, and below what it has cut
        corpus = Corpus.read(tagging)
    if patterns and "validation" not in corpus.sentences:
        raise ValueError("shared_patterns are scored on validation data, of which there is none: give validation_file.")
    tagging = replace(tagging, tag_scheme=corpus.tag_scheme)
    labels = corpus.labels
    for warning in corpus.warnings():
        say(f"warning: {warning}")
    tokenizer = base_tokenizer(tagging, model_config)
    tagging = fit_windows(tagging, longest_input(config, tokenizer))
    recipe = depends_on(tagging, model_config, training, layers, corpus.sentences["train"])
    if checkpoint is not None:
        check_resumed(checkpoint, labels, recipe)
        say(f"going on from {checkpoint}")
    with training.main_process_first():
        splits = {
            name: Split.of(found, tokenizer, labels, tagging, training=name == "train")
            for name, found in corpus.sentences.items()
        }
    facts: dict[str, Any] = {
        "unmask": tagging.unmask,
        "labels": labels,
        "data_lines": {name: _describe_use(corpus.reports[name], split) for name, split in splits.items()},
        "data": {name: asdict(value) for name, value in corpus.reports.items()},
        "windows": {name: asdict(split.report) for name, split in splits.items()},
        "recipe": {**asdict(tagging), **asdict(model_config)},
    }
    for name, line in facts["data_lines"].items():
        say(f"{name}: {line}")
    model = build_model(tagging, model_config, training, labels, tokenizer.pad_token_id)
    facts |= {
        "parameters": describe_parameters(model),
        "layers": describe_layers(model, tagging.unmask),
        "is_unmasked": bool(unmasked_layers(model)),
        "unmasked_layers": unmasked_layers(model),
        "num_layers": num_decoder_layers(text_config(transformers_model(model))),
        "num_dropped_layers": num_dropped_layers(model),
        "copies": describe_copies(tagging.num_copies),
    }
    say(f"{type(model).__name__}: {facts['parameters']}")
    say(facts["layers"])
    if facts["copies"]:
        say(facts["copies"])
    interrupt = StopOnSignal()
    trainer = _trainer(model, tokenizer, splits, tagging, training, recipe, interrupt, patterns)
    if checkpoint is not None:
        fit_shards(checkpoint, trainer)
    check_first = CheckFirst(
        trainer,
        tagging.unmask,
        is_packed=tagging.packing,
        is_shared=bool(patterns),
        replaced=None if checkpoint else output,
    )
    trainer.add_callback(check_first)
    with interrupt.listening():
        try:
            outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except ValidationStopped:
            trainer.save_checkpoint()
    if interrupt.stopping:
        say(f"stopped by {interrupt.stopping.name}; go on with the same command and --resume_from_checkpoint true")
        return {}
    with writing(output):
        trainer.save_model()
    if isinstance(trainer, SharedTrainer):
        facts["patterns"] = trainer.score_patterns(splits["validation"])
    seconds = round(outcome.metrics["train_runtime"], 1)
    return _finish(trainer, splits, started, {**facts, **check_first.facts, "train_seconds": seconds})


def _describe_use(report: ReadReport, split: Split) -> str:
    used = len(split.sentences)
    return f"{report}; {f'the first {used:,} ' if used < report.sentences else ''}used as {split}"


def _finish(trainer: TaggingTrainer, splits: dict[str, Split], started: float, facts: dict[str, Any]) -> dict[str, Any]:
    """Score every split but the training data; save and return all that is known of the run."""
    tags = {name: trainer.tag(split) for name, split in splits.items() if name != "train"}
    scores = {name: score(splits[name].sentences["tags"], found) for name, found in tags.items()}
    results = {
        "scores": {name: value.to_dict() for name, value in scores.items()},
        **facts,
        "training": trainer.args.to_dict(),
        "seed": trainer.args.seed,
        "epochs": trainer.state.epoch,
        "steps": trainer.state.global_step,
        "log": trainer.state.log_history,
        "seconds": round(time.time() - started, 1),
        **environment(),
    }
    if trainer.is_world_process_zero():
        output = Path(str(trainer.args.output_dir))
        with writing(output):
            for name, found in tags.items():
                save_predictions(splits[name].sentences, found, output / PREDICTIONS.format(split=name))
            save_results(results, output)
        for name, value in scores.items():
            say(f"{name}: {describe(value)}")
        say(f"saved in {output}")
    return results


def _trainer(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    splits: dict[str, Split],
    tagging: TaggingArguments,
    training: TaggingTrainingArguments,
    recipe: dict[str, Any],
    interrupt: StopOnSignal,
    patterns: Sequence[str],
) -> TaggingTrainer:
    callbacks: list[transformers.TrainerCallback] = [interrupt]
    if "validation" not in splits:
        say(
            "warning: there is no validation data, so the last weights are kept, not the best ones"
            + (", and early_stopping_patience has no effect." if tagging.early_stopping_patience else ".")
        )
        training.eval_strategy = transformers.IntervalStrategy.NO
        training.load_best_model_at_end = False
    elif tagging.early_stopping_patience is not None and patterns:
        say("warning: early_stopping_patience has no effect: no evaluation on the way is of the shared patterns.")
    elif tagging.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(tagging.early_stopping_patience))
    training.label_names = ["labels"]
    kind = partial(SharedTrainer, patterns=patterns) if patterns else TaggingTrainer
    if tagging.as_published:
        kind = AsPublishedTrainer
    try:
        return kind(
            model=model,
            args=training,
            train_dataset=splits["train"].windows,
            recipe=recipe,
            validation=splits.get("validation"),
            packing=PackingCollator.of(tagging, tokenizer, model) if tagging.packing else None,
            data_collator=DataCollatorForTokenClassification(tokenizer, pad_to_multiple_of=tagging.pad_to_multiple_of),
            processing_class=tokenizer,
            callbacks=callbacks,
        )
    except RuntimeError as error:  # report_to names a service that is not installed
        raise ValueError(f"report_to={training.report_to}: {error}") from error


if __name__ == "__main__":
    # transformers 5.23 renames what PEFT 0.21 reads, and what recipes for 5.6 must call by its old name.
    warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing(_enable)?` is deprecated", FutureWarning)
    sys.exit(main())
