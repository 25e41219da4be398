"""Filter pruning: the scores, the tied sets, and a smaller network that computes what the masked one would."""

import copy
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sleepkit.execution.paths import ROOT
from sleepkit.genotype import Genotype, random_genotype
from sleepkit.network.size import count_parameters
from sleepkit.network.sleepnet import Cell, CellWidths, SleepNet, is_reduction
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.filters import (
    capacity,
    filter_scores,
    importance,
    independence,
    kept_channels,
    l1_scores,
    prune_filters,
    random_scores,
    released_mask,
    with_kept,
)
from sleepkit.pruning.methods import METHODS
from sleepkit.pruning.tied_sets import joined_states, tied_sets

# Strides 1 and 2 of skip_connect, both plain convolutions, every kind of operation that ties or reads channels.
MIXED = Genotype(
    (
        ("skip_connect", 0),
        ("conv_1x1", 1),
        ("conv_3x3", 2),
        ("dil_conv_1x3", 0),
        ("sep_conv_1x3", 3),
        ("skip_connect", 1),
    ),
    (
        ("skip_connect", 0),
        ("skip_connect", 1),
        ("conv_3x3", 0),
        ("skip_connect", 2),
        ("conv_1x1", 1),
        ("avg_pool_3x3", 0),
    ),
)
GENOTYPES = {"edf20": published_genotype("edf20"), "edf78": published_genotype("edf78"), "mixed": MIXED}
GENOTYPES |= {f"random{seed}": random_genotype(4, seed) for seed in range(3)}


def trained(genotype, channels=4, cells=5, seed=0):
    """A network in float64 with parameters and statistics as after training: nothing at its neutral start."""
    torch.manual_seed(seed)
    net = SleepNet(genotype, channels, cells).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


def signal(samples=45):
    return torch.randn(3, 1, samples, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


# Scores


def plain_capacity(weight):
    result = []
    for kernels in weight:
        parts = (
            [abs(tap) for tap in kernels[0]]
            if len(kernels) == 1
            else [sum(tap**2 for tap in k) ** 0.5 for k in kernels]
        )
        total = sum(parts)
        result.append(-sum(p / total * np.log2(p / total) for p in parts if p > 0) if total else 0.0)
    return result


def plain_independence(weight):
    flat = [w.ravel() for w in weight]
    result = []
    for j, one in enumerate(flat):
        distances = []
        for i, other in enumerate(flat):
            if i != j:
                size = np.sqrt((one**2).sum() * (other**2).sum())
                distances.append(1 - abs((one * other).sum() / size) if size else 1.0)
        result.append(sum(distances) / len(distances) if distances else 0.0)
    return result


@pytest.mark.parametrize("shape", [(6, 4, 3), (6, 4, 1), (5, 1, 5), (5, 1, 3), (1, 3, 1)])
def test_capacity_and_independence_equal_plain_loops(shape):
    weight = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(capacity(weight), plain_capacity(weight), rtol=1e-12)
    np.testing.assert_allclose(independence(weight), plain_independence(weight), atol=1e-12)


def test_capacity_by_hand():
    even = np.zeros((2, 4, 1))
    even[0] = 1.0  # spread over four inputs: 2 bit
    even[1, 2] = 7.0  # all on one input: none
    assert capacity(even).tolist() == [2.0, 0.0]
    assert capacity(np.array([[[1.0, -1.0, 0.0, 2.0]]])).tolist() == [
        1.5
    ]  # one input: over the taps' magnitudes 1/4 1/4 1/2


def test_opposite_and_parallel_filters_are_dependent():
    weight = np.array([[[1.0, 0.0]], [[-3.0, 0.0]], [[0.0, 2.0]]])
    np.testing.assert_allclose(independence(weight), [0.5, 0.5, 1.0])


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.5, 1.0])
def test_importance_is_the_weighted_sum_of_scaled_scores(balance):
    weight = np.random.default_rng(1).normal(size=(6, 4, 3))
    scaled = []
    for values in (np.array(plain_capacity(weight)), np.array(plain_independence(weight))):
        scaled.append((values - values.min()) / (values.max() - values.min()))
    frame = importance(weight, balance)
    np.testing.assert_allclose(frame["importance"], balance * scaled[0] + (1 - balance) * scaled[1], atol=1e-12)


def test_constant_layers_zero_kernels_and_single_filters():
    constant = np.stack([np.roll([[1.0], [0.0], [0.0]], j, axis=0) for j in range(3)])
    assert importance(constant)["importance"].tolist() == [0.5] * 3
    assert importance(np.ones((1, 3, 1)))["importance"].tolist() == [0.5]
    weight = np.random.default_rng(2).normal(size=(4, 3, 1))
    weight[2] = 0
    scores = importance(weight)["importance"]
    assert scores[2] == 0
    assert np.isfinite(scores).all()
    assert importance(np.zeros((3, 2, 1)))["importance"].tolist() == [0.0] * 3


