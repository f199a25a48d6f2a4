"""Hold the plan of a recipe against the memory that its training steps really take at their peak.

python scripts/measure_memory.py --output benchmarks/results/memory_cpu.json RECIPE.yaml --field value ...

measures LoRA, QLoRA and full fine-tuning, with and without gradient checkpointing, at two batch sizes, each in a
process of its own: two optimizer steps on the longest windows of the training data. `--only` picks cases by name, and
results are added to those that the file holds already.

On the CPU it is the largest resident set (VmHWM) less that after all imports and a step of a one-layer model of the
same kind. glibc's malloc is told to give every large tensor pages of its own and to give them back
(MALLOC_MMAP_THRESHOLD_); with its defaults the same step can hold far more, which `--default_malloc` shows.

`--device cuda` takes torch.cuda.max_memory_allocated instead. Untested: there was no GPU to try it on. To try it, run
it on one with the same recipe; the table that it prints has the same columns.
"""

import argparse
import copy
import gc
import json
import os
import platform
import re
import subprocess
import sys
import warnings
from datetime import date
from pathlib import Path

METHODS = {
    "lora": [],
    "qlora": ["--load_in_4bit", "true"],
    "full": ["--use_peft", "false"],
}
CASES = {
    f"{method}-{'checkpointing' if checkpointing else 'plain'}-{size}": [
        *fields,
        *("--gradient_checkpointing", str(checkpointing).lower(), "--per_device_train_batch_size", str(size)),
    ]
    for method, fields in METHODS.items()
    for checkpointing in (False, True)
    for size in (2, 8)
}
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Hold a plan against measured memory.", allow_abbrev=False)
    parser.add_argument("recipe", help="a recipe; fields that follow override it")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, help="where the results are kept, as JSON")
    parser.add_argument("--only", action="append", choices=list(CASES), help="a case; may be given several times")
    parser.add_argument("--default_malloc", action="store_true", help="leave malloc as it is")
    parser.add_argument("--measure_this", action="store_true", help=argparse.SUPPRESS)
    arguments, fields = parser.parse_known_args()
    fields = [arguments.recipe, *fields, "--disable_tqdm", "true"]
    fields += ["--use_cpu", "true"] if arguments.device == "cpu" else []
    if arguments.measure_this:
        print(json.dumps(measure(fields, arguments.device)))
        return
    suffix = "-default-malloc" if arguments.default_malloc else ""
    for name in arguments.only or CASES:
        case = [*fields, *CASES[name]]
        options = ["--device", arguments.device, "--measure_this"]
        environment = os.environ | ({} if arguments.default_malloc else MALLOC)
        command = [sys.executable, __file__, *options, *case]
        child = subprocess.run(command, env=environment, capture_output=True, text=True)
        if child.returncode:
            raise SystemExit(child.stderr)
        row = {"case": name + suffix, **json.loads(child.stdout.splitlines()[-1]), "planned": plan(case)}
        row["ratio"] = round(row["planned"]["total"] / row["measured"], 4)
        print(f"{row['case']}: measured {row['measured']:,}, planned {row['planned']['total']:,}, ratio {row['ratio']}")
        if arguments.output is not None:
            keep(row, arguments, fields)


def plan(fields: list[str]) -> dict[str, int]:
    """The planned bytes of a case, part by part and in all; what is assumed of CUDA is no tensor, and left out."""
    from decausal.tagging.plan.plan import make_plan

    made = make_plan(fields)
    parts = {name: size for name, size in made.needs[made.gradient_checkpointing].device.items() if "CUDA" not in name}
    return {**parts, "total": sum(parts.values()), "batch_length": made.epoch.longest}


