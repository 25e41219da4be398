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


def discretise(normal, reduce, released_rules=False):
    """The genotype of a pair of (edges, 10) weights.

    Per node the two incoming edges whose best operation is strongest, strongest first, each with that operation.
    `none` counts in the softmax but is never chosen. Ties go to the lower source, then to the order of the
    primitives.

    released_rules : change it by hand as the authors' code did (method section 1b, *released*)
    """
    cells = _discretise_cell(normal), _discretise_cell(reduce)
    return Genotype(*(_released_rules(*cells) if released_rules else cells))


def _released_rules(normal, reduce):
    """The authors' hand rules: nodes 0 to 4 alone are read; a normal cell has two dil_conv_1x5, a reduction cell a
    sep_conv_1x5 and a dil_conv_1x5.

    A cell's entries are read in pairs: where one dil_conv_1x5 is there, the one appended to it would never be read.
    """
    normal, reduce = normal[:10], list(reduce[:10])
    if not any(name == "dil_conv_1x5" for name, _ in normal):
        normal += (("dil_conv_1x5", 0),) * 2
    for wanted in ("sep_conv_1x5", "dil_conv_1x5"):
        pools = [position for position, (name, _) in enumerate(reduce) if "pool" in name]
        if pools and not any(name == wanted for name, _ in reduce):
            reduce[pools[0]] = (wanted, reduce[pools[0]][1])
    return normal, tuple(reduce)


def _discretise_cell(weights):
    best = weights[:, 1:].max(axis=1)
    name = [OPERATION_NAMES[1 + column] for column in weights[:, 1:].argmax(axis=1)]
    nodes = nodes_with(len(weights))
    cell = []
    for node in range(nodes):
        incoming = [(edge, source) for edge, (target, source) in enumerate(edges(nodes)) if target == node]
        strongest = sorted(incoming, key=lambda pair: (-best[pair[0]], pair[1]))[:2]
        cell += [(name[edge], source) for edge, source in strongest]
    return tuple(cell)
