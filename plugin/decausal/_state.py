"""What the hooks of one model share: which of its layers are open, and the opened form of each mask that is alive."""

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.weak import WeakIdKeyDictionary

from ._masks import AttentionMask

if TYPE_CHECKING:
    from ._hooks import OpenLayer


class Run:
    """The forward that runs in one thread, and what it belongs to.

    `position_ids` are for layers that are not given them; `prompt_mask` and `spans` say where its prompts are (scope
    "prompt"), `noted` what is to be noted on its cache, `generated` what `generate` was given, and `last_spans` are
    those of the forward before.
    """

    number = 0
    is_on = False
    position_ids: Tensor | None = None
    prompt_mask: Tensor | None = None
    spans: Tensor | None = None
    last_spans: Tensor | None = None
    noted: Tensor | None = None
    num_cached = 0
    generated: "Generated | None" = None


@dataclass(frozen=True)
class Generated:
    """What `generate` was given.

    Attributes:
        prompt_mask: bool, shape `(batch, query_len)`: all of it is prompt; None where it goes on from a cache.
        is_ids: whether it was given token ids, not embeddings.
    """

    prompt_mask: Tensor | None
    is_ids: bool


class SharedState:
    """Shared by the hooks of one model.

    `run` is the forward of this thread, and `chosen` what `Handle.prompt` says of whole rows, in all threads. Layers
    are run outside of a forward only while `is_replaying`.

    Opened masks are keyed weakly by the host's mask object, so that the layers of one forward share one opened mask,
    and gradient checkpointing, which comes back with the same object, finds the same one. A copy begins without them.
    """

    def __init__(self) -> None:
        self.layers: dict[int, OpenLayer] = {}
        self._forget()

    def _forget(self) -> None:
        self._opened: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._num_forwards = 0
        self._runs: dict[int, Run] = {}
        self.chosen: Tensor | None = None
        self.is_replaying = False
        self.has_seen_prompt = False

    def __getstate__(self) -> dict[str, Any]:
        return {"layers": self.layers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    @property
    def run(self) -> Run:
        """The forward that runs in this thread."""
        # No threading.local: torch.compile (2.13) does not see what was written to one.
        thread = _thread()
        if thread not in self._runs:
            self._runs[thread] = Run()
        return self._runs[thread]

    def active_layers(self) -> tuple[int, ...]:
        """The layers that are open now."""
        return tuple(sorted(index for index, layer in self.layers.items() if not layer.is_paused))

    def begin(self) -> None:
        """A forward of the whole model starts."""
        self._num_forwards += 1
        self.run.number = self._num_forwards
        self.run.is_on = True

    def end(self) -> None:
        """The forward is over."""
        self.run.is_on = False
        self.run.position_ids = None
        self.run.prompt_mask = None
        self.run.noted = None
        if self.run.spans is not None:
            self.run.last_spans, self.run.spans = self.run.spans, None

    def remembered(self, key: Tensor | BlockMask, position_ids: Tensor | None) -> "Remembered | None":
        """What was opened before for a mask, or for positions without one; None where it may no longer hold."""
        known: Remembered | None = self._opened.get(key)
        if known is None or known.version != _version(key):
            return None
        if self.run.is_on and known.forward != self.run.number:
            return None  # the tensors may have been written to since, which not every tensor tells
        if not self.run.is_on and position_ids is None:
            return known  # computed once more by gradient checkpointing, in a layer that is not given positions
        has_same_positions = known.positions() is position_ids and known.positions_version == _version(position_ids)
        return known if has_same_positions else None

    def remember(self, key: Tensor | BlockMask, position_ids: Tensor | None, opened: AttentionMask) -> AttentionMask:
        """Keeps an opened mask for as long as the host's lives, and returns it."""
        reference = _nothing if position_ids is None else weakref.ref(position_ids)
        self._opened[key] = Remembered(opened, self.run.number, _version(key), reference, _version(position_ids))
        return opened


@dataclass(frozen=True)
class Remembered:
    """An opened mask, and the versions of what it was opened from."""

    opened: AttentionMask
    forward: int
    version: int
    positions: Callable[[], Tensor | None]
    positions_version: int


def _version(source: Tensor | BlockMask | None) -> int:
    """Grows when somebody writes into a tensor; tensors of inference mode do not count."""
    return source._version if isinstance(source, Tensor) and not source.is_inference() else 0


def _thread() -> int:
    return threading.get_ident()


# torch.compiler.assume_constant_result, without the import of all of torch._dynamo.
_thread._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _nothing() -> None:
    return None
