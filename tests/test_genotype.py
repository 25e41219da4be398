"""The architecture as a literal: what it accepts, how it is written, which edges a cell has."""

import json

import pytest

from sleepkit.genotype import OPERATION_NAMES, Genotype, edges, random_genotype
from sleepkit.paper.published import published_genotype

CELL = (("max_pool_3x3", 0), ("conv_1x1", 1), ("skip_connect", 2), ("conv_3x3", 0))


@pytest.mark.parametrize("key", ["edf20", "edf78"])
def test_json_brings_back_the_same_genotype(key):
    genotype = published_genotype(key)
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert Genotype.from_json(json.dumps(json.loads(genotype.to_json()), indent=2)) == genotype


def test_lists_become_tuples_so_that_a_genotype_is_a_key():
    assert len({Genotype([list(entry) for entry in CELL], CELL), Genotype(CELL, CELL)}) == 1


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (CELL[:3], "3 entries"),
        ((), "0 entries"),
        ((("none", 0), ("conv_1x1", 1)), "unknown operation 'none'"),
        ((("conv_7x7", 0), ("conv_1x1", 1)), "unknown operation 'conv_7x7'"),
        ((("conv_1x1", 0), ("conv_1x1", 2)), "node 0 cannot read source 2"),
        ((("conv_1x1", 0), ("conv_1x1", -1)), "cannot read source -1"),
    ],
)
def test_an_impossible_cell_is_refused(cell, message):
    with pytest.raises(ValueError, match=f"reduce cell.*{message}"):
        Genotype(CELL, cell)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"normal": []}', '{"normal": 5, "reduce": []}', '{"normal": [["none"]], "reduce": []}']
)
def test_text_that_is_no_genotype_is_refused(text):
    with pytest.raises(ValueError):
        Genotype.from_json(text)


def test_edges_are_every_pair_of_node_and_earlier_state():
    assert edges(2) == ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2))
    assert [len(edges(nodes)) for nodes in (4, 5, 7)] == [14, 20, 35]


def test_random_genotype_is_valid_seeded_and_varied():
    assert random_genotype(5, 3) == random_genotype(5, 3)
    drawn = [random_genotype(5, seed) for seed in range(60)]
    assert len(set(drawn)) == 60
    for genotype in drawn:
        for cell in (genotype.normal, genotype.reduce):
            assert len(cell) == 10
            assert all(cell[k][1] != cell[k + 1][1] for k in range(0, 10, 2))
    assert {name for genotype in drawn for name, _ in genotype.normal} == set(OPERATION_NAMES[1:])
