"""What the hooks of one model share: which of its layers are open, and the opened form of each mask that is alive."""

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


class SharedState:
    """Shared by the hooks of one model.

    `position_ids` are those of the forward that runs, for layers that are not given them; so are `prompt_mask` and
    `spans`, which say where its prompts are (scope "prompt"). `chosen` is what `Handle.prompt` says of whole rows,
    and `last_spans` are those of the forward before.

    Opened masks are keyed weakly by the host's mask object, so that the layers of one forward share one opened mask,
    and gradient checkpointing, which comes back with the same object, finds the same one. A copy begins without them.
    """

    def __init__(self) -> None:
        self.layers: dict[int, OpenLayer] = {}
        self._forget()

    def _forget(self) -> None:
        self._opened: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._num_forwards = 0
        self._is_running = False
        self.position_ids: Tensor | None = None
        self.prompt_mask: Tensor | None = None
        self.spans: Tensor | None = None
        self.last_spans: Tensor | None = None
        self.chosen: Tensor | None = None
        self.has_seen_prompt = False

    def __getstate__(self) -> dict[str, Any]:
        return {"layers": self.layers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def active_layers(self) -> tuple[int, ...]:
        """The layers that are open now."""
        return tuple(sorted(index for index, layer in self.layers.items() if not layer.is_paused))

    def begin(self) -> None:
        """A forward of the whole model starts."""
        self._num_forwards += 1
        self._is_running = True

    def end(self) -> None:
        """The forward is over."""
        self._is_running = False
        self.position_ids = None
        self.prompt_mask = None
        if self.spans is not None:
            self.last_spans, self.spans = self.spans, None

    def remembered(self, key: Tensor | BlockMask, position_ids: Tensor | None) -> "Remembered | None":
        """What was opened before for a mask, or for positions without one; None where it may no longer hold."""
        known: Remembered | None = self._opened.get(key)
        if known is None or known.version != _version(key):
            return None
        if self._is_running and known.forward != self._num_forwards:
            return None  # the tensors may have been written to since, which not every tensor tells
        if not self._is_running and position_ids is None:
            return known  # computed once more by gradient checkpointing, in a layer that is not given positions
        has_same_positions = known.positions() is position_ids and known.positions_version == _version(position_ids)
        return known if has_same_positions else None

    def remember(self, key: Tensor | BlockMask, position_ids: Tensor | None, opened: AttentionMask) -> AttentionMask:
        """Keeps an opened mask for as long as the host's lives, and returns it."""
        reference = _nothing if position_ids is None else weakref.ref(position_ids)
        self._opened[key] = Remembered(opened, self._num_forwards, _version(key), reference, _version(position_ids))
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


def _nothing() -> None:
    return None
