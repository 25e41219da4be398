"""Training a network: samples per second beside a plain module of the same network in a plain loop.

Both start from the same weights, see the same mini-batches and draw the same dropout, and must give the same losses.
"""

import time

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from sleepkit.bench.plain import PlainSleepNet
from sleepkit.evaluation.training import TrainSettings, train_epoch
from sleepkit.network.sleepnet import SleepNet
from sleepkit.paper.published import published_genotype

TARGET, AIM = 1.5, 3
STEPS = 3  # of Adam in one timed run
LR = 1e-4  # Adam's first steps are as long as its learning rate however small a gradient: rounding soon decides them


def run(channels=8, cells=7, samples=500, batch=128, repeats=9, device="cpu"):
    """Print and return the comparison: median of `repeats` runs of a few steps each, one way after the other in turn.

    Raises AssertionError when the losses of the ways differ by more than 1e-4 of their value.
    """
    genotype, settings = published_genotype("edf20"), TrainSettings(lr=LR, batch=batch)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS * batch, samples, generator=generator).to(device)
    y = torch.randint(5, (len(x),), generator=generator).to(device)
    seconds, losses = {"plain": [], "sleepkit": []}, {}
    for repeat in range(repeats + 1):
        nets = _same_start(genotype, channels, cells, device)
        for way, net in nets.items():
            optimiser = torch.optim.Adam(net.parameters(), settings.lr, fused=way == "sleepkit")
            epoch = _plain_epoch if way == "plain" else train_epoch
            started = time.perf_counter()
            losses[way] = epoch(net, optimiser, x, y, settings, 0)  # the losses come back as a number: a GPU is done
            if repeat:
                seconds[way].append(time.perf_counter() - started)
        assert abs(losses["plain"] / losses["sleepkit"] - 1) < 1e-4, f"the ways differ in their losses: {losses}"
    rates = {way: len(x) / np.median(values) for way, values in seconds.items()}
    print(
        f"EDF-20's network, C = {channels}, L = {cells}, {samples} samples, batch {batch}, {device}, "
        f"{torch.get_num_threads()} threads: losses {losses['plain']:.6f} and {losses['sleepkit']:.6f}"
    )
    table = pd.DataFrame({"samples_per_s": rates})
    print(table.round(0).to_string())
    ratio = rates["sleepkit"] / rates["plain"]
    print(
        f"{ratio:.2f} times as many samples per second (target {TARGET}, aim {AIM}): "
        f"{'reached' if ratio >= TARGET else 'missed'}"
    )
    return table


def _same_start(genotype, channels, cells, device):
    torch.manual_seed(0)
    nets = {"sleepkit": SleepNet(genotype, channels, cells), "plain": PlainSleepNet(genotype, channels, cells)}
    ours, theirs = (list(net.state_dict().values()) for net in nets.values())
    with torch.no_grad():
        for one, other in zip(theirs, ours, strict=True):
            one.copy_(other)
    return {way: net.to(device) for way, net in nets.items()}


def _plain_epoch(net, optimiser, x, y, settings, epoch):
    """One epoch as tutorials write it; seed and order are those of `train_epoch`."""
    torch.manual_seed(settings.seed * 10_007 + epoch)
    order, total = torch.randperm(len(y)).to(x.device), 0.0
    net.train()
    for start in range(0, len(y), settings.batch):
        rows = order[start : start + settings.batch]
        optimiser.zero_grad()
        loss = F.cross_entropy(net(x[rows].unsqueeze(1)), y[rows])
        loss.backward()
        optimiser.step()
        total += loss.item() * len(rows)
    return total / len(y)
