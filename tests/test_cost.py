"""Multiply-accumulates: the six of method section 2, and a network small enough to count by hand."""

import pytest
import torch
from torch import nn

from sleepkit.cost import count_macs
from sleepkit.network import SleepNet
from sleepkit.reference import published_genotype

MACS = [
    *(("edf20", 8, cells, macs) for cells, macs in ((7, 81.34), (9, 100.06), (11, 133.37))),
    *(("edf78", 9, cells, macs) for cells, macs in ((7, 74.41), (9, 89.69), (11, 118.10))),
]


@pytest.mark.parametrize(("key", "channels", "cells", "millions"), MACS)
def test_macs_of_the_published_networks(key, channels, cells, millions):
    assert count_macs(SleepNet(published_genotype(key), channels, cells), 3000) == pytest.approx(
        millions * 1e6, rel=1e-3
    )


def test_macs_by_hand_and_the_mode_is_left_alone():
    net = nn.Sequential(
        nn.Conv1d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv1d(4, 4, 5, stride=2, groups=4),
        nn.Flatten(),
        nn.Linear(4 * 8, 5),
    )
    assert count_macs(net, 20) == 20 * 4 * 3 + 8 * 4 * 5 + 4 * 8 * 5
    assert net.training
    before = [p.clone() for p in net.parameters()]
    count_macs(net.eval(), 20)
    assert not net.training
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
