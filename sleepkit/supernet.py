"""The search network: every edge of a cell is a weighted mixture of all candidate operations."""

import torch
from torch import nn

from sleepkit.cells import PRIMITIVES, FactorizedReduce, relu_conv_bn
from sleepkit.genotype import OPERATIONS, edges
from sleepkit.network import cell_stride, is_reduction

KINDS = ("normal", "reduce")
POOLS = (OPERATIONS.index("avg_pool_3x3"), OPERATIONS.index("max_pool_3x3"))
CONCATENATED = 4  # a search cell's output is its last four nodes (method section 1)


class SearchCell(nn.Module):
    """A cell in which node i sums the mixed operations of its 2 + i incoming edges.

    (batch, inputs[0], samples), (batch, inputs[1], samples), (edges, 10) weights -> (batch, 4 * channels, samples or
    half)
    """

    def __init__(self, inputs, channels, nodes, reduction, reduction_before):
        super().__init__()
        self.kind = KINDS[reduction]
        if reduction_before:
            self.preprocess0 = FactorizedReduce(inputs[0], channels // 2, channels - channels // 2)
        else:
            self.preprocess0 = relu_conv_bn(inputs[0], channels)
        self.preprocess1 = relu_conv_bn(inputs[1], channels)
        self.edges = edges(nodes)
        self.mixtures = nn.ModuleList(
            nn.ModuleList(PRIMITIVES[name](channels, cell_stride(source, reduction)) for name in OPERATIONS)
            for _, source in self.edges
        )
        self.edges_into = [
            [(edge, source) for edge, (target, source) in enumerate(self.edges) if target == node]
            for node in range(nodes)
        ]

    def forward(self, before_last, last, weights, alive):
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        pooled = {}  # a pool has no weights: all edges that leave a source share its result
        for node in range(len(self.edges_into)):
            total = 0
            for edge, source in self.edges_into[node]:
                for column, operation in enumerate(self.mixtures[edge]):
                    # `none` adds zero: its weight counts in the softmax, its product need not be computed.
                    if not column or not alive[edge][column]:
                        continue
                    if column in POOLS:
                        if (column, source) not in pooled:
                            pooled[column, source] = operation(states[source])
                        output = pooled[column, source]
                    else:
                        output = operation(states[source])
                    total = total + weights[edge, column] * output
            states.append(total)
        return torch.cat(states[-CONCATENATED:], dim=1)


class SuperNet(nn.Module):
    """Search network of method section 1: (batch, 1, samples) -> (batch, n_classes) logits.

    alpha : per kind of cell (edges, 10), shared by all cells of the kind
    alive : per kind of cell (edges, 10) bool; a pruned operation is not computed and its weight is exactly 0
    temperature : T of softmax(alpha / T)
    """

    def __init__(self, channels=16, cells=6, nodes=7, n_classes=5):
        super().__init__()
        if nodes < CONCATENATED:
            raise ValueError(
                f"nodes={nodes}: a search cell concatenates its last {CONCATENATED} nodes, so it needs that many"
            )
        width = 3 * channels
        self.stem = nn.Sequential(nn.Conv1d(1, width, 3, padding=1, bias=False), nn.BatchNorm1d(width))
        self.cells = nn.ModuleList()
        inputs, reduction_before = (width, width), False
        for index in range(cells):
            reduction = is_reduction(index, cells)
            channels *= 2 if reduction else 1
            self.cells.append(SearchCell(inputs, channels, nodes, reduction, reduction_before))
            inputs, reduction_before = (inputs[1], CONCATENATED * channels), reduction
        self.classifier = nn.Linear(inputs[1], n_classes)
        shape = (len(edges(nodes)), len(OPERATIONS))
        self.alpha = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(shape)) for kind in KINDS})
        for kind in KINDS:
            self.register_buffer(f"alive_{kind}", torch.ones(shape, dtype=torch.bool))
        self.temperature = 1.0

    def alive(self, kind):
        return getattr(self, f"alive_{kind}")

    def operation_weights(self, kind):
        """softmax(alpha / T) over the surviving operations of each edge, (edges, 10); 0 for pruned ones."""
        return torch.softmax((self.alpha[kind] / self.temperature).masked_fill(~self.alive(kind), -torch.inf), dim=1)

    def entropy(self):
        """Sum over the edges of both kinds of the entropy of the operation weights, in nats."""
        return sum(-torch.xlogy(w, w.clamp_min(1e-30)).sum() for w in map(self.operation_weights, KINDS))

    def arch_parameters(self):
        return list(self.alpha.values())

    def weight_parameters(self):
        architecture = {id(parameter) for parameter in self.arch_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in architecture]

    def forward(self, x):
        weights = {kind: self.operation_weights(kind) for kind in KINDS}
        alive = {kind: self.alive(kind).tolist() for kind in KINDS}
        before_last = last = self.stem(x)
        for cell in self.cells:
            before_last, last = last, cell(before_last, last, weights[cell.kind], alive[cell.kind])
        return self.classifier(last.mean(dim=-1))
