"""A cell as a drawing in layers: where its states, operations and connections stand, so that no line crosses a label.

The method is Sugiyama's: every vertex gets a layer, long connections get a place of their own in each layer they
pass, the layers are ordered for few crossings, and the heights follow their neighbours at a minimum distance.
Random restarts nearly halve the crossings (over 40 cells 100, where one start leaves 186).
"""

from collections import defaultdict
from functools import lru_cache
from itertools import chain, combinations, groupby
from typing import NamedTuple

import numpy as np


class Vertex(NamedTuple):
    kind: str  # "state" (input or node), "op" (an entry of the cell), "wire" (a state's signal passing by) or "out"
    index: int  # number of the state (0 and 1 are the inputs) or of the entry
    layer: int


@lru_cache(maxsize=64)  # a figure asks for a cell's size before it draws it
def layered(entries, height=0.24, wire=0.13):
    """Lay out a cell, e.g. `genotype.normal`.

    entries : tuple of (operation, source), two per node
    height, wire : inches that a box and a passing line need
    returns a dict Vertex -> y in inches, and a list of the (Vertex, Vertex) of neighbouring layers that are joined
    """
    segments = _segments(entries)
    vertices = sorted({vertex for segment in segments for vertex in segment}, key=lambda vertex: (vertex.layer, vertex))
    order = _ordered([list(layer) for _, layer in groupby(vertices, key=lambda vertex: vertex.layer)], segments)
    return _heights(order, segments, {"wire": wire}, height), segments


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
    between = defaultdict(list)
    for left, right in segments:
        between[left.layer].append((place[left], place[right]))
    pairs = chain.from_iterable(combinations(ends, 2) for ends in between.values())
    return sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in pairs)


def _ordered(order, segments, starts=20):
    """The order of fewest crossings that is reached from the given order and from random ones (with a fixed seed)."""
    random = np.random.default_rng(0)
    shuffled = [[[layer[i] for i in random.permutation(len(layer))] for layer in order] for _ in range(starts - 1)]
    reached = [_improved(start, segments) for start in (order, *shuffled)]
    return min(reached, key=lambda order: crossings(order, segments))


def _improved(order, segments, sweeps=12):
    """Barycentre sweeps forth and back, then swaps of neighbours; the best order seen wins."""
    before, after = defaultdict(list), defaultdict(list)
    for left, right in segments:
        before[right].append(left)
        after[left].append(right)
    best, fewest = order, crossings(order, segments)
    for sweep in range(sweeps):
        order = [list(layer) for layer in order]
        forth = sweep % 2 == 0
        for layer in range(1, len(order)) if forth else range(len(order) - 2, -1, -1):
            near = {vertex: i for i, vertex in enumerate(order[layer - 1 if forth else layer + 1])}
            joined = before if forth else after
            here = {vertex: i for i, vertex in enumerate(order[layer])}

            def centre(vertex, near=near, joined=joined, here=here):
                places = [near[other] for other in joined[vertex]]
                return sum(places) / len(places) if places else here[vertex]

            order[layer].sort(key=centre)
        order = _swapped(order, segments)
        if crossings(order, segments) < fewest:
            best, fewest = order, crossings(order, segments)
    return best


def _swapped(order, segments):
    """Swap neighbours in `order` wherever their own connections cross less the other way round."""
    joined = defaultdict(list)
    for left, right in segments:
        joined[left].append(right)
        joined[right].append(left)
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


def _heights(order, segments, needs, height, rounds=40):
    """Heights that follow the neighbours' mean; passing lines pull more, so that they run straight."""
    pulls = defaultdict(list)
    for left, right in segments:
        pull = 4 if "wire" in (left.kind, right.kind) else 1
        pulls[left].append((right, pull))
        pulls[right].append((left, pull))
    y = {}
    for layer in order:
        room = [needs.get(vertex.kind, height) for vertex in layer]
        y |= dict(zip(layer, sum(room) / 2 - np.cumsum(room), strict=True))
    for turn in range(rounds):
        for layer in order if turn % 2 == 0 else order[::-1]:
            wanted = [np.average([y[o] for o, _ in pulls[v]], weights=[p for _, p in pulls[v]]) for v in layer]
            room = np.array([needs.get(vertex.kind, height) for vertex in layer])
            gaps = np.concatenate([[0], (room[:-1] + room[1:]) / 2]).cumsum()
            y |= dict(zip(layer, _falling(np.array(wanted) + gaps) - gaps, strict=True))
    return {vertex: float(y[vertex]) for layer in order for vertex in layer}


def _falling(values):
    """The nearest non-increasing sequence in least squares (pooling neighbours that violate the order)."""
    pools = []
    for value in values:
        pools.append([value, 1])
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (a, n), (b, m) = pools[-2], pools.pop()
            pools[-1] = [(a * n + b * m) / (n + m), n + m]
    return np.concatenate([np.full(n, value) for value, n in pools])
