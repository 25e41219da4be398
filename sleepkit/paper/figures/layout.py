"""A cell as a drawing in layers: where its states, operations and connections stand, so that no line crosses a label.

The method is Sugiyama's: every vertex gets a layer, long connections get a place of their own in each layer they
pass, the layers are ordered for few crossings, and the heights follow their neighbours at a minimum distance.
Random restarts nearly halve the crossings (over 40 cells 100, where one start leaves 186)."""

from collections import defaultdict
from functools import lru_cache
from itertools import combinations, groupby, pairwise
from statistics import fmean
from typing import NamedTuple

import numpy as np

RESTARTS = 19  # beside the start in the order of the vertices; their random seed is fixed


class Vertex(NamedTuple):
    kind: str  # "state" (input or node), "op" (an entry of the cell), "wire" (a state's signal passing by) or "out"
    index: int  # number of the state (0 and 1 are the inputs) or of the entry
    layer: int


@lru_cache(maxsize=64)  # a figure asks for a cell's size before it draws it
def layered(entries, height=0.24, wire=0.13):
    """Lay out a cell, e.g. `genotype.normal`.

    entries : tuple of (operation, source), two per node
    height, wire : inches that a box and a passing line need
    returns a dict Vertex -> y in inches, and a list of the (Vertex, Vertex) of neighbouring layers that are joined"""
    segments = _segments(entries)
    vertices = sorted({vertex for segment in segments for vertex in segment}, key=lambda vertex: (vertex.layer, vertex))
    order = [list(layer) for _, layer in groupby(vertices, key=lambda vertex: vertex.layer)]
    random = np.random.default_rng(0)
    shuffled = [[[layer[i] for i in random.permutation(len(layer))] for layer in order] for _ in range(RESTARTS)]
    reached = [_improved(start, segments) for start in (order, *shuffled)]
    order = min(reached, key=lambda order: crossings(order, segments))
    return _heights(order, segments, height, wire), segments


def _joined(segments):
    """A dict of every Vertex -> those that it is joined to."""
    joined = defaultdict(list)
    for left, right in segments:
        joined[left].append(right)
        joined[right].append(left)
    return joined


def _segments(entries):
    """Every connection as steps between neighbouring layers; connections of one state share their way."""
    depth = [0, 0]
    for node in range(len(entries) // 2):
        depth.append(1 + max(depth[source] for _, source in entries[2 * node : 2 * node + 2]))
    states = [Vertex("state", index, 2 * d) for index, d in enumerate(depth)]
    out = Vertex("out", 0, 2 * max(depth) + 1)
    operations = [Vertex("op", entry, states[2 + entry // 2].layer - 1) for entry in range(len(entries))]
    segments = [(operation, states[2 + operation.index // 2]) for operation in operations]
    targets = [(states[source], operation) for (_, source), operation in zip(entries, operations, strict=True)]
    for state, target in targets + [(state, out) for state in states[2:]]:
        way = [state, *(Vertex("wire", state.index, layer) for layer in range(state.layer + 1, target.layer)), target]
        segments += zip(way[:-1], way[1:], strict=True)
    return list(dict.fromkeys(segments))


def crossings(order, segments):
    """Number of pairs of segments that cross, given the order of the vertices within each layer."""
    place = {vertex: position for layer in order for position, vertex in enumerate(layer)}
    ends = sorted((left.layer, place[left], place[right]) for left, right in segments)
    return sum(a[0] == b[0] and a[1] < b[1] and a[2] > b[2] for a, b in combinations(ends, 2))


def _improved(order, segments, sweeps=12):
    """Barycentre sweeps forth and back, then swaps of neighbours; the best order seen wins."""
    joined = _joined(segments)
    best, fewest = order, crossings(order, segments)
    for sweep in range(sweeps):
        order = [list(layer) for layer in order]
        for fixed, layer in pairwise(order if sweep % 2 == 0 else order[::-1]):
            near = {vertex: i for i, vertex in enumerate(fixed)}
            centres = {v: fmean([near[o] for o in joined[v] if o in near] or [i]) for i, v in enumerate(layer)}
            layer.sort(key=centres.get)
        order = _swapped(order, joined)
        if crossings(order, segments) < fewest:
            best, fewest = order, crossings(order, segments)
    return best


def _swapped(order, joined):
    """Swap neighbours in `order` wherever their own connections cross less the other way round."""
    place = {vertex: position for layer in order for position, vertex in enumerate(layer)}
    for layer in order:
        # (layer, place) of the vertices that each one is joined to; those layers stand still meanwhile
        ends = {vertex: [(other.layer, place[other]) for other in joined[vertex]] for vertex in layer}
        for i in range(len(layer) - 1):
            pairs = [(a, b) for on, a in ends[layer[i]] for other, b in ends[layer[i + 1]] if on == other]
            if sum(a < b for a, b in pairs) < sum(a > b for a, b in pairs):
                layer[i], layer[i + 1] = layer[i + 1], layer[i]
        place |= {vertex: position for position, vertex in enumerate(layer)}
    return order


def _heights(order, segments, height, wire, rounds=40):
    """Heights that follow the neighbours' mean; passing lines pull more, so that they run straight."""
    joined, y = _joined(segments), {}
    pulls = {v: [4 if "wire" in (v.kind, other.kind) else 1 for other in others] for v, others in joined.items()}
    rooms = [(layer, np.array([wire if vertex.kind == "wire" else height for vertex in layer])) for layer in order]
    for layer, room in rooms:
        y |= dict(zip(layer, sum(room) / 2 - np.cumsum(room), strict=True))
    for turn in range(rounds):
        for layer, room in rooms if turn % 2 == 0 else rooms[::-1]:
            wanted = [np.average([y[other] for other in joined[v]], weights=pulls[v]) for v in layer]
            gaps = np.concatenate([[0], (room[:-1] + room[1:]) / 2]).cumsum()
            y |= dict(zip(layer, _falling(wanted + gaps) - gaps, strict=True))
    return {vertex: float(height) for vertex, height in y.items()}


def _falling(values):
    """The nearest non-increasing sequence in least squares (pooling neighbours that violate the order)."""
    pools = []
    for value in values:
        pools.append([value, 1])
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (a, n), (b, m) = pools[-2], pools.pop()
            pools[-1] = [(a * n + b * m) / (n + m), n + m]
    return np.concatenate([np.full(n, value) for value, n in pools])
