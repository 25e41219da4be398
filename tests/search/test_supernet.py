"""The search network against a plain implementation: one module per operation and edge, a Python sum over them."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sleepkit.bench.plain import PlainSuperNet, same
from sleepkit.genotype import OPERATION_NAMES
from sleepkit.network.size import count_parameters
from sleepkit.network.sleepnet import is_reduction
from sleepkit.search.supernet import KINDS, SuperNet

SMALL = {"channels": 2, "cells": 3, "nodes": 4}


def prune_some(net, share=0.4, seed=0):
    """Drop operations at random, but never all of an edge's operations other than `none`."""
    generator = torch.Generator().manual_seed(seed)
    for kind in KINDS:
        alive = net.alive(kind)
        alive &= torch.rand(alive.shape, generator=generator) > share
        alive[torch.arange(len(alive)), torch.randint(1, 10, (len(alive),), generator=generator)] = True
    return net


def pair(pruned, **size):
    """The product and the reference with the same weights, in float64, alpha spread as after some search."""
    torch.manual_seed(0)
    net = SuperNet(**size).double()
    with torch.no_grad():
        for kind in KINDS:
            net.alpha[kind].normal_()
    net.temperature = 0.7
    if pruned:
        prune_some(net)
    plain = PlainSuperNet(**size).double()
    with torch.no_grad():
        for theirs, ours in same(plain, net):
            theirs.copy_(ours)
    return net, plain


def close(ours, plain, name):
    ours, plain = ours.detach(), plain.detach()
    scale = max(float(plain.abs().max()), 1e-6)  # some gradients vanish but for rounding
    assert float((ours - plain).abs().max()) <= 1e-9 * scale, name


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize(("size", "samples"), [(SMALL, 33), (SMALL, 32), ({"channels": 2, "cells": 4, "nodes": 5}, 21)])
def test_the_product_equals_the_plain_implementation(size, samples, pruned):
    """Forward values, running statistics and every gradient; cells of both kinds, odd lengths, operations pruned."""
    net, plain = pair(pruned, **size)
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(4, 1, samples, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 3, 4])
    alpha = {kind: net.alpha[kind].detach().clone().requires_grad_() for kind in KINDS}
    alive = {kind: net.alive(kind) for kind in KINDS}
    ours, theirs = net(x), plain(x, alpha, alive, 0.7)
    close(ours, theirs, "logits")
    F.cross_entropy(ours, y).backward()
    F.cross_entropy(theirs, y).backward()
    for one, other in same(plain, net):
        close(other.double(), one.double(), "running statistics")
    with torch.no_grad():
        close(net.eval()(x), plain.eval()(x, alpha, alive, 0.7), "logits in eval mode")
    seen = 0
    for one, other in grads(plain, net):
        close(other, one, "gradient")
        seen += float(other.detach().abs().max()) > 1e-6
    assert seen > 50
    for kind in KINDS:
        close(net.alpha[kind].grad, alpha[kind].grad, kind)
        assert float(alpha[kind].grad.abs().max()) > 1e-6


def grads(plain, net):
    """Pairs (gradient of the reference, of the product), zero for pruned operations; the weights are overwritten."""
    for tensor in [*plain.parameters(), *net.parameters()]:
        if tensor.grad is None:
            tensor.grad = torch.zeros_like(tensor)
    for tensor in (*plain.parameters(), *net.parameters()):
        tensor.data.copy_(tensor.grad)
    yield from same(plain, net, buffers=False)


@pytest.mark.parametrize(("nodes", "parameters", "architecture"), [(7, 4_208_817, 700), (5, 2_440_069, 400)])
def test_parameters_are_the_published_ones(nodes, parameters, architecture):
    net = SuperNet(channels=16, cells=6, nodes=nodes)
    assert count_parameters(net) == parameters
    assert sum(p.numel() for p in net.arch_parameters()) == architecture


def test_weights_and_architecture_are_disjoint_and_complete():
    net = SuperNet(**SMALL)
    weights, architecture = ({id(p) for p in group} for group in (net.weight_parameters(), net.arch_parameters()))
    assert not weights & architecture
    assert weights | architecture == {id(p) for p in net.parameters()}
    assert architecture == {id(p) for p in net.alpha.values()}
    assert len(net.weight_parameters()) == len(weights)


def test_alpha_starts_small_and_follows_the_seed():
    torch.manual_seed(5)
    net = SuperNet(channels=2, cells=3, nodes=7)
    torch.manual_seed(5)
    again = SuperNet(channels=2, cells=3, nodes=7)
    for kind in KINDS:
        assert net.alpha[kind].shape == (35, 10)
        assert 0.8e-3 < float(net.alpha[kind].detach().std()) < 1.2e-3
        assert torch.equal(net.alpha[kind], again.alpha[kind])
    assert not torch.equal(net.alpha["normal"], net.alpha["reduce"])


def test_layout_of_the_full_network():
    net = SuperNet(channels=16, cells=6, nodes=7)
    assert net.stem[0].out_channels == 48
    assert [cell.kind for cell in net.cells] == ["normal", "normal", "reduce", "normal", "reduce", "normal"]
    assert [is_reduction(index, 6) for index in range(6)] == [cell.kind == "reduce" for cell in net.cells]
    assert net.classifier.in_features == 4 * 64


