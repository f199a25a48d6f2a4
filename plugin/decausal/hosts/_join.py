"""Joining another toolkit's run: refuse what cannot be exact, unmask the model that the host has built, say so."""

import os
import sys
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from torch import nn

import decausal
from decausal._classifier import HEAD_NAMES
from decausal._errors import UnsupportedModelError
from decausal._layers import find_decoder_stack, transformers_model, writes_text
from decausal._masks import Scope, Window
from decausal._pattern import format_layers
from decausal._weights import keep_packed

BANNER: Final = "decausal: "
"""What the line begins with by which a run shows that it was joined."""


@dataclass(frozen=True)
class Host:
    """A toolkit, and the version of it that our adapter was tested with.

    Attributes:
        name: as its own documentation writes it.
        package: its distribution on PyPI.
        tested: the version that the adapter was run with.
        oldest: the first version that has what the adapter relies on.
        below: the first version about which nothing is known.
    """

    name: str
    package: str
    tested: str
    oldest: str
    below: str


def join(
    model: nn.Module, unmask: str, scope: Scope | None, host: Host, *, window: Window = "symmetric"
) -> decausal.Handle:
    """Unmasks a host's model in place and prints, in every process, one line that proves it.

    Args:
        model: as the host has built it, before or after LoRA, before it is wrapped for several processes.
        unmask: which layers; see `LayerPattern`.
        scope: `"all"` or `"prompt"`; see `decausal.unmask`. None takes `"prompt"` for a model that writes text, and
            `"all"` for one that classifies.
        host: whose run this is.
        window: see `decausal.unmask`.

    Raises:
        UnsupportedModelError: something in this process decides by itself what tokens see, or every token of a model
            that is trained to write text would see its own answer, or a model that classifies is given a scope
            that is for text.
    """
    warn_untested(host)
    check_attention_code(host)
    base = transformers_model(model)
    scope = scope or ("prompt" if writes_text(base) else "all")
    if scope == "all" and unmask != "none" and writes_text(base):
        raise UnsupportedModelError(
            f'{host.name}: scope="all" with {type(base).__name__}, whose loss asks every position for the next token: '
            f"in unmasked layers it would read the answer to its right. Choose scope prompt, with which the prompt is "
            f"bidirectional and the answer stays causal, or train a model for token or sequence classification."
        )
    if scope == "prompt" and unmask != "none" and any(hasattr(base, name) for name in HEAD_NAMES):
        raise UnsupportedModelError(
            f'{host.name}: scope="prompt" with {type(base).__name__}, which classifies: there is no answer that its '
            f"tokens must not see. Leave scope out."
        )
    handle = decausal.unmask(model, unmask, scope=scope, window=window)
    keep_packed(model)
    depth = len(find_decoder_stack(model).layers)
    layers = f"layers {format_layers(handle.layers)} of {depth} are" if handle.layers else "no layer is"
    say(f'joined {host.name}: {type(base).__name__}, unmask="{unmask}", scope="{scope}": {layers} bidirectional')
    return handle


def say(text: str) -> None:
    """Prints a line that begins with our name, and with the process where there are several."""
    rank = os.environ.get("RANK")
    is_one_of_many = rank is not None and os.environ.get("WORLD_SIZE", "1") != "1"
    print(f"{BANNER}{f'rank {rank}: ' if is_one_of_many else ''}{text}", flush=True)


def warn_untested(host: Host) -> None:
    """Warns where the installed version of a host is outside the range that is known to work."""
    from packaging.version import Version

    try:
        installed = version(host.package)
    except PackageNotFoundError:
        return
    if not Version(host.oldest) <= Version(installed) < Version(host.below):
        warnings.warn(
            f"decausal was tested with {host.name} {host.tested}, and its adapter is for >={host.oldest},"
            f"<{host.below}; this is {installed}. Hold the finished run against its pattern by `decausal audit`.",
            stacklevel=3,
        )


def check_attention_code(host: Host) -> None:
    """Refuses a process in which other code has replaced the attention of transformers' models.

    Raises:
        UnsupportedModelError: names what was found, and the way out.
    """
    for module, reason in _REPLACES_ATTENTION.items():
        if module in sys.modules:
            raise UnsupportedModelError(f"{host.name}: {reason}")


_REPLACES_ATTENTION: Final = {
    "unsloth": "unsloth is imported, which replaces the attention of the model by causal code of its own, so that no "
    "mask reaches it. Train without unsloth.",
    "ring_flash_attn": "ring attention is on (ring_flash_attn is imported), which splits a row over processes and "
    "masks it causally by itself. Train without sequence or context parallelism.",
    "torchtune": "torchtune builds its own model classes, which decausal cannot open; load the model by transformers.",
    "megatron.core": "Megatron builds its own model classes, which decausal cannot open; train without it.",
    "sageattention": "sage attention is on, which is causal or nothing; use sdpa, eager or flex_attention.",
}
