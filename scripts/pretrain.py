"""Pretrain one of the paper's 68M twins from text: RoBERTa cut to 4 layers, as a masked-LM encoder or a causal decoder.

    accelerate launch --config_file recipes/launch/X.yaml scripts/pretrain.py recipes/pretrain_68m/causal.yaml \
      --train_file TEXT [--field value ...]

TEXT is a file, a directory or a pattern such as "books/*.txt", one sentence a line. Each becomes `<s> ... </s>`; all
are laid end to end and cut into blocks, in which sentences see each other. What is left behind the last is dropped.

The loss of an optimizer step is one mean over all that it predicts, and what is masked depends on seed, epoch and block
alone: without dropout, a run takes the same steps on any number of processes and with any accumulation.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from transformers import (
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForCausalLM,
    RobertaForMaskedLM,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from decausal.tagging.arguments import parse_fields
from decausal.tagging.begin import CheckFirst
from decausal.tagging.exact import ExactTrainer
from decausal.tagging.interrupt import StopOnSignal
from decausal.tagging.outputs import as_json, check_recipe, checkpoint_to_resume, depends_on_training, writing
from decausal.tagging.processes import check_launch, name_rank, say
from decausal.tagging.results import RESULTS, environment
from decausal.tagging.shards import fit_shards
from decausal.tagging.trainer import token_mean_loss
from packed_text import SPECIAL_TOKENS, Blocks, CountEpochs, cut_blocks, digest, read_tokenizer

# roberta-base (Liu et al. 2019, arXiv 1907.11692) with 4 of its 12 layers; the paper's code cuts it so.
SHAPE = {"num_hidden_layers": 4, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}


@dataclass
class PretrainingArguments:
    """What is predicted, in which text. Every other field of a recipe is one of transformers' `TrainingArguments`."""

    objective: Literal["mlm", "causal"] = field(metadata={"help": "Masked tokens from both sides, or the next one."})
    train_file: str = field(metadata={"help": "Text, one sentence a line: a file, or a pattern in quotes."})
    tokenizer_name_or_path: str = field(
        default="FacebookAI/roberta-base", metadata={"help": "Cuts the text; its size is that of the vocabulary."}
    )
    block_size: int = field(default=512, metadata={"help": "Tokens in a block, special ones included."})
    mlm_probability: float = field(default=0.15, metadata={"help": "Share of tokens that mlm predicts."})
    config_overrides: str | None = field(
        default=None, metadata={"help": 'Another shape, to try things out: "hidden_size=64,num_hidden_layers=2".'}
    )
    overwrite_output_dir: bool = field(default=False, metadata={"help": "Replace the run in the output directory."})


def main(arguments: list[str] | None = None) -> int:
    """Pretrain as the command line says.

    Returns:
        The exit status: 0; 1 after an error that a user can act on, printed as one message; 130 when interrupted.
    """
    types = (PretrainingArguments, TrainingArguments)
    try:
        fields = parse_fields(sys.argv[1:] if arguments is None else arguments, types, "scripts/pretrain.py")
        return 0 if pretrain(*fields) else 130
    except (ValueError, TypeError, OSError, FloatingPointError, SafetensorError) as error:
        print(f"{name_rank()}error: {error}", file=sys.stderr, flush=True)
        return 1


def pretrain(arguments: PretrainingArguments, training: TrainingArguments) -> dict[str, Any]:
    """One run; what `results.json` in the output directory says, and nothing when a signal stopped the run."""
    check_launch(training)
    if training.device.type == "cpu":
        training.dataloader_pin_memory = False  # torch warns, every epoch, that there is nothing to pin for
    output, name = Path(str(training.output_dir)), arguments.tokenizer_name_or_path
    checkpoint = checkpoint_to_resume(training, overwrite=arguments.overwrite_output_dir, tokenizer_name_or_path=name)
    tokenizer = read_tokenizer(name, arguments.block_size)
    with training.main_process_first(desc="cutting the text"):
        blocks, text = cut_blocks(arguments.train_file, tokenizer, arguments.block_size)
    say(text)
    model = build_model(arguments, tokenizer, training.seed)
    say(f"{type(model).__name__}: {model.num_parameters():,} parameters")
    fields = {
        key: value for key, value in asdict(arguments).items() if key not in ("train_file", "overwrite_output_dir")
    }
    recipe = as_json({**fields, **depends_on_training(training), "text (SHA-256)": digest(blocks)})
    if checkpoint is not None:
        check_recipe(checkpoint, recipe)
        say(f"going on from {checkpoint}")
    is_mlm = arguments.objective == "mlm"
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=is_mlm, mlm_probability=arguments.mlm_probability)
    train_dataset = Blocks(blocks, collator, training.seed)
    interrupt = StopOnSignal()
    trainer = ExactTrainer(
        model=model,
        args=training,
        lengths=[arguments.block_size] * len(blocks),
        recipe=recipe,
        train_dataset=train_dataset,
        data_collator=default_data_collator,
        processing_class=tokenizer,
        # RobertaForMaskedLM takes the step's count of labels and ignores it (transformers 5.23); the causal one obeys.
        compute_loss_func=partial(token_mean_loss, label_smoothing=training.label_smoothing_factor) if is_mlm else None,
        callbacks=[interrupt, CountEpochs(train_dataset)],
    )
    if checkpoint is not None:
        fit_shards(checkpoint, trainer)
    check_first = CheckFirst(trainer, "none", replaced=None if checkpoint else output)
    trainer.add_callback(check_first)
    with interrupt.listening():
        outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if interrupt.stopping:
        say(f"stopped by {interrupt.stopping.name}; go on with the same command and --resume_from_checkpoint true")
        return {}
    results = {
        "model": type(model).__name__,
        "parameters": model.num_parameters(),
        "text": text,
        "recipe": recipe,
        **check_first.facts,
        "training": training.to_dict(),
        "seed": training.seed,
        "epochs": trainer.state.epoch,
        "steps": trainer.state.global_step,
        "log": trainer.state.log_history,
        "seconds": round(outcome.metrics["train_runtime"], 1),
        **environment(),
    }
    with writing(output):
        trainer.save_model()
        if trainer.is_world_process_zero():
            (output / RESULTS).write_text(json.dumps(results, indent=1, default=str) + "\n", encoding="utf-8")
    say(f"saved in {output}")
    return results


def build_model(arguments: PretrainingArguments, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """The untrained twin; for one seed both have the same weights.

    Raises:
        ValueError: the shape is none, or has not enough positions.
    """
    is_decoder = arguments.objective == "causal"
    special = {f"{role}_id": getattr(tokenizer, f"{role}_id") for role in SPECIAL_TOKENS if role != "mask_token"}
    try:
        config = RobertaConfig(vocab_size=len(tokenizer), is_decoder=is_decoder, **special, **SHAPE)
        if arguments.config_overrides:
            config.update_from_string(arguments.config_overrides)
    except ValueError as error:
        raise ValueError(f"config_overrides={arguments.config_overrides}: {error}") from error
    positions = config.max_position_embeddings - tokenizer.pad_token_id - 1
    if arguments.block_size > positions:
        raise ValueError(
            f"block_size={arguments.block_size}: RoBERTa counts its {config.max_position_embeddings} positions from "
            f"pad_token_id + 1 = {tokenizer.pad_token_id + 1} on, which leaves {positions}."
        )
    set_seed(seed)
    return RobertaForCausalLM(config) if is_decoder else RobertaForMaskedLM(config)


if __name__ == "__main__":
    sys.exit(main())
