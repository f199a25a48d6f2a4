"""The run of a search that trains one adapter for all patterns, and what it says of each."""

import json
import math
from dataclasses import replace
from typing import Any

from decausal._layers import encoder_message, is_encoder
from decausal._pattern import LayerPattern
from decausal.sweep.prepare import Plan
from decausal.sweep.run import Runner
from decausal.tagging.arguments import as_flags, parse_recipe
from decausal.tagging.base import read_config
from decausal.tagging.results import RESULTS

_DIVISOR = 4
_FEWEST_SENTENCES = 500  # on 121, two patterns were alike that differ by 2.3 F1 on all 304 of their data


def share_adapter(plan: Plan, patterns: str, divisor: int = _DIVISOR) -> Runner:
    """What runs the recipe with one adapter for all patterns, given a seed.

    It trains on as many sentences as the recipe does, in smaller batches: every pattern is to have many steps. The
    learning rate falls with the square root of the batch; all else is as in the recipe. There are no evaluations on the
    way: what they would take goes into the scores of the patterns, on the first validation sentences, at least 500 if
    there are as many.

    Args:
        plan: of the patterns that share the adapter.
        patterns: the same, as `parse_patterns` reads them.
        divisor: what a step's batch is divided by, if it can be; fewer micro-batches before smaller ones.

    Raises:
        ValueError: the model is an encoder, or the recipe needs what a shared run has not.
    """
    recipe = [str(plan.runner.recipe), *plan.runner.overrides]
    _, model_config, training = parse_recipe(recipe)
    config = read_config(model_config).get_text_config(decoder=True)
    if is_encoder(config):
        raise ValueError(encoder_message(config, str(model_config.model_name_or_path)))
    fewer = math.gcd(training.gradient_accumulation_steps, divisor)
    batch = max(1, training.per_device_train_batch_size // (divisor // fewer))
    part = batch / training.per_device_train_batch_size / fewer
    evaluations = max(1, round(training.num_train_epochs)) if training.eval_strategy == "epoch" else 1
    available = plan.num_sentences["validation"]
    # Every run tags them once more in the end: an ordinary one after its evaluations, this one after its patterns.
    affordable = (evaluations + 1) * available // (len(plan.space.patterns) + 1)
    layers = {layer for pattern in plan.space.patterns for layer in LayerPattern(pattern).layers(plan.num_layers)}
    fields: dict[str, Any] = {
        "unmask": ",".join(f"{layer}-{layer}" for layer in sorted(layers)),
        "shared_patterns": patterns,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": training.gradient_accumulation_steps // fewer,
        "learning_rate": training.learning_rate * math.sqrt(part),
        "eval_strategy": "no",
        "load_best_model_at_end": "false",
        "max_eval_samples": min(available, max(affordable, _FEWEST_SENTENCES)),
        "max_test_samples": 1,
    }
    for name in ("max_steps", "warmup_steps"):
        if (steps := getattr(training, name)) >= 1:  # below, a share of all steps, or none given
            fields[name] = round(steps / part)
    flags = as_flags(fields)
    parse_recipe([*recipe, *flags])  # what does not fit is better known at once
    return replace(plan.runner, overrides=(*plan.runner.overrides, *flags), directory=plan.runner.directory / "shared")


def read_scores(runner: Runner, setting: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What a finished shared run says of each pattern: `f1` and the like, 0-100, and `loss`, on validation data."""
    results = json.loads((runner.output_of(setting) / RESULTS).read_text(encoding="utf-8"))
    scores: dict[str, dict[str, float]] = results["patterns"]
    return scores


def rank(scores: dict[str, dict[str, float]]) -> list[str]:
    """The patterns, the best F1 first; of equal ones the smaller loss."""
    return sorted(scores, key=lambda pattern: (-scores[pattern]["f1"], scores[pattern]["loss"]))
