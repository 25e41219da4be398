"""Both networks the plain way: a module for every operation of every edge, and Python sums over them.

Written from method sections 1 and 2, sharing no code with the product: the tests compare the two in float64, and the
benchmarks measure how much faster the product is.
"""

import torch
from torch import nn
from torch.nn import functional as F

from sleepkit.genotype import OPERATION_NAMES


def separable(channels, kernel, stride, dilation=1):
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv1d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv1d(channels, channels, 1, bias=False),
        nn.BatchNorm1d(channels),
    ]


class PlainReduce(nn.Module):
    def __init__(self, inputs, channels):
        super().__init__()
        self.one = nn.Conv1d(inputs, channels // 2, 1, stride=2, bias=False)
        self.two = nn.Conv1d(inputs, channels // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x):
        x = F.relu(x)
        if x.shape[2] % 2:
            x = torch.cat([x, torch.zeros_like(x[:, :, :1])], 2)
        return self.bn(torch.cat([self.one(x), self.two(x[:, :, 1:])], 1))


class PlainZero(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return x[:, :, :: self.stride] * 0.0


def plain_operation(name, channels, stride):
    if name == "none":
        return PlainZero(stride)
    if name == "avg_pool_3x3":
        return nn.AvgPool1d(3, stride, 1, count_include_pad=False)
    if name == "max_pool_3x3":
        return nn.MaxPool1d(3, stride, 1)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else PlainReduce(channels, channels)
    kernel = int(name[-1])
    if name.startswith("sep"):
        return nn.Sequential(*separable(channels, kernel, stride), *separable(channels, kernel, 1))
    if name.startswith("dil"):
        return nn.Sequential(*separable(channels, kernel, stride, dilation=2))
    return nn.Sequential(
        nn.ReLU(), nn.Conv1d(channels, channels, kernel, stride, kernel // 2, bias=False), nn.BatchNorm1d(channels)
    )


def plain_preprocess(inputs, channels, stride=1):
    return nn.Sequential(nn.ReLU(), nn.Conv1d(inputs, channels, 1, stride, bias=False), nn.BatchNorm1d(channels))


class PlainSuperNet(nn.Module):
    def __init__(self, channels, cells, nodes):
        super().__init__()
        width, self.nodes = 3 * channels, nodes
        self.stem = nn.Sequential(nn.Conv1d(1, width, 3, padding=1, bias=False), nn.BatchNorm1d(width))
        self.cells = nn.ModuleList()
        before, last, reduced = width, width, False
        for index in range(cells):
            reduction = index in (cells // 3, 2 * cells // 3)
            channels *= 2 if reduction else 1
            cell = nn.Module()
            cell.kind = "reduce" if reduction else "normal"
            cell.pre0 = PlainReduce(before, channels) if reduced else plain_preprocess(before, channels)
            cell.pre1 = plain_preprocess(last, channels)
            cell.edges = nn.ModuleList(
                nn.ModuleList(
                    plain_operation(name, channels, 2 if reduction and source < 2 else 1) for name in OPERATION_NAMES
                )
                for node in range(nodes)
                for source in range(2 + node)
            )
            self.cells.append(cell)
            before, last, reduced = last, 4 * channels, reduction
        self.classifier = nn.Linear(last, 5)

    def forward(self, x, alpha, alive, temperature):
        before = last = self.stem(x)
        for cell in self.cells:
            states, edge = [cell.pre0(before), cell.pre1(last)], 0
            for node in range(self.nodes):
                terms = []
                for source in range(2 + node):
                    columns = [k for k in range(10) if alive[cell.kind][edge, k]]
                    strength = torch.exp(alpha[cell.kind][edge, columns] / temperature)
                    strength = strength / strength.sum()
                    terms += [w * cell.edges[edge][k](states[source]) for w, k in zip(strength, columns, strict=False)]
                    edge += 1
                states.append(sum(terms))
            before, last = last, torch.cat(states[-4:], 1)
        return self.classifier(last.mean(2))


def same(plain, net, buffers=True):
    """Pairs (tensor of the reference, tensor of the product or the row of it) that hold the same quantity."""
    yield from zip(state(plain.stem, buffers), state(net.stem, buffers), strict=True)
    yield from zip(state(plain.classifier, buffers), state(net.classifier, buffers), strict=True)
    for theirs, ours in zip(plain.cells, net.cells, strict=True):
        for one, other in ((theirs.pre0, ours.preprocess0), (theirs.pre1, ours.preprocess1)):
            yield from zip(state(one, buffers), state(other, buffers), strict=True)
        for source, mixed in enumerate(ours.mixed):
            for row, edge in enumerate(ours.leaving[source]):
                for column, name in enumerate(OPERATION_NAMES):
                    layers = list(theirs.edges[edge][column].modules())
                    convs = [layer for layer in layers if isinstance(layer, nn.Conv1d)]
                    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm1d)]
                    parts = [kind[name] for kind in (mixed.linear, mixed.first, mixed.second) if name in kind]
                    for part, norm in zip(parts, norms, strict=True):
                        yield norm.weight, part.gain[row]
                        yield norm.bias, part.shift[row]
                        if buffers:
                            yield norm.running_mean, part.running_mean[row]
                            yield norm.running_var, part.running_var[row]
                    if name == "skip_connect" and parts:
                        half = len(convs[0].weight)
                        yield convs[0].weight, parts[0].dense[row][:half]
                        yield convs[1].weight, parts[0].dense[row][half:]
                    elif name.startswith("conv"):
                        yield convs[0].weight, parts[0].dense[row]
                    else:
                        for position, part in enumerate(parts):
                            yield convs[2 * position].weight, part.depthwise[row].unsqueeze(1)
                            yield convs[2 * position + 1].weight, part.pointwise[row].unsqueeze(2)


def state(module, buffers):
    return module.state_dict(keep_vars=True).values() if buffers else module.parameters()


class PlainSleepNet(nn.Module):
    """The network of a genotype at full width; its parameters come in the order of SleepNet's."""

    def __init__(self, genotype, channels, cells):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(1, channels, 3, 1, 1, bias=False), nn.BatchNorm1d(channels), nn.ReLU())
        self.cells = nn.ModuleList()
        before, last, reduced = channels, channels, False
        for index in range(cells):
            reduction = index in (cells // 3, 2 * cells // 3)
            channels *= 2 if reduction else 1
            cell, entries = nn.Module(), genotype.reduce if reduction else genotype.normal
            cell.pre0, cell.pre1 = plain_preprocess(before, channels, 1 + reduced), plain_preprocess(last, channels)
            cell.operations = nn.ModuleList(
                plain_operation(name, channels, 2 if reduction and source < 2 else 1) for name, source in entries
            )
            cell.sources = [source for _, source in entries]
            self.cells.append(cell)
            before, last, reduced = last, len(entries) // 2 * channels, reduction
        self.dropout, self.classifier = nn.Dropout(0.3), nn.Linear(last, 5)

    def forward(self, x):
        before = last = self.stem(x)
        for cell in self.cells:
            states = [cell.pre0(before), cell.pre1(last)]
            outputs = zip(cell.operations, cell.sources, strict=False)
            for (one, first), (two, second) in zip(outputs, outputs, strict=False):
                one, two = one(states[first]), two(states[second])
                shorter = min(one.shape[2], two.shape[2])
                states.append(one[:, :, :shorter] + two[:, :, :shorter])
            before, last = last, torch.cat(states[2:], 1)
        return self.classifier(self.dropout(last.mean(2)))
