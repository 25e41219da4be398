"""Differentiable operation pruning, DOP, and what is left of the supernet at the end (method section 1b).

The softmax over an edge's operations is annealed: as its temperature falls, strong operations grow at the expense of
weak ones (after ASAP, Noy et al. 2019, arXiv 1904.04123), until the weak ones are dropped for good.
"""

import numpy as np

from sleepkit.genotype import OPERATION_NAMES, Genotype, edges, nodes_with


def temperature(epoch, start=1.5, decay=0.95):
    """T of search epoch `epoch`, counted from 0."""
    return start * decay**epoch


def weak_operations(weights, alive, mu=0.5):
    """(edges, 10) bool: operations to remove, those alive whose weight is below mu / 10.

    weights : (edges, 10) softmax(alpha / T) over the survivors;  alive : (edges, 10) bool
    An edge's best operation other than `none` always stays.
    """
    weak = alive & (weights < mu / len(OPERATION_NAMES))
    best = 1 + np.where(alive[:, 1:], weights[:, 1:], -np.inf).argmax(axis=1)
    weak[np.arange(len(weak)), best] = False
    return weak


def discretise(normal, reduce):
    """The genotype of a pair of (edges, 10) weights: per node the two edges whose best operation is strongest.

    The strongest comes first. `none` is never chosen. Ties go to the lower source, then to the earlier operation.
    """
    return Genotype(_discretise_cell(normal), _discretise_cell(reduce))


def _discretise_cell(weights):
    nodes, columns, cell = nodes_with(len(weights)), 1 + weights[:, 1:].argmax(axis=1), []
    best = np.take_along_axis(weights, columns[:, None], axis=1)[:, 0]
    for node in range(nodes):
        rows = [row for row, (target, _) in enumerate(edges(nodes)) if target == node]  # in the order of their sources
        strongest = np.argsort(-best[rows], kind="stable")[:2]
        cell += [(OPERATION_NAMES[columns[rows[source]]], source) for source in strongest]
    return tuple(cell)
