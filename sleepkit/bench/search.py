"""The search step: time and memory of the supernet beside a plain implementation of it.

The authors' code measured the errors for data pruning by two forward passes more per pair of mini-batches; here they
come from the logits that the two steps compute anyway. Both ways start from the same weights and must give the same
losses.
"""

import itertools
import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from sleepkit.bench.plain import PlainSuperNet, same
from sleepkit.experiments.startup import peak_memory
from sleepkit.search.supernet import KINDS, SuperNet

WAYS = ("plain, two more passes", "plain", "sleepkit")
LEFT = (1.0, 0.75, 0.5)  # share of the operations that are left: in epochs 1-5, 6-10 and 11-25 of the planted schedule
EPOCHS = (5, 5, 15)
TARGETS = {"epoch": 2, "schedule": 3, "memory": 0.6}


def run(channels=8, cells=4, nodes=5, batch=8, samples=3000, repeats=7, threads=None):
    """Print and return the comparison: median seconds of a pair of steps (alpha, then weights), and peak memory.

    repeats : pairs that are timed of each way, one after the other in turn, after a warm-up
    """
    torch.set_num_threads(threads or torch.get_num_threads())
    size = {"channels": channels, "cells": cells, "nodes": nodes}
    rows = [_median_seconds(_same_start(size, left), *_batches(batch, samples), repeats) for left in LEFT]
    table = pd.DataFrame(rows, index=[f"{left:.0%} of the operations left" for left in LEFT])
    # The plain ways compute what was pruned, as the authors' code did.
    for way in WAYS[:2]:
        table[way] = table[way].iloc[0]
    schedule = table.mul(EPOCHS, axis=0).sum()
    memory = {way: _peak_memory(way, size, batch, samples) for way in WAYS[1:]}
    print(
        f"C = {channels}, L = {cells}, N = {nodes}, batch {batch}, {samples} samples, {torch.get_num_threads()} threads"
        ": median seconds of a pair of steps, same losses"
    )
    print(table.round(3).to_string())
    against = [
        ("an epoch, nothing pruned", table.iloc[0], TARGETS["epoch"]),
        ("25 epochs, half of the operations gone by epoch 10", schedule, TARGETS["schedule"]),
    ]
    for name, time_of, target in against:
        for way in WAYS[:2]:
            ratio = time_of[way] / time_of["sleepkit"]
            goal = f" (target {target}): {'reached' if ratio >= target else 'missed'}" if way == WAYS[0] else ""
            print(f"{name}: {ratio:.2f} times as fast as {way}{goal}")
    ratio = memory["sleepkit"] / memory["plain"]
    print(
        f"peak memory above the imports: {memory['sleepkit']:.0f} MB against {memory['plain']:.0f} MB, {ratio:.2f} "
        f"(target {TARGETS['memory']}): {'reached' if ratio <= TARGETS['memory'] else 'missed'}"
    )
    return table


def _median_seconds(nets, x, y, repeats):
    """{way: median seconds of a pair of steps}, timed in turn; an error where the ways differ in their losses."""
    pairs = {way: _pair(nets[way], x, y, way == WAYS[0]) for way in WAYS}
    losses = {way: pair() for way, pair in pairs.items()}
    spread = max(abs(losses[way] / losses["sleepkit"] - 1) for way in WAYS)
    assert spread < 1e-4, f"the ways differ in their losses: {losses}"
    seconds = {way: [] for way in WAYS}
    for _, way in itertools.product(range(repeats), WAYS):
        started = time.perf_counter()
        pairs[way]()
        seconds[way].append(time.perf_counter() - started)
    return {way: np.median(values) for way, values in seconds.items()}


def _batches(batch, samples):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, batch, 1, samples, generator=generator) * 20
    return x, torch.randint(5, (2, batch), generator=generator)


def _same_start(size, left):
    """The product with a share of its operations left, and two plain networks with its weights."""
    torch.manual_seed(0)
    net = SuperNet(**size)
    for kind in KINDS:
        alive = net.alive(kind)
        edges, columns = alive.shape
        order = torch.rand(edges, columns - 1).argsort(1)  # `none` goes first, then others, one always stays
        alive[:, 1:] = order < int(left * columns) - (left == 1)
        alive[:, 0] = left == 1
    nets = {"sleepkit": net}
    for way in WAYS[:2]:
        nets[way] = _as_plain(net, size)
    return nets


def _as_plain(net, size):
    plain = PlainSuperNet(**size)
    with torch.no_grad():
        for theirs, ours in same(plain, net):
            theirs.copy_(ours)
    plain.alpha = torch.nn.ParameterDict({kind: net.alpha[kind].detach().clone() for kind in KINDS})
    alive = {kind: net.alive(kind).clone() for kind in KINDS}
    forward = plain.forward
    plain.forward = lambda x: forward(x, plain.alpha, alive, 1.0)
    return plain


def _pair(net, x, y, more_passes):
    """A function that takes a step on alpha with one batch and on the weights with the other; returns the last loss."""
    architecture = list(net.alpha.values())
    chosen = {id(parameter) for parameter in architecture}
    weights = [parameter for parameter in net.parameters() if id(parameter) not in chosen]
    adam = torch.optim.Adam(architecture, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    sgd = torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4)
    net.train()

    def pair():
        for half, (parameters, optimiser) in enumerate(((architecture, adam), (weights, sgd))):
            loss = F.cross_entropy(net(x[half]), y[half])
            for parameter, gradient in zip(
                parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=False
            ):
                parameter.grad = gradient
            optimiser.step()
            if more_passes:
                with torch.no_grad():
                    net(x[half]).softmax(1)
        return loss.item()

    return pair


def _peak_memory(way, size, batch, samples):
    """Peak MB above the imports, of one pair of steps in a process of its own."""
    arguments = json.dumps({"way": way, "size": size, "batch": batch, "samples": samples})
    code = "import sys; from sleepkit.bench import search; search.show_peak(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, arguments], capture_output=True, text=True, check=True)
    return float(done.stdout)


def show_peak(arguments):
    """Print the peak memory of a pair of steps: what `_peak_memory` runs."""
    arguments = json.loads(arguments)
    torch.manual_seed(0)
    net = SuperNet(**arguments["size"])
    if arguments["way"] != "sleepkit":
        net = _as_plain(net, arguments["size"])
    before = peak_memory()
    _pair(net, *_batches(arguments["batch"], arguments["samples"]), False)()
    print(peak_memory() - before)
