"""What a run leaves behind besides weights: its scores with everything they depend on, a model card, its curves."""

import json
import os
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import jinja2
import psutil
import torch

from decausal.tagging.metrics import Scores
from decausal.tagging.precision import computes_in_bfloat16

RESULTS = "results.json"
CURVES = "training_curves.png"
CARD = "README.md"
PREDICTIONS = "predictions_{split}.jsonl"

_SHOWN_ON_CARD = (
    "layers",
    "is_unmasked",
    "num_dropped_layers",
    "copies",
    "scores",
    "seed",
    "parameters",
    "steps",
    "seconds",
    "processes",
    "audit",
)
_CARD = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True).from_string(
    """\
---
base_model: {{ base_model }}
library_name: {{ library }}
pipeline_tag: token-classification
tags: [token-classification, decausal]
---

# {{ name }}

A tagger for {{ types | join(", ") }}, fine-tuned from `{{ base_model }}` with
decausal: {{ layers }}{{ "; " ~ copies if copies }}.

{% if patterns %}
**Its weights are shared by {{ patterns | length }} patterns**, {{ patterns | join(", ") }}: every step trained
another one. As it is saved it tags with all their layers open; it is there to compare them.

{% endif %}
{% if is_unmasked %}
**Load it with decausal.** Plain transformers knows nothing of the pattern and would run every layer causal, without a
message and with wrong tags.
{% elif not copies %}
Load it with decausal, which cuts words and windows as in training.
{% endif %}
{% if copies %}
**Tag with `Tagger` or `TaggerPipeline`.** Whatever else calls the model gives it every window once, without a message
and with wrong tags.
{% endif %}
{% if num_dropped_layers and library == "peft" %}
PEFT alone would put the adapter on the whole base model, with the layers that are dropped here.
{% endif %}

```python
import decausal
from decausal.tagging.predict import Tagger

tagger = Tagger.from_pretrained("{{ path }}")
tagger.tag([["Jordan", "said", "no", "."]])

# or with the pipeline of transformers, on running text: entities with their characters
from transformers import pipeline
from decausal.tagging.pipeline import TaggerPipeline

model, tokenizer = decausal.load("{{ path }}")
tag = pipeline("token-classification", model, tokenizer=tokenizer, pipeline_class=TaggerPipeline)
tag("Jordan said no.", aggregation_strategy="first")
```

## Scores

Entity-level micro F1 (strict IOB2, 0-100), {{ kept }}, seed {{ seed }}.

| split | F1 | precision | recall | conlleval F1 | accuracy | entities |
|---|---|---|---|---|---|---|
{% for split, s in scores.items() %}
| {{ split }} | {{ "%.2f" | format(s.f1) }} | {{ "%.2f" | format(s.precision) }} | {{ "%.2f" | format(s.recall) }} \
| {{ "%.2f" | format(s.conlleval.f1) }} | {{ "%.2f" | format(s.accuracy) }} | {{ s.support }} |
{% endfor %}
{% for split, s in scores.items() %}

### {{ split }}, by type

| type | F1 | precision | recall | entities |
|---|---|---|---|---|
{% for kind, t in s.types.items() %}
| {{ kind }} | {{ "%.2f" | format(t.f1) }} | {{ "%.2f" | format(t.precision) }} | {{ "%.2f" | format(t.recall) }} \
| {{ t.support }} |
{% endfor %}
{% endfor %}

## Data

{% for line in data %}
- {{ line }}
{% endfor %}

## Training

![training curves]({{ curves }})

{{ parameters }}. {{ steps }} optimizer steps, {{ "%.0f" | format(seconds) }} s, {{ processes }}. Audit before
the first step: {{ audit }}. The whole recipe, versions and log are in `results.json`.
"""
)


def environment() -> dict[str, Any]:
    """Machine, versions, date and the command of this process, for results files."""
    packages = ("decausal", "torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "datasets", "seqeval")
    return {
        "versions": {name: version(name) for name in packages},
        "python": platform.python_version(),
        "machine": {
            "architecture": platform.machine(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "bfloat16": computes_in_bfloat16("cpu"),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
    }


def describe(scores: Scores) -> str:
    """One line of scores, 0-100."""
    strict = scores.strict
    return (
        f"F1 {strict.f1:.2f}, precision {strict.precision:.2f}, recall {strict.recall:.2f} (strict, {strict.support} "
        f"entities in gold); conlleval F1 {scores.conlleval.f1:.2f}; accuracy {scores.accuracy:.2f}"
    )


def save_results(results: dict[str, Any], directory: Path) -> None:
    """Write `results.json`, the model card and the picture of the curves into a run's directory.

    Args:
        results: what `train` returns.
        directory: the run's output directory.
    """
    text = json.dumps(results, indent=1, default=str, ensure_ascii=False)
    draw_curves(results["log"], directory / CURVES)
    card = _CARD.render(
        name=directory.name,
        path=directory,
        library="peft" if results["recipe"]["use_peft"] else "transformers",
        base_model=results["recipe"]["model_name_or_path"],
        types=sorted({label[2:] for label in results["labels"] if label != "O"}),
        data=[f"{name}: {line}" for name, line in results["data_lines"].items()],
        curves=CURVES,
        patterns=results.get("patterns", {}),
        kept="the last weights"
        if not results["training"]["load_best_model_at_end"]
        else f"the best checkpoint by validation {results['training']['metric_for_best_model']}",
        **{key: results[key] for key in _SHOWN_ON_CARD},
    )
    (directory / CARD).write_text(card, encoding="utf-8")
    fresh = directory / f"{RESULTS}.new"
    fresh.write_text(text + "\n", encoding="utf-8")
    fresh.replace(directory / RESULTS)  # last, and at once: where it is, the run is complete


def save_predictions(sentences: datasets.Dataset, tags: list[list[str]], path: Path) -> None:
    """Write sentences with their gold and predicted tags, one a line: `tokens`, `tags`, `predicted`.

    Args:
        sentences: the columns `tokens` and `tags`.
        tags: the predicted tag of every word.
        path: the file to write.
    """
    with path.open("w", encoding="utf-8") as file:
        for sentence, predicted in zip(sentences, tags, strict=True):
            row = {"tokens": sentence["tokens"], "tags": sentence["tags"], "predicted": predicted}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def draw_curves(log: list[dict[str, float]], path: Path) -> None:
    """Training loss and validation F1 over optimizer steps, as a PNG.

    Args:
        log: the trainer's `log_history`.
        path: the file to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    for axis, key, color in ((left, "loss", "tab:blue"), (right, "eval_f1", "tab:orange")):
        points = [(entry["step"], entry[key]) for entry in log if key in entry]
        axis.plot([x for x, _ in points], [y for _, y in points], color=color, marker="." if len(points) < 30 else "")
    left.set_xlabel("optimizer step")
    left.set_ylabel("training loss", color="tab:blue")
    right.set_ylabel("validation F1", color="tab:orange")
    right.set_ylim(0, 100)
    figure.savefig(path, dpi=150)