def test_every_filter_of_every_convolution_is_scored():
    net = trained(MIXED)
    convs = {name: module.out_channels for name, module in net.named_modules() if isinstance(module, nn.Conv1d)}
    for scores in (filter_scores(net), l1_scores(net), random_scores(net, 3)):
        assert scores.groupby("layer").size().to_dict() == convs
        assert scores["importance"].between(0, 1).all()
    assert random_scores(net, 3).equals(random_scores(net, 3))
    assert not random_scores(net, 3).equals(random_scores(net, 4))
    layer = "cells.0.preprocess0.1"
    one = l1_scores(net).query("layer == @layer")["importance"].to_numpy()
    norms = net.get_submodule(layer).weight.detach().abs().sum((1, 2)).numpy()
    np.testing.assert_allclose(one, norms / norms.max())


# Tied sets


def groups(entries, reduction):
    widths = CellWidths((2,) * (2 + len(entries) // 2), (None,) * len(entries))
    label = joined_states(Cell(entries, (2, 2), widths, reduction, reduction_before=False))
    return {frozenset(k for k, other in enumerate(label) if other == state) for state in label}


@pytest.mark.parametrize(
    ("key", "kind", "expected"),
    [
        ("edf20", "normal", [{2, 3, 4}, {5, 6}, {0}, {1}, {7}]),
        ("edf20", "reduce", [{0, 3, 4, 5, 6}, {1}, {2}]),
        ("edf78", "normal", [{1, 2, 4, 5}, {0}, {3}, {6}]),
        ("edf78", "reduce", [{0, 2, 3, 4, 5, 6}, {1}]),
    ],
)
def test_joined_states_of_the_published_genotypes(key, kind, expected):
    entries = getattr(published_genotype(key), kind)
    assert groups(entries, kind == "reduce") == set(map(frozenset, expected))


def test_an_identity_joins_states_and_a_factorized_reduction_does_not():
    entries = (("skip_connect", 0), ("conv_1x1", 1))
    assert groups(entries, False) == {frozenset({0, 2}), frozenset({1})}
    assert groups(entries, True) == {frozenset({0}), frozenset({1}), frozenset({2})}
    assert groups((("max_pool_3x3", 0), ("avg_pool_3x3", 1)), True) == {frozenset({0, 1, 2})}


@pytest.mark.parametrize("name", GENOTYPES)
def test_tied_sets_cover_every_filter_once(name):
    """Every conv filter makes or reads the channel of exactly one tied set; the sets' members agree with the wiring."""
    net = trained(GENOTYPES[name])
    convs = {layer: module for layer, module in net.named_modules() if isinstance(module, nn.Conv1d)}
    covered = {layer: np.zeros(conv.out_channels, int) for layer, conv in convs.items()}
    for tied in tied_sets(net):
        for layer, first in tied.producers:
            assert convs[layer].groups == 1
            assert first + convs[layer].out_channels <= tied.width
            covered[layer] += 1
        for layer, first in tied.readers:
            assert convs[layer].groups == convs[layer].out_channels == tied.width and first == 0
            covered[layer] += 1
    assert all((count == 1).all() for count in covered.values())


def union_find(net):
    """Tied convolutions found by walking the wiring and joining pairs, without the product's sets."""
    parent = {}

    def find(a):
        parent.setdefault(a, a)
        while parent[a] != a:
            a = parent[a]
        return a

    for index, _cell in enumerate(net.cells):
        reduction = is_reduction(index, len(net.cells))
        entries = net.genotype.reduce if reduction else net.genotype.normal
        for side in (0, 1):
            parent[find((index, f"preprocess{side}.1"))] = find((index, side))
        for k, (name, source) in enumerate(entries):
            target, path = 2 + k // 2, f"operations.{k}"
            if "pool" in name or (name == "skip_connect" and not (reduction and source < 2)):
                joined = [(source, target)]
            elif name == "skip_connect":
                joined = [(f"{path}.conv_1", target), (f"{path}.conv_2", target)]
            elif name.startswith("sep"):
                middle = f"{path}.middle"
                joined = [(f"{path}.0.depthwise", source), (f"{path}.1.pointwise", target)]
                joined += [(f"{path}.0.pointwise", middle), (f"{path}.1.depthwise", middle)]
            elif name.startswith("dil"):
                joined = [(f"{path}.depthwise", source), (f"{path}.pointwise", target)]
            else:
                joined = [(f"{path}.1", target)]
            for one, other in joined:
                parent[find((index, one))] = find((index, other))
    sets = {}
    for index, member in list(parent):
        if isinstance(member, str) and not member.endswith("middle"):
            sets.setdefault(find((index, member)), set()).add(f"cells.{index}.{member}")
    return {frozenset(members) for members in sets.values()} | {frozenset({"stem.0"})}


@pytest.mark.parametrize("name", GENOTYPES)
def test_tied_sets_equal_those_of_an_independent_walk(name):
    net = trained(GENOTYPES[name])
    ours = {frozenset(layer for layer, _ in tied.producers + tied.readers) for tied in tied_sets(net)}
    assert ours == union_find(net)


# The smaller network


@pytest.mark.parametrize(("cells", "left"), [(7, 24_153), (9, 27_521), (11, 38_289)])
def test_parameters_left_at_half(cells, left):
    net = SleepNet(published_genotype("edf20"), 8, cells)
    small = prune_filters(net, ratio=0.5)
    assert count_parameters(small) == left
    assert small(torch.randn(2, 1, 100)).shape == (2, 5)


def zeroed(net, chosen):
    """A copy in which the BatchNorm after every producer makes the removed channels 0."""
    full = copy.deepcopy(net)
    modules = dict(full.named_modules())
    for tied, _, kept in chosen:
        gone = np.setdiff1d(np.arange(tied.width), kept)
        for layer, _ in tied.producers:
            parent, _, last = layer.rpartition(".")
            bn = modules[f"{parent}.bn"] if f"{parent}.bn" in modules else modules[f"{parent}.{int(last) + 1}"]
            assert bn.num_features == tied.width
            with torch.no_grad():
                bn.weight[torch.from_numpy(gone)] = 0
                bn.bias[torch.from_numpy(gone)] = 0
    return full


@pytest.mark.parametrize("ratio", [0.5, 0.9])
@pytest.mark.parametrize("name", GENOTYPES)
def test_the_smaller_network_equals_the_full_one_with_channels_zeroed(name, ratio):
    net = trained(GENOTYPES[name])
    small, chosen = prune_filters(net, ratio), kept_channels(net, filter_scores(net), ratio)
    full = zeroed(net, chosen)
    x = signal()
    assert count_parameters(small) < count_parameters(net)
    torch.testing.assert_close(small(x), full(x), rtol=0, atol=1e-9)
    assert (full(x) - net(x)).abs().max() > 1e-3


def test_it_holds_in_float32_and_at_full_length():
    net = trained(published_genotype("edf20"), channels=8, cells=7).float()
    full = zeroed(net, kept_channels(net, filter_scores(net), 0.5))
    x = signal(500).float()
    torch.testing.assert_close(prune_filters(net, 0.5)(x), full(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", GENOTYPES)
def test_ratio_zero_is_the_identity(name):
    net = trained(GENOTYPES[name])
    small = prune_filters(net, 0)
    for (key, one), other in zip(net.state_dict().items(), small.state_dict().values(), strict=True):
        assert torch.equal(one, other), key
    assert torch.equal(small(signal()), net(signal()))


@pytest.mark.parametrize("name", GENOTYPES)
def test_pruning_twice_down_to_one_channel_still_runs(name):
    net = prune_filters(prune_filters(trained(GENOTYPES[name], channels=5), 0.5), 0.9)
    assert net.widths.stem == 1
    assert {width for cell in net.widths.cells for width in cell.states} == {1}
    assert torch.isfinite(net(signal())).all()
    net.train()(signal()).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("ratio", [0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("name", ["edf20", "edf78", "mixed"])
def test_the_share_that_stays_and_the_kept_above_the_removed(name, ratio):
    net = trained(GENOTYPES[name], channels=10)
    scores = filter_scores(net)
    by_filter = scores.set_index(["layer", "filter"])["importance"]
    for tied, mean, kept in kept_channels(net, scores, ratio):
        assert len(kept) == max(1, round((1 - ratio) * tied.width - 0.5 + 1e-6))
        # a channel's score is the mean over the filters that make or read it
        for channel in range(tied.width):
            terms = [
                by_filter[layer, channel - first]
                for layer, first in tied.producers
                if (layer, channel - first) in by_filter
            ]
            terms += [by_filter[layer, channel] for layer, _ in tied.readers]
            assert mean[channel] == pytest.approx(np.mean(terms), abs=1e-12)
        removed = np.setdiff1d(np.arange(tied.width), kept)
        if len(removed):
            assert mean[kept].min() >= mean[removed].max()
            level = mean[removed].max()
            tied_kept, tied_removed = kept[mean[kept] == level], removed[mean[removed] == level]
            assert not len(tied_kept) or tied_kept.max() < tied_removed.min()


@pytest.mark.parametrize("name", GENOTYPES)
def test_the_filters_marked_as_kept_are_those_of_the_smaller_network(name):
    """As many per layer; and where a filter reads one channel, those very filters."""
    net = trained(GENOTYPES[name])
    scores = filter_scores(net)
    marked = with_kept(net, scores, 0.5)
    pd.testing.assert_frame_equal(marked.drop(columns="kept"), scores)
    layers = {layer: module for layer, module in prune_filters(net, 0.5, scores=scores).named_modules()}
    for layer, rows in marked.groupby("layer"):
        assert rows["kept"].sum() == (layers[layer].out_channels if layers.get(layer) is not None else 0)
        full = net.get_submodule(layer).weight
        if rows["kept"].any() and full.shape[1] == 1:
            assert torch.equal(layers[layer].weight, full[rows["kept"].tolist()])


def test_ties_keep_the_lower_channels():
    net = trained(MIXED)
    scores = filter_scores(net).assign(importance=0.5)
    for tied, _, kept in kept_channels(net, scores, 0.5):
        assert kept.tolist() == list(range(tied.width // 2))


def test_other_scores_choose_other_channels():
    net = trained(published_genotype("edf20"), channels=8)
    x = signal()
    outputs = [prune_filters(net, 0.5, scores=scores)(x) for scores in (None, l1_scores(net), random_scores(net, 0))]
    outputs.append(prune_filters(net, 0.5, balance=1.0)(x))
    assert all((a - b).abs().max() > 1e-6 for k, a in enumerate(outputs) for b in outputs[:k])


def test_the_network_that_is_pruned_is_left_alone_and_the_copy_trains():
    net = trained(MIXED)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    small = prune_filters(net, 0.5).train()
    optimiser = torch.optim.SGD(small.parameters(), 0.1)
    small(signal()).sum().backward()
    optimiser.step()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5])
def test_an_impossible_ratio_is_refused(ratio):
    with pytest.raises(ValueError, match="ratio="):
        prune_filters(SleepNet(MIXED, 2, 3), ratio)


def test_the_list_of_methods_needs_no_torch():
    """Figures read it where torch is not installed."""
    code = "import sys; sys.modules['torch'] = None; from sleepkit.pruning.methods import METHODS; print(*METHODS)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == list(METHODS)


# The authors' mask

RELEASED = [
    *(("edf20", 8, cells, count) for cells, count in ((7, 42_377), (9, 47_889), (11, 66_977))),
    *(("edf78", 9, cells, count) for cells, count in ((7, 38_254), (9, 42_608), (11, 58_808))),
    *(("edf20", 9, cells, count) for cells, count in ((9, 59_078), (11, 82_892))),
    *(("edf20", 12, cells, count) for cells, count in ((9, 101_663), (11, 142_775))),
]


@pytest.mark.parametrize(("key", "channels", "cells", "count"), RELEASED)
def test_nonzero_parameters_of_the_released_mask(key, channels, cells, count):
    torch.manual_seed(0)
    masked = released_mask(SleepNet(published_genotype(key), channels, cells))
    assert sum(int(p.count_nonzero()) for p in masked.parameters()) == count


@pytest.mark.parametrize("percent", range(0, 100, 10))
def test_the_released_mask_loses_no_filter_to_rounding(percent):
    """Counted in whole numbers: of ten filters 80 % leave two, of five one."""
    net = SleepNet(published_genotype("edf20"), 5, 5)
    for one, other in zip(net.modules(), released_mask(net, percent / 100).modules(), strict=True):
        if isinstance(one, nn.Conv1d):
            assert int(other.weight.flatten(1).any(1).sum()) == one.out_channels * (100 - percent) // 100


def test_the_released_mask_zeroes_whole_filters_and_training_fills_them_again():
    torch.manual_seed(0)
    net = SleepNet(published_genotype("edf20"), 4, 5)
    masked = released_mask(net)
    assert count_parameters(masked) == count_parameters(net)
    for (name, one), other in zip(net.named_modules(), masked.modules(), strict=True):
        if isinstance(one, nn.Conv1d):
            alive = other.weight.flatten(1).any(1)
            assert int(alive.sum()) == one.out_channels // 2, name
            assert torch.equal(other.weight[alive], one.weight[alive])
            if one.weight.shape[1] == 1:
                assert alive.tolist() == [True] * (len(alive) // 2) + [False] * (len(alive) // 2)
    zero = [p == 0 for p in masked.parameters() if p.ndim == 3]
    optimiser = torch.optim.Adam(masked.parameters(), 0.005)
    x, y = torch.randn(32, 1, 64), torch.arange(32) % 5
    for _ in range(3):
        optimiser.zero_grad()
        nn.functional.cross_entropy(masked(x), y).backward()
        optimiser.step()
    back = sum(
        int((p[mask] != 0).sum())
        for p, mask in zip((p for p in masked.parameters() if p.ndim == 3), zero, strict=False)
    )
    assert back > 0.1 * sum(int(mask.sum()) for mask in zero)
