"""What LLaMA-Factory offers and an unmasked model cannot take: settings and variables that are refused."""

from collections.abc import Mapping
from typing import Any, Final

from decausal._errors import UnsupportedModelError

LAUNCH: Final = (
    "Start the processes yourself: accelerate launch [--config_file FILE] -m decausal.hosts.llamafactory CONFIG.yaml"
)


def refuse_settings(config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Refuses settings, and environment variables, of LLaMA-Factory 0.9.5 with which our part would be left out.

    Raises:
        UnsupportedModelError: names the setting and the reason.
    """
    stage = config.get("stage") or "sft"
    if stage != "sft":
        raise UnsupportedModelError(f"stage: {stage}: {STAGES.get(stage, _LOSS_OUTSIDE)} Choose stage: sft.")
    for name, reason in SETTINGS.items():
        if config.get(name):
            raise UnsupportedModelError(f"{name}: {config[name]}: {reason}")
    for name, reason in VARIABLES.items():
        is_launched = name == "FORCE_TORCHRUN" and "RANK" in environment
        if environment.get(name, "0").lower() in ("true", "y", "1") and not is_launched:
            raise UnsupportedModelError(f"{name}={environment[name]} in the environment: {reason}")


_LOSS_OUTSIDE: Final = (
    "the loss is taken outside of the model, which is then given no labels and cannot know what is prompt."
)
STAGES: Final = {
    "pt": "every token is asked for the next one, so that there is no prompt that could see both sides.",
    "rm": "a reward model is given no labels, and cannot know what is prompt.",
}
SETTINGS: Final = {
    "train_on_prompt": "the prompt is an answer too, and nothing is left that could see both sides. Leave it out.",
    "use_dft_loss": f"{_LOSS_OUTSIDE} Leave it out.",
    "use_eaft_loss": f"{_LOSS_OUTSIDE} Leave it out.",
    "use_asft_loss": f"{_LOSS_OUTSIDE} Leave it out.",
    "label_smoothing_factor": f"{_LOSS_OUTSIDE} Leave it out.",
    "shift_attn": "attention in shifted groups cuts every row, and its mask, at borders of its own. Leave it out.",
    "mixture_of_depths": "its layers let single tokens pass by, and build causal masks of their own. Leave it out.",
    "use_unsloth": "unsloth replaces the model's attention by causal code that no mask reaches. Leave it out.",
    "use_kt": "KTransformers puts modules of its own in the place of the model's. Leave it out.",
    "use_hyper_parallel": "hyper_parallel wraps and splits the model by rules of its own. Leave it out.",
}
"""Settings that are refused, and why."""
VARIABLES: Final = {
    "FORCE_TORCHRUN": f"llamafactory-cli would start torchrun, whose processes we are not in. {LAUNCH}",
    "USE_RAY": f"workers of Ray would train, in which we are not. {LAUNCH}",
    "USE_KT": "KTransformers puts modules of its own in the place of the model's.",
    "USE_MCA": "Megatron builds its own model classes, which decausal cannot open.",
    "USE_V1": "its version 1 is another program, which was not tried; unset it, and version 0 runs.",
}
"""Environment variables that are refused if they are on, and why."""
