"""Signals as images: how they and their gradients lie in memory, and that this changes no value."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sleepkit.network.images import as_image, concatenate, every, mean_over_time, side_by_side, split, weighted_sums
from sleepkit.network.pooling import average_pool
from sleepkit.network.sleepnet import SleepNet
from sleepkit.paper.published import published_genotype
from sleepkit.search.supernet import SuperNet

SLOW_ELSEWHERE = "convolution_backward", "native_batch_norm_backward", "threshold_backward"


CHOSEN = [[True, False], [False, False], [True, True]]
WEIGHTS = torch.tensor([[3.0, 7.0], [7.0, 7.0], [-1.0, 5.0]], dtype=torch.float64)


def signal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: every(2, x), lambda x: x[..., ::2]),
        (lambda x: mean_over_time(x, torch.float64), lambda x: x.mean((2, 3))),
        (average_pool, lambda x: F.avg_pool2d(x, (1, 3), 1, (0, 1), count_include_pad=False)),
        (lambda x: torch.mul(*split(x, 2)), lambda x: x[:, :2] * x[:, 2:]),
        (lambda x: concatenate([x, 2 * x]), lambda x: torch.cat([x, 2 * x], 1)),
        (lambda x: sum(weighted_sums(WEIGHTS, CHOSEN, [x, x.sin()])), lambda x: 2 * x + 5 * x.sin()),
    ],
)
def test_values_and_gradients_are_pytorchs(ours, theirs):
    for samples in (6, 7):
        x, found = as_image(signal(3, 4, samples)).requires_grad_(), []
        for function in (ours, theirs):
            output = function(x)
            found.append((output, *torch.autograd.grad(output.sin().sum(), x)))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
        assert all(side_by_side(one) is one for one in found[0] if one.dim() == 4)


def test_gradients_of_weights_of_sums():
    one, two = as_image(signal(2, 3, 5)), as_image(signal(2, 3, 5) + 1)
    ours, theirs = WEIGHTS.clone().requires_grad_(), WEIGHTS.clone().requires_grad_()
    sums = weighted_sums(ours, CHOSEN, [one, two]), [theirs[0, 0] * one, theirs[2, 0] * one + theirs[2, 1] * two]
    found, expected = (
        torch.autograd.grad(some[0].sin().sum() + some[-1].cos().sum(), weights)[0]
        for some, weights in zip(sums, (ours, theirs), strict=True)
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_an_empty_batch_has_no_logits():
    net = SleepNet(published_genotype("edf20"), 8, 3).eval()
    assert net(torch.zeros(0, 1, 500)).shape == (0, 5)


@pytest.mark.parametrize("kind", ["network", "search"])
def test_gradients_lie_side_by_side(kind):
    """What takes two to ten times as long otherwise is handed images whose channels lie side by side."""
    elsewhere, seen = [], []

    class Look(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function.name().split("::")[1]
            # Max pooling hands over slices that are a sample shorter, which cannot lie so.
            images = [one for one in args[:2] if isinstance(one, torch.Tensor) and one.dim() == 4]
            if name in SLOW_ELSEWHERE and all(one.shape[3] in (96, 48, 24) for one in images):
                seen.append(name)
                elsewhere.extend((name, one.shape, one.stride()) for one in images if side_by_side(one) is not one)
            return function(*args, **(kwargs or {}))

    torch.manual_seed(0)
    net = SleepNet(published_genotype("edf20"), 8, 5) if kind == "network" else SuperNet(channels=8, cells=3, nodes=4)
    with Look():
        net(torch.randn(4, 1, 96)).square().sum().backward()
    assert {*SLOW_ELSEWHERE} == {*seen}
    assert not elsewhere
