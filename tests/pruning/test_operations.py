"""Differentiable operation pruning: the annealing, the rule, and the architecture that is left."""

import numpy as np
import pytest

from sleepkit.genotype import OPERATION_NAMES
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.operations import discretise, temperature, weak_operations


def softmax(values, alive, t=1.0):
    e = np.where(alive, np.exp(values / t), 0)
    return e / e.sum(1, keepdims=True)


def plain_weak(weights, alive):
    """The rule in loops: below 0.05, alive, and not the edge's best operation other than `none`."""
    weak = np.zeros_like(alive)
    for edge in range(len(weights)):
        best = max((k for k in range(1, 10) if alive[edge, k]), key=lambda k: (weights[edge, k], -k))
        for k in range(10):
            weak[edge, k] = alive[edge, k] and weights[edge, k] < 0.5 / 10 and k != best
    return weak


def plain_cell(weights, nodes):
    """Discretisation in loops, from the words of method section 1b."""
    cell, edge = [], 0
    for node in range(nodes):
        candidates = []
        for source in range(2 + node):
            operation = 1
            for k in range(2, 10):
                if weights[edge, k] > weights[edge, operation]:
                    operation = k
            candidates.append((weights[edge, operation], source, OPERATION_NAMES[operation]))
            edge += 1
        for _ in range(2):
            strongest = candidates[0]
            for candidate in candidates[1:]:
                if candidate[0] > strongest[0]:
                    strongest = candidate
            candidates.remove(strongest)
            cell.append((strongest[2], strongest[1]))
    return tuple(cell)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 1.5), (4, 1.2218), (9, 0.9454), (14, 0.7315), (19, 0.5660)])
def test_temperatures_of_the_paper(epoch, expected):
    """Epochs 5, 10, 15, 20 counted from 1 are 4, 9, 14, 19 counted from 0."""
    assert temperature(epoch) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("seed", range(6))
def test_the_rule_equals_plain_loops(seed):
    random = np.random.default_rng(seed)
    alive = random.random((14, 10)) > 0.3
    alive[:, 4] |= ~alive[:, 1:].any(1)
    weights = softmax(1.5 * random.normal(size=(14, 10)), alive)
    weak = weak_operations(weights, alive)
    np.testing.assert_array_equal(weak, plain_weak(weights, alive))
    assert weak.any()
    assert not weak[~alive].any()
    assert (alive & ~weak)[:, 1:].any(1).all()


def test_the_threshold_itself_stays_and_none_goes_like_any_other():
    weights = np.array([[0.04, 0.05, 0.0499, 0.81, 0.01, 0.01, 0.01, 0.01, 0.0, 0.0001]])
    weak = weak_operations(weights, np.full((1, 10), True))
    assert [OPERATION_NAMES[k] for k in np.flatnonzero(~weak[0])] == ["avg_pool_3x3", "skip_connect"]


def test_the_best_operation_other_than_none_stays():
    weights = np.full((1, 10), 0.001)
    weights[0, 0], weights[0, 6] = 0.99, 0.002
    weak = weak_operations(weights, np.full((1, 10), True))
    assert np.flatnonzero(~weak[0]).tolist() == [0, 6]
    alive = ~weak
    weights[0, 0], weights[0, 6] = 0.999, 0.001
    assert not weak_operations(weights * alive, alive).any()


def test_a_dead_operation_is_never_the_best():
    alive = np.array([[True, False, True] + [False] * 7])
    weights = np.array([[0.99, 0.5, 0.01] + [0.0] * 7])  # a stale weight on a dead operation must not protect it
    assert np.flatnonzero(alive & ~weak_operations(weights, alive)).tolist() == [0, 2]


@pytest.mark.parametrize("nodes", [4, 5, 7])
@pytest.mark.parametrize("ties", [False, True])
def test_discretisation_equals_plain_loops(nodes, ties):
    for seed in range(20):
        random = np.random.default_rng(seed)
        shape = (nodes * (nodes + 3) // 2, 10)
        normal, reduce = (random.integers(0, 4, shape) / 4 if ties else random.random(shape) for _ in range(2))
        genotype = discretise(normal, reduce)
        assert genotype.normal == plain_cell(normal, nodes)
        assert genotype.reduce == plain_cell(reduce, nodes)


def test_all_equal_weights_give_the_lowest_sources_and_the_first_operation():
    cell = discretise(np.full((14, 10), 0.1), np.full((14, 10), 0.1)).normal
    assert cell == (("avg_pool_3x3", 0), ("avg_pool_3x3", 1)) * 4


def test_none_is_never_chosen_and_the_stronger_edge_comes_first():
    weights = np.full((14, 10), 0.01)
    weights[:, 0] = 0.9
    weights[1, 9], weights[0, 4], weights[4, 7], weights[2, 8] = 0.5, 0.4, 0.3, 0.6
    assert discretise(weights, weights).normal[:4] == (
        ("conv_3x3", 1),
        ("sep_conv_1x3", 0),
        ("conv_1x1", 0),
        ("dil_conv_1x5", 2),
    )


@pytest.mark.parametrize("name", ["edf20", "edf78"])
def test_the_published_genotypes_are_as_the_hand_rules_leave_them(name):
    genotype = published_genotype(name)
    names = [[name for name, _ in cell] for cell in (genotype.normal, genotype.reduce)]
    assert names[0].count("dil_conv_1x5") >= 2
    assert {"sep_conv_1x5", "dil_conv_1x5"} <= set(names[1])
