"""LLaMA-Factory: `python -m decausal.hosts.llamafactory CONFIG.yaml` for `llamafactory-cli train CONFIG.yaml`."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from transformers import TrainerCallback

from decausal._attach import unmasked_layers
from decausal._checkpoint import record_beside
from decausal._errors import CheckpointError, UnsupportedModelError
from decausal.hosts._join import BANNER, Host, say
from decausal.hosts._llamafactory_limits import LAUNCH, refuse_settings
from decausal.hosts._seams import join_process
from decausal.hosts._wanted import Wanted

HOST: Final = Host("LLaMA-Factory", "llamafactory", tested="0.9.5", oldest="0.9.5", below="0.9.6")
_KEY: Final = "decausal"
_EXAMPLE: Final = 'decausal: {unmask: "0011"}'
_USAGE: Final = "usage: python -m decausal.hosts.llamafactory [train | export] CONFIG.yaml [key=value ...]"


def main() -> None:
    """Runs a command of LLaMA-Factory in this process, which is joined until it ends, or stops with one message."""
    words = sys.argv[1:]
    command = words.pop(0) if words and not words[0].endswith((".yaml", ".yml")) else "train"
    if command not in ("train", "export") or not words:
        raise SystemExit(
            f"{_USAGE}\nTo chat, export the model or take its adapter, and generate by decausal.load: LLaMA-Factory "
            f"gives the turns of a conversation as one prompt, in which earlier answers would see what follows them."
        )
    try:
        _check_installed()
        config = read(Path(words[0]), words[1:])
        wanted = take_block(config, is_needed=command == "train" and bool(config.get("do_train")))
        refuse_settings(config, os.environ)
        join_process(wanted)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise SystemExit(f"{BANNER}error: {error}") from None
    if command == "train":
        _train(config, wanted)
    else:
        _export(config, wanted)


def read(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """A configuration and `key=value` over it, merged as LLaMA-Factory merges them."""
    from omegaconf import OmegaConf

    # What comes from a shell is text; OmegaConf would take 0011 for a number.
    texts = [re.sub(rf"^({_KEY}\.unmask=)([^'\"].*)$", r'\1"\2"', override) for override in overrides]
    merged = OmegaConf.to_container(OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_cli(texts)))
    if not isinstance(merged, dict):
        raise ValueError(f"{path} is no mapping of settings.")
    return {str(name): value for name, value in merged.items()}


def take_block(config: dict[str, Any], is_needed: bool) -> Wanted:
    """Takes our block out of a configuration, whose rest LLaMA-Factory understands.

    Args:
        config: loses its entry `decausal`.
        is_needed: whether there has to be one; what a checkpoint records is enough to use it.

    Raises:
        ValueError: the block is missing, or says something that is not known.
        TypeError: the pattern is no text.
    """
    block = config.pop(_KEY, None)
    if block is None and not is_needed:
        return Wanted(None, None, HOST)
    if block is None:
        raise ValueError(f"the configuration has no block that says what to unmask: add {_EXAMPLE}")
    if not isinstance(block, Mapping) or not {"unmask"} <= block.keys() <= {"unmask", "scope"}:
        raise ValueError(f"{_KEY}: {block!r}: unmask has to be there, scope may be, and nothing else, as in {_EXAMPLE}")
    return Wanted(block["unmask"], block.get("scope"), HOST)


class RefuseCausal(TrainerCallback):
    """Looks, in LLaMA-Factory's own trainer, at the model that it has got, whether it is to train or to predict."""

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Refuses a model of which no layer is unmasked.

        Raises:
            UnsupportedModelError: names its class, and the line to add.
        """
        if not unmasked_layers(kwargs["model"]):
            raise UnsupportedModelError(
                f"no layer of {type(kwargs['model']).__name__} is unmasked: nothing it was loaded from records a "
                f"pattern, or it was not loaded by from_pretrained (train_from_scratch). Add {_EXAMPLE} to the "
                f"configuration."
            )


def _check_installed() -> None:
    try:
        import llamafactory  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(f"LLaMA-Factory is not installed: pip install {HOST.package}=={HOST.tested}") from error


def _train(config: dict[str, Any], wanted: Wanted) -> None:
    from llamafactory.extras.misc import get_device_count
    from llamafactory.train.tuner import run_exp

    if get_device_count() > 1 and "RANK" not in os.environ:
        raise SystemExit(f"{BANNER}error: {get_device_count()} devices are visible, and this is one process. {LAUNCH}")
    run_exp(args=config, callbacks=[] if wanted.unmask == "none" else [RefuseCausal()])


def _export(config: dict[str, Any], wanted: Wanted) -> None:
    from llamafactory.train.tuner import export_model

    export_model(args=config)
    if wanted.unmask != "none" and record_beside(config["export_dir"]) is None:
        raise CheckpointError(
            f"{config['export_dir']} is causal: nothing that it was made from records a pattern. Export it by "
            f"llamafactory-cli, or add {_EXAMPLE} to the configuration."
        )
    say(f"{config['export_dir']} records its pattern: by decausal.load it is unmasked, by anything else causal")


if __name__ == "__main__":
    main()
