"""Sequence labelling as text: a sentence is the prompt, its entities are the answer, and answers become tags again.

    python scripts/tagging_as_text.py prepare SOURCE OUTPUT.jsonl [--instructions recipes/instruct/ner.yaml]
    python scripts/tagging_as_text.py score CHECKPOINT SOURCE [--instructions OUTPUT.yaml] [--output RESULTS.json]

`prepare` writes what TRL calls a prompt-completion data set, and beside it as OUTPUT.yaml the instructions,
if there are any, with the names of all entity types. `score` generates with a saved run, unmasked or causal, and counts
entities as strict IOB2. A type or words in an answer that are not there count as a failure and not as an entity.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, set_seed

import decausal
from answers import Form, InstructionForm, ShortForm
from decausal._attach import RECORD
from decausal._weights import ADAPTER_CONFIG
from decausal.tagging.data import ReadReport, count_tags, read_sentences
from decausal.tagging.metrics import score
from decausal.tagging.results import environment


def read(arguments: argparse.Namespace) -> tuple[Dataset, ReadReport, Form]:
    """The sentences that are asked for, and the form in which they are asked about."""
    sentences, report = read_sentences(
        arguments.source, columns=arguments.columns, tag_scheme=arguments.tag_scheme,
        file_format=arguments.file_format, separator=arguments.separator,
    )  # fmt: skip
    types = sorted({tag[2:] for tag in count_tags(sentences) if tag != "O"})
    rows = sentences.select(range(min(arguments.max_samples or len(sentences), len(sentences))))
    if arguments.instructions is None:
        return rows, report, ShortForm(types)
    if arguments.run is prepare:
        return rows, report, InstructionForm.read(arguments.instructions, types)
    # Only types that the model was told of: another one would change every prompt.
    return rows, report, InstructionForm.read(arguments.instructions, [], arguments.lenient)


def prepare(arguments: argparse.Namespace) -> None:
    rows, report, form = read(arguments)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    lossy = 0
    with arguments.output.open("w", encoding="utf-8") as file:
        for row in rows:
            answer = form.answer_of(row["tokens"], row["tags"])
            lossy += form.tags_of(row["tokens"], answer) != (row["tags"], 0)
            pair = {"prompt": form.prompt_of(row["tokens"]), "completion": answer}
            file.write(json.dumps(pair, ensure_ascii=False) + "\n")
    if isinstance(form, InstructionForm):
        form.save(arguments.output.with_suffix(".yaml"))
    print(f"{report}; {len(rows):,} written to {arguments.output}, of {lossy:,} the answer means other tags")


def load(checkpoint: Path, dtype: str = "auto", use_cpu: bool = False) -> tuple[Any, Any]:
    """A run's model, unmasked if its pattern says so, and tokenizer, ready to generate; an adapter is merged.

    Args:
        checkpoint: the run.
        dtype: of the weights of a run that is causal.
        use_cpu: leave an accelerator alone.
    """
    if (checkpoint / "config.json").is_file() and RECORD in PreTrainedConfig.get_config_dict(checkpoint)[0]:
        model, tokenizer = decausal.load(checkpoint)
    else:
        is_adapter = (checkpoint / ADAPTER_CONFIG).is_file()
        model_class = AutoPeftModelForCausalLM if is_adapter else AutoModelForCausalLM
        model = model_class.from_pretrained(checkpoint, dtype=dtype).eval()
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.padding_side = "left"
    if torch.accelerator.is_available() and not use_cpu:
        model = model.to(torch.accelerator.current_accelerator())
    return model.merge_and_unload() if isinstance(model, PeftModel) else model, tokenizer


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    batch_size: int,
    max_new_tokens: int = 96,
    sample_seed: int | None = None,
) -> list[str]:
    """The answer to each prompt; prompts of like length share a batch.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, which pads on the left.
        prompts: the questions.
        batch_size: how many are answered at once.
        max_new_tokens: of an answer.
        sample_seed: draw the answers, as the paper's baseline does; by default they are greedy.
    """
    # Temperature and top_p of the released code; top_k is transformers' own, as there.
    drawn = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
    way: dict[str, Any] = {"do_sample": False} if sample_seed is None else drawn
    if sample_seed is not None:
        set_seed(sample_seed)
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        batch = tokenizer([prompts[i] for i in rows], return_tensors="pt", padding=True).to(model.device)
        with torch.inference_mode():
            ids = model.generate(
                **batch, **way, max_new_tokens=max_new_tokens, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id or 0,
            )  # fmt: skip
        new = tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for row, answer in zip(rows, new, strict=True):
            answers[row] = answer
    return answers


def score_run(arguments: argparse.Namespace) -> None:
    rows, report, form = read(arguments)
    model, tokenizer = load(arguments.checkpoint, arguments.dtype, arguments.use_cpu)
    started = time.time()
    prompts = [form.prompt_of(row["tokens"]) for row in rows]
    answers = generate(model, tokenizer, prompts, arguments.batch_size, arguments.max_new_tokens, arguments.sample_seed)
    parsed = [form.tags_of(row["tokens"], answer) for row, answer in zip(rows, answers, strict=True)]
    scores = score(rows["tags"], [tags for tags, _ in parsed])
    results = {
        **scores.to_dict(),
        "failures": sum(count for _, count in parsed),
        "sentences with failures": sum(count > 0 for _, count in parsed),
        "sentences": len(rows),
        "source": Path(report.source).name,
        "unmasked_layers": list(decausal.unmasked_layers(model)),
        "seconds": round(time.time() - started, 1),
        **environment(),
    }
    if arguments.output:
        unfinished = arguments.output.with_suffix(".part")
        unfinished.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(arguments.output)
    print(
        f"{arguments.checkpoint}: F1 {scores.strict.f1:.2f}, precision {scores.strict.precision:.2f}, recall "
        f"{scores.strict.recall:.2f}; {results['failures']} parts of answers mean nothing"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    preparing = commands.add_parser("prepare", help="annotated sentences as prompts and answers")
    preparing.add_argument("source")
    preparing.add_argument("output", type=Path)
    preparing.set_defaults(run=prepare)
    scoring = commands.add_parser("score", help="entity F1 of what a run writes")
    scoring.add_argument("checkpoint", type=Path)
    scoring.add_argument("source")
    scoring.add_argument("--output", type=Path, help="where results are written as JSON")
    scoring.add_argument("--batch_size", type=int, default=32)
    scoring.add_argument("--dtype", default="auto", help="of the weights, if the run is causal; by default as saved")
    scoring.add_argument("--use_cpu", action="store_true", help="leave an accelerator alone")
    scoring.add_argument("--max_new_tokens", type=int, default=96, help="of an answer")
    scoring.add_argument("--sample_seed", type=int, help="draw answers, as the paper does, instead of greedy ones")
    scoring.add_argument("--lenient", action="store_true", help="read answers by the paper's rules; for instructions")
    scoring.set_defaults(run=score_run)
    for command in (preparing, scoring):
        command.add_argument("--instructions", type=Path, help="a YAML of recipes/instruct: the paper's prompts")
        command.add_argument("--max_samples", type=int, help="only the first N sentences")
        for name in ("columns", "separator", "file_format"):
            command.add_argument(f"--{name}", help="as in a recipe")
        command.add_argument("--tag_scheme", default="auto", help="as in a recipe")
    chosen = parser.parse_args(arguments)
    chosen.run(chosen)


if __name__ == "__main__":
    main()
