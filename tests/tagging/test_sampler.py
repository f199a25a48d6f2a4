import tracemalloc

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers.trainer_pt_utils import get_length_grouped_indices

from decausal.tagging.sampler import EpochSampler, add_blank, group_by_length

LENGTHS = [(7 * i) % 23 + 1 for i in range(605)]


def order(step_size: int = 8, multiple: int = 1, strategy: str = "group_by_length", seed: int = 42, epoch: int = 0):
    sampler = EpochSampler(
        LENGTHS, step_size=step_size, multiple=multiple, strategy=strategy, seed=seed, epoch=lambda: epoch
    )
    found = list(sampler)
    assert len(sampler) == len(found)
    return found


@pytest.mark.parametrize("strategy", ["group_by_length", "random", "sequential"])
def test_every_window_comes_once_an_epoch_and_blanks_come_last(strategy):
    found = order(multiple=8, strategy=strategy)
    assert sorted(found[:605]) == list(range(605))
    assert found[605:] == [605, 605, 605]


@pytest.mark.parametrize("strategy", ["group_by_length", "random"])
def test_the_order_is_of_the_seed_and_the_epoch(strategy):
    assert order(strategy=strategy, epoch=1) == order(strategy=strategy, epoch=1)
    assert order(strategy=strategy, epoch=1) != order(strategy=strategy, epoch=2)
    # Seeds in a row, as experiments have them, must not lead to the same orders one epoch apart.
    assert order(strategy=strategy, seed=42, epoch=1) != order(strategy=strategy, seed=43, epoch=0)


def test_the_order_is_the_same_on_any_number_of_processes():
    assert order(multiple=8)[:605] == order(multiple=4)[:605] == order(multiple=1)


def test_windows_of_one_step_are_of_like_length_and_a_longest_comes_first():
    lengths = np.array([LENGTHS[i] for i in order()])
    assert lengths[0] == max(LENGTHS)
    assert np.ptp(lengths[8:600].reshape(-1, 8), axis=1).mean() < 5


@pytest.mark.parametrize("count", [1, 7, 31, 32, 33, 605, 5000])
@pytest.mark.parametrize("longest", [0, -1, None])
def test_windows_are_grouped_as_transformers_groups_them(count, longest):
    lengths = np.random.default_rng(count).integers(1, 40, count)
    if longest is not None:
        lengths[longest] = 99
    order = torch.randperm(count, generator=torch.Generator().manual_seed(3)).numpy()
    group_by_length(order, lengths, 8)
    assert order.tolist() == get_length_grouped_indices(lengths, 8, generator=torch.Generator().manual_seed(3))


def test_the_order_of_an_epoch_makes_no_python_object_of_each_window():
    count = 100_000
    sampler = EpochSampler(
        np.full(count, 9), step_size=16, multiple=1, strategy="group_by_length", seed=1, epoch=lambda: 0
    )
    tracemalloc.start()
    drawn = sum(1 for _ in sampler)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert drawn == count
    assert peak < 2 * count  # what torch has drawn, eight bytes a window, is not Python's memory


def test_a_blank_is_the_shortest_window_without_its_labels():
    columns = {"input_ids": [[1, 2, 3], [4, 5]], "length": [3, 2], "labels": [[0, -100, 1], [2, -100]]}
    assert add_blank(Dataset.from_dict(columns))[:] == {
        "input_ids": [[1, 2, 3], [4, 5], [4, 5]],
        "length": [3, 2, 2],
        "labels": [[0, -100, 1], [2, -100], [-100, -100]],
    }
