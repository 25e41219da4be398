"""The architecture that a search finds, as a literal that can be printed, pasted and committed."""

import json
from dataclasses import dataclass

import numpy as np

# The search space in the order of the columns of alpha (method section 1); ties go to the earlier one.
OPERATION_NAMES = ("none", "avg_pool_3x3", "max_pool_3x3", "skip_connect", "sep_conv_1x3", "sep_conv_1x5")
OPERATION_NAMES += ("dil_conv_1x3", "dil_conv_1x5", "conv_1x1", "conv_3x3")


@dataclass(frozen=True)
class Genotype:
    """Two cells, each a tuple of (operation, source), two entries a node, in the order of the nodes.

    Source 0 is the output of the cell before the last, 1 that of the last cell, 2 + i is node i of the same cell.
    """

    normal: tuple
    reduce: tuple

    def __post_init__(self):
        for kind in ("normal", "reduce"):
            cell = tuple((str(name), int(source)) for name, source in getattr(self, kind))
            object.__setattr__(self, kind, cell)
            if not cell or len(cell) % 2:
                raise ValueError(f"{kind} cell has {len(cell)} entries; a cell has two per node")
            for position, (name, source) in enumerate(cell):
                if name not in (known := OPERATION_NAMES[1:]):
                    raise ValueError(f"{kind} cell, entry {position}: unknown operation {name!r}; known: {known}")
                if not 0 <= source < 2 + position // 2:
                    raise ValueError(f"{kind} cell, entry {position}: node {position // 2} cannot read source {source}")

    def to_json(self):
        return json.dumps({"normal": self.normal, "reduce": self.reduce})

    @classmethod
    def from_json(cls, text):
        try:
            cells = json.loads(text)
            return cls(cells["normal"], cells["reduce"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a genotype, an object with lists 'normal' and 'reduce': {error}") from error


def random_genotype(nodes, seed):
    """A genotype drawn at random: two different sources per node and any operation but `none` on each."""
    draw, cells = np.random.default_rng(seed), ([], [])
    for cell in cells:
        for node in range(nodes):
            for source in np.sort(draw.choice(2 + node, 2, replace=False)):
                cell.append((OPERATION_NAMES[draw.integers(1, len(OPERATION_NAMES))], source))
    return Genotype(*cells)


def edges(nodes):
    """(node, source) of every edge of a cell with `nodes` nodes, in the order of the rows of alpha."""
    return tuple((node, source) for node in range(nodes) for source in range(2 + node))


def nodes_with(count):
    """Nodes of a cell that has `count` edges."""
    return next(nodes for nodes in range(1, count + 1) if len(edges(nodes)) == count)
