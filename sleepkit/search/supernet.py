"""The search network: every edge of a cell is a weighted mixture of all candidate operations."""

import torch
from torch import nn

from sleepkit.genotype import OPERATION_NAMES, edges
from sleepkit.network.batch_norm import BatchNorm
from sleepkit.network.images import as_image, concatenate, mean_over_time
from sleepkit.network.operations import Conv, FactorizedReduce, ReluConvBn
from sleepkit.network.sleepnet import cell_stride, is_reduction
from sleepkit.search.mixed_op import MixedOperations

KINDS = ("normal", "reduce")
CONCATENATED = 4  # a search cell's output is its last four nodes (method section 1)


class SearchCell(nn.Module):
    """A cell in which node i sums the mixed operations of its 2 + i incoming edges: two (batch, inputs, 1, samples),
    weights and alive (edges, 10) -> (batch, 4 * channels, 1, samples or half)."""

    def __init__(self, inputs, channels, nodes, reduction, reduction_before):
        super().__init__()
        self.kind = KINDS[reduction]
        self.preprocess0 = (FactorizedReduce if reduction_before else ReluConvBn)(inputs[0], channels)
        self.preprocess1 = ReluConvBn(inputs[1], channels)
        self.nodes, self.edges = nodes, edges(nodes)
        # Rows of alpha, by the source that their edges leave, in the order of the nodes they reach.
        self.leaving = [[row for row, (_, s) in enumerate(self.edges) if s == source] for source in range(nodes + 1)]
        sizes = [(len(rows), cell_stride(source, reduction)) for source, rows in enumerate(self.leaving)]
        self.mixed = nn.ModuleList(MixedOperations(channels, *size) for size in sizes)

    def forward(self, before_last, last, weights, alive):
        states, waiting = [self.preprocess0(before_last), self.preprocess1(last)], [None] * self.nodes
        for source, (rows, mixed) in enumerate(zip(self.leaving, self.mixed, strict=True)):
            if source > 1:
                states.append(waiting[source - 2])
            terms = mixed(states[source], weights[rows], [alive[row] for row in rows])
            for row, term in zip(rows, terms, strict=True):
                node = self.edges[row][0]
                waiting[node] = term if waiting[node] is None else waiting[node].add_(term)
        return concatenate([*states[2:], waiting[-1]][-CONCATENATED:])


class SuperNet(nn.Module):
    """Search network of method section 1: (batch, 1, samples) -> (batch, n_classes) logits.

    alpha, alive : per kind of cell (edges, 10), shared by all cells of the kind; a pruned operation is not computed
    temperature : T of softmax(alpha / T)
    """

    def __init__(self, channels=16, cells=6, nodes=7, n_classes=5):
        super().__init__()
        if nodes < CONCATENATED:
            raise ValueError(f"nodes={nodes}: a search cell concatenates its last {CONCATENATED} nodes")
        width = 3 * channels
        self.stem = nn.Sequential(Conv(1, width, 3, padding=1, bias=False), BatchNorm(width))
        self.cells = nn.ModuleList()
        inputs, reduction_before = (width, width), False
        for index in range(cells):
            reduction = is_reduction(index, cells)
            channels *= 2 if reduction else 1
            self.cells.append(SearchCell(inputs, channels, nodes, reduction, reduction_before))
            inputs, reduction_before = (inputs[1], CONCATENATED * channels), reduction
        self.classifier = nn.Linear(inputs[1], n_classes)
        shape = (len(edges(nodes)), len(OPERATION_NAMES))
        self.alpha = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(shape)) for kind in KINDS})
        for kind in KINDS:
            self.register_buffer(f"alive_{kind}", torch.ones(shape, dtype=torch.bool))
        self.temperature = 1.0

    def alive(self, kind):
        return getattr(self, f"alive_{kind}")

    def operation_weights(self, kind):
        """softmax(alpha / T) over the operations of each edge that are left, (edges, 10); 0 for pruned ones."""
        return torch.softmax((self.alpha[kind] / self.temperature).masked_fill(~self.alive(kind), -torch.inf), dim=1)

    def operations_left(self):
        """How many operations are alive, on the edges of both kinds."""
        return sum(int(self.alive(kind).sum()) for kind in KINDS)

    def entropy(self):
        """Sum over the edges of both kinds of the entropy of the operation weights, in nats."""
        return sum(-torch.xlogy(w, w.clamp_min(1e-30)).sum() for w in map(self.operation_weights, KINDS))

    def arch_parameters(self):
        return list(self.alpha.values())

    def weight_parameters(self):
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("alpha.")]

    def forward(self, x, activations=None):
        """activations : type of what the cells compute, as for SleepNet."""
        weights = {kind: self.operation_weights(kind) for kind in KINDS}
        alive = {kind: self.alive(kind).tolist() for kind in KINDS}
        before_last = last = self.stem(as_image(x)).to(activations or x.dtype)
        for cell in self.cells:
            before_last, last = last, cell(before_last, last, weights[cell.kind], alive[cell.kind])
        return self.classifier(mean_over_time(last, self.classifier.weight.dtype))
