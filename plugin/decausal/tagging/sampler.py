"""The order in which windows are trained on: of the seed and the epoch alone, however many processes share the work."""

from collections.abc import Callable, Iterator, Sequence

import datasets
import numpy as np
import torch
from torch.utils.data import Sampler

from decausal.tagging.align import IGNORE_INDEX, read_column
from decausal.tagging.reading.cache import key_of


class EpochSampler(Sampler[int]):
    """Every window once an epoch, in an order that does not depend on the layout of processes and batches.

    The stock trainer (transformers 5.23) groups by length with batches of one process, and draws the order from the
    global random numbers: it is another one on every number of processes, and after resuming within an epoch. At the
    end of an epoch accelerate fills the last batches up with windows of its beginning, which then count twice.

    Args:
        lengths: of the windows, in sub-words.
        step_size: windows of one optimizer step, of all processes and micro-batches.
        multiple: the order is filled up to a multiple of this, with the index after the last window: the blank's.
        strategy: `group_by_length` (steps of windows of like length, a longest one first), `random` or `sequential`.
        seed: of the order.
        epoch: tells which epoch is about to begin, zero-based.
    """

    def __init__(
        self,
        lengths: np.ndarray | Sequence[int],
        *,
        step_size: int,
        multiple: int,
        strategy: str,
        seed: int,
        epoch: Callable[[], int],
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.step_size = step_size
        self.num_blanks = -len(lengths) % multiple
        self.strategy = strategy
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + self.num_blanks

    def __iter__(self) -> Iterator[int]:
        yield from map(int, self._order())
        yield from [len(self.lengths)] * self.num_blanks

    def _order(self) -> np.ndarray:
        if self.strategy == "sequential":
            return np.arange(len(self.lengths))
        seed = np.random.SeedSequence((self.seed, self.epoch())).generate_state(1)
        generator = torch.Generator().manual_seed(int(seed[0]))
        order: np.ndarray = torch.randperm(len(self.lengths), generator=generator).numpy()
        if self.strategy == "group_by_length":
            group_by_length(order, self.lengths, self.step_size)
        return order


def group_by_length(order: np.ndarray, lengths: np.ndarray, step_size: int) -> None:
    """Sort each stretch of up to 50 steps by length, and put the longest window first, so that memory runs out at once.

    The order is that of `get_length_grouped_indices` (transformers 5.23), without its Python objects for each index.

    Args:
        order: of the windows, at random; sorted in place.
        lengths: of the windows.
        step_size: windows of one optimizer step.
    """
    size = step_size * max(1, min(len(order) // (4 * step_size), 50))
    firsts = range(0, len(order), size)
    for first in firsts:
        stretch = order[first : first + size]
        stretch[:] = stretch[np.argsort(-lengths[stretch], kind="stable")]
    longest = max(firsts, key=lambda first: lengths[order[first]])
    order[[0, longest]] = order[[longest, 0]]


def add_blank(windows: datasets.Dataset) -> datasets.Dataset:
    """The windows, and behind them the shortest one without its labels: it fills a batch up and teaches nothing."""
    shortest = windows[int(read_column(windows, "length").argmin())]
    blank = {**shortest, "labels": [IGNORE_INDEX] * len(shortest["labels"])}
    return windows.add_item(blank, new_fingerprint=f"{key_of(windows)}-blank")
