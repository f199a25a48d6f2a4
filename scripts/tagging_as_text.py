"""Sequence labelling as text: a sentence is the prompt, its entities are the answer, and answers become tags again.

    python scripts/tagging_as_text.py prepare SOURCE OUTPUT.jsonl [--max_samples N]
    python scripts/tagging_as_text.py score CHECKPOINT SOURCE [--max_samples N] [--output RESULTS.json]

`prepare` writes what TRL's SFTTrainer calls a prompt-completion data set. `score` generates greedily with a saved run,
unmasked or causal, and counts entities as strict IOB2. An answer names entities as `TYPE: words`, in their order; one
that names a type or words that are not there, or a line that is no such pair, counts as a failure and not as an entity.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from seqeval.scheme import IOB2, Entities
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

import decausal
from decausal._attach import RECORD
from decausal._weights import ADAPTER_CONFIG
from decausal.tagging.data import read_sentences
from decausal.tagging.metrics import score
from decausal.tagging.results import environment

NONE = "none"


def prompt_of(words: Sequence[str]) -> str:
    """What the model is asked."""
    return f"Sentence: {' '.join(words)}\nEntities:"


def answer_of(words: Sequence[str], tags: Sequence[str]) -> str:
    """What it is to answer: ` PER: Jordan; LOC: Amman`, or ` none`."""
    [entities] = Entities([list(tags)], IOB2).entities
    found = [f"{entity.tag}: {' '.join(words[entity.start : entity.end])}" for entity in entities]
    return f" {'; '.join(found) or NONE}"


def tags_of(words: Sequence[str], answer: str, types: Sequence[str]) -> tuple[list[str], int]:
    """The IOB2 tags that an answer means, and how many of its parts mean nothing.

    Each entity is looked for behind the one before it, so that of words that occur twice the next ones are taken.

    Args:
        words: of the sentence.
        answer: what the model wrote.
        types: the entity types that exist.
    """
    tags, failures, start = ["O"] * len(words), 0, 0
    for part in answer.strip().split("; "):
        kind, _, text = part.partition(": ")
        named = text.split(" ")
        place = next((i for i in range(start, len(words)) if list(words[i : i + len(named)]) == named), None)
        if kind in types and place is not None:
            start = place + len(named)
            tags[place:start] = [f"B-{kind}", *[f"I-{kind}"] * (len(named) - 1)]
        elif part != NONE:
            failures += 1
    return tags, failures


def prepare(arguments: argparse.Namespace) -> None:
    sentences, report = read_sentences(arguments.source)
    rows = list(sentences)[: arguments.max_samples]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with arguments.output.open("w", encoding="utf-8") as file:
        for row in rows:
            pair = {"prompt": prompt_of(row["tokens"]), "completion": answer_of(row["tokens"], row["tags"])}
            file.write(json.dumps(pair, ensure_ascii=False) + "\n")
    print(f"{report}; {len(rows):,} written to {arguments.output}")


def load(checkpoint: Path) -> tuple[Any, Any]:
    """A run's model, unmasked if its pattern says so, and tokenizer, ready to generate; an adapter is merged."""
    if (checkpoint / "config.json").is_file() and RECORD in PreTrainedConfig.get_config_dict(checkpoint)[0]:
        model, tokenizer = decausal.load(checkpoint)
    else:
        is_adapter = (checkpoint / ADAPTER_CONFIG).is_file()
        model_class = AutoPeftModelForCausalLM if is_adapter else AutoModelForCausalLM
        model = model_class.from_pretrained(checkpoint, dtype="auto").eval()
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.padding_side = "left"
    return model.merge_and_unload() if isinstance(model, PeftModel) else model, tokenizer


def generate(model: Any, tokenizer: Any, prompts: Sequence[str], batch_size: int) -> list[str]:
    """The greedy answer to each prompt; prompts of like length share a batch."""
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        batch = tokenizer([prompts[i] for i in rows], return_tensors="pt", padding=True)
        with torch.inference_mode():
            ids = model.generate(
                **batch, do_sample=False, max_new_tokens=96, eos_token_id=tokenizer.eos_token_id, pad_token_id=0
            )
        new = tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for row, answer in zip(rows, new, strict=True):
            answers[row] = answer
    return answers


def score_run(arguments: argparse.Namespace) -> None:
    sentences, report = read_sentences(arguments.source)
    rows = list(sentences)[: arguments.max_samples]
    types = sorted({tag[2:] for row in sentences for tag in row["tags"] if tag != "O"})
    model, tokenizer = load(arguments.checkpoint)
    started = time.time()
    answers = generate(model, tokenizer, [prompt_of(row["tokens"]) for row in rows], arguments.batch_size)
    parsed = [tags_of(row["tokens"], answer, types) for row, answer in zip(rows, answers, strict=True)]
    scores = score([row["tags"] for row in rows], [tags for tags, _ in parsed])
    results = {
        **scores.to_dict(),
        "failures": sum(count for _, count in parsed),
        "sentences": len(rows),
        "source": Path(report.source).name,
        "unmasked_layers": list(decausal.unmasked_layers(model)),
        "seconds": round(time.time() - started, 1),
        **environment(),
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(
        f"{arguments.checkpoint}: F1 {scores.strict.f1:.2f}, precision {scores.strict.precision:.2f}, recall "
        f"{scores.strict.recall:.2f}; {results['failures']} parts of answers mean nothing"
    )


def main() -> None:
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
    scoring.set_defaults(run=score_run)
    for command in (preparing, scoring):
        command.add_argument("--max_samples", type=int, help="only the first N sentences")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
