import torch
from torch import nn

from decausal.tagging.plan.ledger import Ledger

KIB = 2**10


def test_a_tensor_counts_from_its_making_until_nothing_holds_it():
    with Ledger(nn.Identity()) as ledger:
        held = torch.zeros(256)
        assert ledger.live == KIB
        view = held.view(16, 16)
        assert ledger.live == KIB
        del held
        assert ledger.live == KIB
        del view
    assert (ledger.live, ledger.peak) == (0, (KIB, 0))


def test_the_peak_holds_what_lived_for_a_moment_only():
    with Ledger(nn.Identity()) as ledger:
        (torch.zeros(256) + 1).sum()
        ledger.reset_peak()
        assert ledger.peak == (0, 0)
        torch.zeros(128)
    assert ledger.peak == (KIB // 2, 0)


def test_weights_are_not_counted_and_their_gradients_are_told_apart():
    model = nn.Linear(16, 16, bias=False)
    with Ledger(model) as ledger:
        model(torch.ones(1, 16)).sum().backward()
    assert ledger.gradients == ledger.live == KIB


def test_gradients_that_are_not_kept_are_gone_after_their_moment():
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    with Ledger(model, keeps_gradients=False) as ledger:
        model(torch.ones(1, 16)).sum().backward()
    assert (ledger.gradients, ledger.live) == (0, 0)


def test_a_frozen_weight_is_no_obstacle():
    model = nn.Linear(16, 16, bias=False).requires_grad_(False)
    with Ledger(model) as ledger:
        kept = model(torch.ones(1, 16))
    assert ledger.live == kept.nbytes


def test_a_block_that_has_ended_follows_no_gradients():
    model = nn.Linear(16, 16)
    with Ledger(model) as ledger:
        pass
    model(torch.ones(1, 16)).sum().backward()
    assert ledger.gradients == 0
