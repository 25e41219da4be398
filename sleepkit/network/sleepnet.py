"""The discovered network: what a genotype describes, at full width or with channels removed."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from sleepkit.network.batch_norm import BatchNorm
from sleepkit.network.convolution import convolve
from sleepkit.network.images import as_image, concatenate, mean_over_time, split
from sleepkit.network.operations import OPERATIONS, Conv, Rectifying, ReluConvBn


@dataclass(frozen=True)
class CellWidths:
    """Channels inside one cell."""

    states: tuple  # of the two inputs and of every node, in order
    inner: tuple  # inside of every operation, in the order of the genotype; None where there is no width of its own


@dataclass(frozen=True)
class Widths:
    """Channels of a whole network."""

    stem: int
    cells: tuple  # a CellWidths each


def is_reduction(index, cells):
    """Whether cell `index` of `cells`, counted from 0, halves the length (method section 1)."""
    return index in (cells // 3, 2 * cells // 3)


def cell_stride(source, reduction):
    """Stride of an edge: reduction cells halve what comes from outside, sources 0 and 1."""
    return 2 if reduction and source < 2 else 1


class Cell(nn.Module):
    """One cell: two preprocessed inputs, nodes that sum two operations each, all nodes concatenated.

    (batch, states[0], 1, samples), (batch, states[1], 1, samples) -> (batch, sum of node widths, 1, samples or half,
    rounded up). SleepNet runs the preprocesses, as those of two cells read the same output.
    """

    def __init__(self, entries, inputs, widths, reduction, reduction_before):
        super().__init__()
        states = widths.states
        self.preprocess0 = ReluConvBn(inputs[0], states[0], stride=2 if reduction_before else 1)
        self.preprocess1 = ReluConvBn(inputs[1], states[1])
        self.operations = nn.ModuleList(
            OPERATIONS[name](states[source], states[2 + k // 2], cell_stride(source, reduction), widths.inner[k])
            for k, (name, source) in enumerate(entries)
        )
        self.widths = CellWidths(states, tuple(operation.inner_width for operation in self.operations))
        # (operation, source) of every edge, two a node, in the order of the genotype
        self.edges = [(operation, source) for operation, (_, source) in zip(self.operations, entries, strict=True)]

    def forward(self, before_last, last):
        states, shared = [before_last, last], {}
        for first, second in zip(self.edges[::2], self.edges[1::2], strict=True):
            states.append(self._result(*first, states, shared) + self._result(*second, states, shared))
        return concatenate(states[2:])

    def _result(self, operation, source, states, shared):
        """What an operation makes of its source; ReLUs and pools of one source are computed once, and `shared`."""
        rectifying = isinstance(operation, Rectifying)
        kind = "Relu" if rectifying else operation.kind
        if (source, kind) not in shared:
            shared[source, kind] = F.relu(states[source]) if rectifying else operation(states[source])
        return operation.after_relu(shared[source, kind]) if rectifying else shared[source, kind]


def preprocessed(x, layers):
    """Outputs of several 1x1 ReluConvBn on one rectified signal; of the same stride they run as one convolution."""
    if len({layer[1].stride for layer in layers}) > 1:
        return [layer.after_relu(x) for layer in layers]
    together = convolve(x, torch.cat([layer[1].weight for layer in layers]), stride=layers[0][1].stride[0])
    parts = split(together, [layer[1].out_channels for layer in layers])
    return [layer[2](part) for layer, part in zip(layers, parts, strict=True)]


class SleepNet(nn.Module):
    """Network of a genotype (method section 2): (batch, 1, samples) -> (batch, n_classes) logits.

    channels : of the stem and of the first cells, doubled at each of the two reduction cells
    widths : what filter pruning left; None is full width
    """

    def __init__(self, genotype, channels=8, cells=9, n_classes=5, widths=None):
        super().__init__()
        self.genotype, self.channels = genotype, channels
        stem = widths.stem if widths else channels
        self.stem = nn.Sequential(Conv(1, stem, 3, padding=1, bias=False), BatchNorm(stem), nn.ReLU())
        self.cells = nn.ModuleList()
        inputs, reduction_before = (stem, stem), False
        for index in range(cells):
            reduction = is_reduction(index, cells)
            channels *= 2 if reduction else 1
            entries = genotype.reduce if reduction else genotype.normal
            full = CellWidths((channels,) * (2 + len(entries) // 2), (None,) * len(entries))
            width = widths.cells[index] if widths else full
            self.cells.append(Cell(entries, inputs, width, reduction, reduction_before))
            inputs, reduction_before = (inputs[1], sum(width.states[2:])), reduction
        self.widths = Widths(stem, tuple(cell.widths for cell in self.cells))
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(inputs[1], n_classes)

    def forward(self, x, activations=None):
        """activations : type of what the cells compute, torch.bfloat16; None is that of x. The stem reads the signal as
        it is, and the mean over time and the classifier are in the type of the weights."""
        output, waiting = self.stem(as_image(x)).to(activations or x.dtype), []
        for index, cell in enumerate(self.cells):
            # An output is read by the next cell and by the one after it; the stem's twice by the first.
            later = (following.preprocess0 for following in self.cells[index + (index > 0) : index + 2])
            last, *before = preprocessed(F.relu(output), [cell.preprocess1, *later])
            waiting += before
            output = cell(waiting.pop(0), last)
        return self.classifier(self.dropout(mean_over_time(output, self.classifier.weight.dtype)))


def new_network(genotype, channels, cells, fold):
    """An untrained SleepNet, the same kind whatever the fold: where the training of a fold starts."""
    return SleepNet(genotype, channels, cells)
