"""The order in which windows are trained on: of the seed and the epoch alone, however many processes share the work."""

from collections.abc import Callable, Iterator, Sequence

import datasets
import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

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
        lengths: Sequence[int],
        *,
        step_size: int,
        multiple: int,
        strategy: str,
        seed: int,
        epoch: Callable[[], int],
    ) -> None:
        self.lengths = lengths
        self.step_size = step_size
        self.num_blanks = -len(lengths) % multiple
        self.strategy = strategy
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + self.num_blanks

    def __iter__(self) -> Iterator[int]:
        yield from self._order()
        yield from [len(self.lengths)] * self.num_blanks

    def _order(self) -> list[int]:
        if self.strategy == "sequential":
            return list(range(len(self.lengths)))
        seed = np.random.SeedSequence((self.seed, self.epoch())).generate_state(1)
        generator = torch.Generator().manual_seed(int(seed[0]))
        if self.strategy == "random":
            order: list[int] = torch.randperm(len(self.lengths), generator=generator).tolist()
        else:
            order = get_length_grouped_indices(self.lengths, self.step_size, generator=generator)
        return order


def add_blank(windows: datasets.Dataset) -> datasets.Dataset:
    """The windows, and behind them the shortest one without its labels: it fills a batch up and teaches nothing."""
    shortest = windows[int(read_column(windows, "length").argmin())]
    blank = {**shortest, "labels": [IGNORE_INDEX] * len(shortest["labels"])}
    return windows.add_item(blank, new_fingerprint=f"{key_of(windows)}-blank")
