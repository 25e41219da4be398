"""The search step: time and memory of the supernet beside a plain implementation of it.

The authors' code measured the errors for data pruning by two forward passes more per pair of mini-batches; here they
come from the logits that the two steps compute anyway. All ways start from the same weights and must give the same
losses: float32 to 1e-4 of their value, bfloat16 to 2e-2.
"""

import copy
import itertools
import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sleepkit.bench.limit import matrix_product, precisions, require_same
from sleepkit.bench.plain import PlainSuperNet, same
from sleepkit.execution.precision import PRECISIONS
from sleepkit.experiments.startup import peak_memory
from sleepkit.search.supernet import KINDS, SuperNet

PLAIN = ("plain, two more passes", "plain")
LEFT = (1.0, 0.75, 0.5)  # share of the operations that are left: in epochs 1-5, 6-10 and 11-25 of the planted schedule
EPOCHS = (5, 5, 15)
TARGETS = {
    "float32": {"epoch": 3, "memory": 0.25},
    "bfloat16": {"epoch": 4, "schedule": 6, "memory": 0.25},
}


def run(channels=8, cells=4, nodes=5, batch=8, samples=3000, repeats=7, threads=None):
    """Print and return the comparison: median seconds of a pair of steps (alpha, then weights), and peak memory.

    repeats : pairs that are timed of each way, one after the other in turn, after a warm-up
    Raises AssertionError when the losses of the ways differ by more than their precision allows."""
    torch.set_num_threads(threads := threads or torch.get_num_threads())
    size = {"channels": channels, "cells": cells, "nodes": nodes}
    ways = dict.fromkeys(PLAIN, "float32") | {f"sleepkit {precision}": precision for precision in precisions()}
    columns = [
        _median_seconds(_same_start(size, left, ways), ways, *_batches(batch, samples), repeats) for left in LEFT
    ]
    table = pd.DataFrame(dict(zip([f"{left:.0%} left" for left in LEFT], columns, strict=True)))
    # The plain ways compute what was pruned, as the authors' code did.
    for way in PLAIN:
        table.loc[way] = table.loc[way].iloc[0]
    first, schedule = table.iloc[:, 0], (table * EPOCHS).sum(axis=1)
    table["epoch"], table["schedule"] = first[PLAIN[0]] / first, schedule[PLAIN[0]] / schedule
    table["memory_mb"] = {way: _peak_memory(way, ways[way], size, batch, samples) for way in ways if way != PLAIN[0]}
    table["memory"] = table.memory_mb / table.memory_mb["plain"]
    operations, limits = _operations(size, batch, samples), {name: 2 * matrix_product(name) for name in precisions()}
    table["limit_gflops"] = [limits[precision] for precision in ways.values()]
    table["share_of_limit"] = operations / 1e9 / first / table.limit_gflops
    print(
        f"C = {channels}, L = {cells}, N = {nodes}, batch {batch}, {samples} samples, {threads} threads.\n"
        "Median seconds of a pair of steps, by share of operations left; times as fast as the first way: an epoch\n"
        "with nothing pruned, and 25 epochs with half of the operations gone by epoch 10; peak memory above imports.\n"
        "The limit is this machine's product of matrices in the same precision; a pair's arithmetic, "
        f"{operations / 1e9:.1f} billion\noperations, is that of the plain network's two steps"
    )
    digits = {"epoch": 2, "schedule": 2, "memory_mb": 0, "memory": 2, "limit_gflops": 0}
    print(table.round(digits | {"share_of_limit": 3} | dict.fromkeys(table.columns[: len(LEFT)], 3)).to_string())
    for precision, name in ((one, name) for one in precisions() for name in TARGETS[one]):
        value, target = table.loc[f"sleepkit {precision}", name], TARGETS[precision][name]
        reached = value <= target if name == "memory" else value >= target
        print(f"{precision}, {name}: {value:.2f} (target {target}): {'reached' if reached else 'missed'}")
    return table


def _median_seconds(nets, ways, x, y, repeats):
    """{way: median seconds of a pair of steps}, timed in turn; an error where the ways differ in their losses."""
    pairs = {way: _pair(nets[way], ways[way], x, y, way == PLAIN[0]) for way in ways}
    losses = {way: pair() for way, pair in pairs.items()}
    for way, precision in ways.items():
        require_same(losses, way, precision)
    seconds = {way: [] for way in ways}
    for _, way in itertools.product(range(repeats), ways):
        started = time.perf_counter()
        pairs[way]()
        seconds[way].append(time.perf_counter() - started)
    return {way: np.median(values) for way, values in seconds.items()}


def _operations(size, batch, samples):
    """Operations of a pair of steps of the plain network with nothing pruned, by torch's counter."""
    pair = _pair(_same_start(size, 1.0, PLAIN)["plain"], "float32", *_batches(batch, samples), False)
    with FlopCounterMode(display=False) as counter:
        pair()
    return counter.get_total_flops()


def _batches(batch, samples):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, batch, 1, samples, generator=generator) * 20
    return x, torch.randint(5, (2, batch), generator=generator)


def _same_start(size, left, ways):
    """Networks of the same weights with a share of their operations left: {way: network}."""
    torch.manual_seed(0)
    net = SuperNet(**size)
    for kind in KINDS:
        alive = net.alive(kind)
        edges, columns = alive.shape
        order = torch.rand(edges, columns - 1).argsort(1)  # `none` goes first, then others, one always stays
        alive[:, 1:] = order < int(left * columns) - (left == 1)
        alive[:, 0] = left == 1
    return {way: _as_plain(net, size) if way in PLAIN else copy.deepcopy(net) for way in ways}


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


def _pair(net, precision, x, y, more_passes):
    """A function that takes a step on alpha with one batch and on the weights with the other; returns the last loss."""
    architecture = list(net.alpha.values())
    chosen = {id(parameter) for parameter in architecture}
    weights = [parameter for parameter in net.parameters() if id(parameter) not in chosen]
    adam = torch.optim.Adam(architecture, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    sgd = torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4, foreach=not more_passes)
    net.train()
    as_told = () if precision == "float32" else (PRECISIONS[precision],)

    def pair():
        for half, (parameters, optimiser) in enumerate(((architecture, adam), (weights, sgd))):
            loss = F.cross_entropy(net(x[half], *as_told), y[half])
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


def _peak_memory(way, precision, size, batch, samples):
    """Peak MB above the imports, of one pair of steps in a process of its own."""
    arguments = json.dumps({"way": way, "precision": precision, "size": size, "batch": batch, "samples": samples})
    code = "import sys; from sleepkit.bench import search; search.show_peak(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, arguments], capture_output=True, text=True, check=True)
    return float(done.stdout)


def show_peak(arguments):
    """Print the peak memory of a pair of steps: what `_peak_memory` runs."""
    arguments = json.loads(arguments)
    torch.manual_seed(0)
    net = SuperNet(**arguments["size"])
    if arguments["way"] in PLAIN:
        net = _as_plain(net, arguments["size"])
    before = peak_memory()
    _pair(net, arguments["precision"], *_batches(arguments["batch"], arguments["samples"]), False)()
    print(peak_memory() - before)