def convolutions(net):
    """How many convolutions and pools a forward pass runs, and channels its convolutions make, as PyTorch dispatches
    them."""

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function.name().split("::")[1].split(".")[0]
            counts[name] = counts.get(name, 0) + 1
            result = function(*args, **(kwargs or {}))
            if name == "convolution":
                counts["channels"] += result.shape[1]
            return result

    counts = {"channels": 0}
    with Count(), torch.no_grad():
        net(torch.randn(2, 1, 32))
    return counts


@pytest.mark.parametrize("training", [True, False])
def test_pruned_operations_are_not_computed(training):
    """Per source two convolutions of a separable operation, one of all that is linear on edges with a wide dilated
    convolution, one on the other edges, and a pool once; in channels, of those edges alone that have it."""
    size = SMALL | {"channels": 3}  # at 8 channels two samples may be one
    net = prune_some(SuperNet(**size)).train(training)
    counts, (conv, average, largest) = convolutions(net), (1 + 2 * len(net.cells), 0, 0)
    channels = net.stem[0].out_channels
    for cell in net.cells:
        alive, width = net.alive(cell.kind), cell.preprocess1[1].out_channels
        channels += 2 * width
        for source, rows in enumerate(cell.leaving):
            linear = [6, 7, 8, 9] + ([3] if cell.mixed[source].stride == 2 else [])
            far, some = alive[rows][:, 7], alive[rows][:, linear].any(1)
            conv += int(far.any()) + int((some & ~far).any()) + 2 * int(alive[rows][:, [4, 5]].any(0).sum())
            channels += width * int(some.sum() + 2 * alive[rows][:, [4, 5]].sum())
            average += int(alive[rows, 1].any())
            largest += int(alive[rows, 2].any())
    assert (counts["convolution"], counts["channels"]) == (conv, channels)
    maxima = counts["max_pool2d_with_indices"] + counts["maximum"] / 2  # at stride 1 twice the larger of two
    means = counts["avg_pool2d"] + counts["div_"] / 2  # at stride 1 sums, divided at the ends and in between
    assert (means, maxima) == (average, largest)
    whole = convolutions(SuperNet(**size).train(training))
    assert whole["channels"] > counts["channels"]


def test_a_pruned_operation_changes_nothing():
    """Whatever its weights: neither the output nor any gradient but its own, which stays zero."""
    net = prune_some(SuperNet(**SMALL).double())
    x = torch.randn(2, 1, 32, dtype=torch.float64)
    before = net(x)
    with torch.no_grad():
        for cell in net.cells:
            alive = net.alive(cell.kind)
            for source, rows in enumerate(cell.leaving):
                mixed = cell.mixed[source]
                for part in (*mixed.linear.items(), *mixed.first.items(), *mixed.second.items()):
                    gone = ~alive[rows, OPERATION_NAMES.index(part[0])]
                    for parameter in part[1].parameters():
                        parameter[gone] = 1e6
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)


@pytest.mark.parametrize("temperature", [1.5, 0.566])
def test_weights_of_pruned_operations_are_zero_and_the_others_sum_to_one(temperature):
    net = prune_some(SuperNet(**SMALL))
    net.temperature = temperature
    with torch.no_grad():
        net.alpha["normal"].normal_()
    for kind in KINDS:
        weights, alive = net.operation_weights(kind), net.alive(kind)
        assert not alive.all()
        assert (weights[~alive] == 0).all()
        assert (weights[alive] > 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(14))
        e = torch.exp(net.alpha[kind] / temperature) * alive
        torch.testing.assert_close(weights, e / e.sum(1, keepdim=True))


def test_none_counts_in_the_softmax_but_adds_nothing():
    torch.manual_seed(0)
    net = SuperNet(**SMALL).eval()
    x = torch.randn(2, 1, 32)
    with torch.no_grad():
        for kind in KINDS:
            net.alpha[kind][:, 0] = 50.0  # nearly all weight on `none`
        silent = net(x)
        net.alpha["normal"][:, 0] = net.alpha["reduce"][:, 0] = -50.0
        loud = net(x)
    torch.testing.assert_close(silent, net.classifier.bias.expand(2, 5), atol=1e-2, rtol=0)
    assert (loud - silent).abs().max() > 1e-2


def test_entropy_is_summed_over_survivors_and_stays_differentiable():
    net = prune_some(SuperNet(**SMALL))
    net.temperature = 0.5
    with torch.no_grad():
        net.alpha["normal"][0, :] = torch.linspace(-100, 100, 10)  # some weights underflow to 0
    plain = 0.0
    for kind in KINDS:
        for row, mask in zip(net.operation_weights(kind).detach().double(), net.alive(kind), strict=False):
            plain -= sum(float(w * w.log()) for w in row[mask] if w > 0)
    assert float(net.entropy().detach()) == pytest.approx(plain, rel=1e-5)
    net.entropy().backward()
    assert all(torch.isfinite(net.alpha[kind].grad).all() for kind in KINDS)
    assert all((net.alpha[kind].grad[~net.alive(kind)] == 0).all() for kind in KINDS)


def test_too_few_nodes_are_refused():
    with pytest.raises(ValueError, match="nodes=3"):
        SuperNet(channels=2, cells=3, nodes=3)
