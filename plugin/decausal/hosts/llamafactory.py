"""LLaMA-Factory: `python -m decausal.hosts.llamafactory CONFIG.yaml` for `llamafactory-cli train CONFIG.yaml`."""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, get_args

from decausal._errors import CheckpointError, UnsupportedModelError
from decausal._masks import Scope
from decausal._pattern import LayerPattern
from decausal.hosts._join import BANNER, Host, say
from decausal.hosts._llamafactory import EXAMPLE, LAUNCH, Proof, check, record_of
from decausal.hosts._seams import Wanted, join_process

HOST: Final = Host("LLaMA-Factory", "llamafactory", tested="0.9.5", oldest="0.9.5", newest="0.9.6")
Run: TypeAlias = Callable[[dict[str, Any], Wanted], None]
_KEY: Final = "decausal"
_USAGE: Final = "usage: python -m decausal.hosts.llamafactory [train | export] CONFIG.yaml [key=value ...]"


def main() -> None:
    """Runs a command of LLaMA-Factory, and first stops with one message where it could not be joined."""
    words = sys.argv[1:]
    command = words.pop(0) if words and not words[0].endswith((".yaml", ".yml", ".json")) else "train"
    if command not in _COMMANDS or not words:
        raise SystemExit(
            f"{_USAGE}\nTo chat, export the model or take its adapter, and generate by decausal.load: LLaMA-Factory "
            f"gives the turns of a conversation as one prompt, in which earlier answers would see what follows them."
        )
    try:
        config = read(Path(words[0]), words[1:])
        wanted = take_block(config, is_needed=command == "train" and bool(config.get("do_train")))
        check(config, os.environ)
        run = _COMMANDS[command]()
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise SystemExit(f"{BANNER}error: {error}") from None
    join_process(wanted)
    run(config, wanted)


def read(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """A configuration and `key=value` over it, merged as LLaMA-Factory merges them; JSON too, which it cannot read."""
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
        raise ValueError(f"the configuration has no block that says what to unmask: add {EXAMPLE}")
    if not isinstance(block, Mapping) or not {"unmask"} <= block.keys() <= {"unmask", "scope"}:
        raise ValueError(f"{_KEY}: {block!r}: unmask has to be there, scope may be, and nothing else, as in {EXAMPLE}")
    scope: Scope | None = block.get("scope")
    if scope not in (None, *get_args(Scope)):
        raise ValueError(f"{_KEY}: scope={scope!r}: write {' or '.join(get_args(Scope))}, or leave it out.")
    return Wanted(str(LayerPattern.parse(block["unmask"])), scope, HOST)


def _train() -> Run:
    from llamafactory.extras.misc import get_device_count
    from llamafactory.train.tuner import run_exp

    if get_device_count() > 1 and "RANK" not in os.environ:
        raise UnsupportedModelError(f"{get_device_count()} devices are visible, and this is one process. {LAUNCH}")
    return lambda config, wanted: run_exp(args=config, callbacks=[Proof(wanted)])


def _export() -> Run:
    from llamafactory.train.tuner import export_model

    def export(config: dict[str, Any], wanted: Wanted) -> None:
        export_model(args=config)
        if wanted.unmask != "none" and record_of(config["export_dir"]) is None:
            raise CheckpointError(
                f"{config['export_dir']} is causal: nothing that it was made from records a pattern. Export it by "
                f"llamafactory-cli, or add {EXAMPLE} to the configuration."
            )
        say(f"{config['export_dir']} records its pattern: by decausal.load it is unmasked, by anything else causal")

    return export


_COMMANDS: Final = {"train": _train, "export": _export}

if __name__ == "__main__":
    main()