def measure(fields: list[str], device: str) -> dict[str, int]:
    """The peak of two optimizer steps in this process, in bytes."""
    warnings.filterwarnings("ignore")
    import torch

    from decausal._tokenizer import load_tokenizer
    from decausal.tagging.arguments import parse_recipe
    from decausal.tagging.model import build_model
    from decausal.tagging.splits import Corpus, Split

    tagging, model_config, training = parse_recipe(fields)
    training.max_steps, training.report_to = 2, []
    training.eval_strategy = training.save_strategy = "no"
    training.load_best_model_at_end = False
    training.logging_strategy = "no"
    tokenizer = load_tokenizer(str(model_config.model_name_or_path), add_prefix_space=tagging.add_prefix_space)
    tagging.validation_file = tagging.test_file = None
    corpus = Corpus.read(tagging)
    labels = corpus.labels
    split = Split.of(corpus.sentences["train"], tokenizer, labels, tagging, training=True)
    needed = 2 * training.per_device_train_batch_size * training.gradient_accumulation_steps
    order = sorted(range(len(split.windows)), key=lambda i: len(split.windows[i]["input_ids"]), reverse=True)
    windows = split.windows.select((order * needed)[:needed])
    torch.manual_seed(training.seed)
    # What a first step loads (code, and memory that the libraries keep) is no part of a plan.
    warm_up(tagging, model_config, training, labels, tokenizer, windows)
    gc.collect()
    before = resident("VmRSS") if device == "cpu" else torch.cuda.memory_allocated()
    model = build_model(tagging, model_config, training, labels, tokenizer.pad_token_id)
    gc.collect()
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew: loading is over
    else:
        torch.cuda.reset_peak_memory_stats()
    train(model, tokenizer, windows, tagging, training)
    after = resident("VmHWM") if device == "cpu" else torch.cuda.max_memory_allocated()
    longest = -(-max(map(len, windows["input_ids"])) // 8) * 8
    return {"before": before, "measured": after - before, "batch_length": longest}


def warm_up(tagging, model_config, training, labels, tokenizer, windows) -> None:
    import tempfile

    from transformers import AutoConfig, AutoModelForCausalLM

    from decausal.tagging.model import build_model

    config = AutoConfig.from_pretrained(model_config.model_name_or_path)
    config.update({"num_hidden_layers": 1, "layer_types": None})
    with tempfile.TemporaryDirectory() as directory:
        AutoModelForCausalLM.from_config(config).save_pretrained(directory)
        small, one_layer = copy.copy(model_config), copy.copy(tagging)
        small.model_name_or_path, one_layer.unmask = directory, "all"
        model = build_model(one_layer, small, training, labels, tokenizer.pad_token_id)
    train(model, tokenizer, windows, tagging, training)


def train(model, tokenizer, windows, tagging, training) -> None:
    from transformers import DataCollatorForTokenClassification

    from decausal.tagging.trainer import TaggingTrainer

    arguments = copy.copy(training)
    arguments.label_names = ["labels"]
    collator = DataCollatorForTokenClassification(tokenizer, pad_to_multiple_of=tagging.pad_to_multiple_of)
    trainer = TaggingTrainer(
        model=model,
        args=arguments,
        train_dataset=windows,
        recipe={},
        data_collator=collator,
        processing_class=tokenizer,
    )
    trainer.train()


def resident(field: str) -> int:
    """A line of /proc/self/status in bytes: VmRSS is now, VmHWM the most so far."""
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def keep(row: dict, arguments: argparse.Namespace, fields: list[str]) -> None:
    from importlib.metadata import version

    path = arguments.output
    rows = json.loads(path.read_text(encoding="utf-8"))["cases"] if path.exists() else []
    results = {
        "command": " ".join(
            ["python scripts/measure_memory.py", *(Path(f).name if f[0] == "/" else f for f in fields)]
        ),
        "date": date.today().isoformat(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "accelerate", "bitsandbytes")},
        "malloc": MALLOC,
        "seed": 120,
        "cases": sorted([*(r for r in rows if r["case"] != row["case"]), row], key=lambda r: r["case"]),
    }
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
