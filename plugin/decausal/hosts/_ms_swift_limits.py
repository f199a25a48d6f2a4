"""What ms-swift offers and an unmasked model cannot take: settings that are refused, and one that is set."""

from collections.abc import Callable
from typing import Any, Final

from decausal._errors import UnsupportedModelError
from decausal.hosts._join import say


def refuse_settings(args: Any) -> None:
    """Refuses settings of ms-swift with which the model would be another than is said.

    Raises:
        UnsupportedModelError: names the setting and the way out.
    """
    for name, is_refused, reason in REFUSED:
        value = getattr(args, name, None)
        if is_refused(value):
            raise UnsupportedModelError(f"ms-swift: {name}={value}: {reason}")


def keep_prompt_labels(args: Any) -> None:
    """Switches off what ms-swift switches on by itself: to cut off the labels by which the prompt is known.

    Raises:
        UnsupportedModelError: it was asked for.
    """
    training: Any = getattr(args, "training_args", None)
    if not hasattr(training, "use_logits_to_keep") or args.task_type != "causal_lm":
        return
    if training.use_logits_to_keep:
        raise UnsupportedModelError(
            "ms-swift: use_logits_to_keep=True cuts the labels of the prompt off, by which it is known; leave it out."
        )
    if training.use_logits_to_keep is None:
        training.use_logits_to_keep = False
        say("use_logits_to_keep is off, since the prompt is known by its labels")


REFUSED: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    (
        "sequence_parallel_size",
        lambda size: (size or 1) > 1,
        "it splits each row over processes, whose attention is causal by itself; set it to 1.",
    ),
    ("packing", bool, "ms-swift packs for flash attention only, which takes no mask; set it to false."),
    ("padding_free", bool, "it needs flash attention in ms-swift, which takes no mask; set it to false."),
    ("tuner_backend", lambda name: name == "unsloth", "it has causal attention of its own; use peft."),
    ("tuner_type", lambda name: name == "longlora", "it has causal attention of its own; use lora."),
    (
        "tuner_type",
        lambda name: name == "llamapro",
        "it inserts layers, which moves those of the pattern; use lora.",
    ),
    ("infer_backend", lambda name: name not in (None, "transformers"), "it is causal; use transformers."),
    ("rlhf_type", bool, "it has not been tried, and loads models that are to stay as they are; use swift sft."),
)
"""Names of arguments, when they are refused, and why."""
