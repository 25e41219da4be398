"""Training a network: samples per second beside a plain module of the same network in a plain loop.

All start from the same weights, see the same mini-batches and draw the same dropout, and must give the same losses:
float32 to 1e-4 of their value, bfloat16 to 2e-2.
"""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from sleepkit.bench.limit import matrix_product, precisions, require_same
from sleepkit.bench.plain import PlainSleepNet
from sleepkit.evaluation.training import TrainSettings, train_epoch
from sleepkit.network.size import count_macs
from sleepkit.network.sleepnet import SleepNet
from sleepkit.paper.published import published_genotype

TARGETS = {"float32": 2.2, "bfloat16": 3}  # times the samples per second of the plain loop
STEPS = 3  # of Adam in one timed run
LR = 1e-4  # Adam's first steps are as long as its learning rate however small a gradient: rounding soon decides them


def run(channels=8, cells=7, samples=500, batch=128, repeats=9, device="cpu"):
    """Print and return the comparison: median of `repeats` runs of a few steps each, one way after the other in turn.

    Raises AssertionError when the losses of the ways differ by more than their precision allows."""
    genotype, settings = published_genotype("edf20"), TrainSettings(lr=LR, batch=batch)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS * batch, samples, generator=generator).to(device)
    y = torch.randint(5, (len(x),), generator=generator).to(device)
    ways = {"plain": "float32"} | {f"sleepkit {precision}": precision for precision in precisions()}
    seconds, losses = {way: [] for way in ways}, {}
    for repeat in range(repeats + 1):
        nets = _same_start(genotype, channels, cells, device, ways)
        for way, net in nets.items():
            optimiser = torch.optim.Adam(net.parameters(), settings.lr, fused=way != "plain")
            epoch = _plain_epoch if way == "plain" else train_epoch
            started = time.perf_counter()
            # The losses come back as a number: a GPU is done.
            losses[way] = epoch(net, optimiser, x, y, replace(settings, precision=ways[way]), 0)
            if repeat:
                seconds[way].append(time.perf_counter() - started)
            require_same(losses, way, ways[way])
    macs, limits = count_macs(nets["plain"], samples), {name: matrix_product(name, device) for name in precisions()}
    table = pd.DataFrame({"samples_per_s": {way: len(x) / np.median(values) for way, values in seconds.items()}})
    table["ratio"] = table.samples_per_s / table.samples_per_s["plain"]
    table["limit_gflops"] = [2 * limits[precision] for precision in ways.values()]
    table["share_of_limit"] = 6 * macs * table.samples_per_s / 1e9 / table.limit_gflops
    table["loss"] = losses
    print(
        f"EDF-20's network, C = {channels}, L = {cells}, {samples} samples, batch {batch}, {device}, "
        f"{torch.get_num_threads()} threads.\nThe limit is this machine's product of matrices in the same precision; a "
        f"sample's arithmetic, {6 * macs / 1e6:.0f} million\noperations, is 2 for each multiplication of the network "
        "(count_macs) forwards, and twice that backwards"
    )
    print(table.round({"samples_per_s": 0, "ratio": 2, "limit_gflops": 0, "share_of_limit": 3, "loss": 6}).to_string())
    for precision in precisions():
        ratio, target = table.ratio[f"sleepkit {precision}"], TARGETS[precision]
        print(f"{precision}: {ratio:.2f} times (target {target}): {'reached' if ratio >= target else 'missed'}")
    return table


def _same_start(genotype, channels, cells, device, ways):
    torch.manual_seed(0)
    first = SleepNet(genotype, channels, cells)
    nets = {way: (PlainSleepNet if way == "plain" else SleepNet)(genotype, channels, cells) for way in ways}
    with torch.no_grad():
        for net in nets.values():
            for one, other in zip(net.state_dict().values(), first.state_dict().values(), strict=True):
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
