"""BatchNorm of an image that is read many samples at a time, against PyTorch's own."""

import copy

import pytest
import torch

from sleepkit.network import batch_norm
from sleepkit.network.batch_norm import BatchNorm
from sleepkit.network.images import as_image

SIZES = [(6, 8, 48), (5, 4, 32), (3, 1, 10), (2, 8, 7), (3, 5, 33), (64, 3, 25), (4, 16, 8)]  # batch, channels, samples


def norm(channels, seed=0):
    """A BatchNorm as after some training, in float64."""
    torch.manual_seed(seed)
    bn = BatchNorm(channels).double()
    for values in (bn.weight, bn.bias, bn.running_mean):
        torch.nn.init.normal_(values)
    torch.nn.init.uniform_(bn.running_var, 0.5, 2)
    return bn


def steps(bn, x, count=2):
    """Output, gradients and state after some steps in training, and the output in evaluation."""
    bn, x = copy.deepcopy(bn), x.clone().requires_grad_()
    for _ in range(count):
        y = bn(x)
        (y * torch.sin(torch.arange(y.numel(), dtype=torch.float64)).view_as(y)).sum().backward()
    return [y, x.grad, bn.weight.grad, bn.bias.grad, *bn.state_dict().values(), bn.eval()(x)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("offset", [0, 1e4])
def test_wide_equals_plain(size, offset, monkeypatch):
    """Values, gradients, running statistics and the count of batches; a large mean costs no digits of the variance."""
    x = as_image(torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3 + offset)
    bn = norm(size[1])
    calls = []
    monkeypatch.setattr(batch_norm, "_rows", lambda *args, rows=batch_norm._rows: calls.append(args) or rows(*args))
    wide = steps(bn, x)
    expected = size[1] <= batch_norm.NARROW and size[0] * size[2] % 2 == 0
    assert bool(calls) == expected, "which of the two ways was taken"
    monkeypatch.setattr(batch_norm, "NARROW", 0)
    for ours, theirs in zip(wide, steps(bn, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 + 1e-13 * offset)


def test_gradient_equals_finite_differences():
    x = as_image(torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    bn = norm(3)
    assert torch.autograd.gradcheck(lambda x: bn(x), x.requires_grad_(), fast_mode=False)


def test_sequences_and_images_agree():
    x = torch.randn(4, 8, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    one, other = norm(8), norm(8)
    torch.testing.assert_close(one(x), other(as_image(x)).squeeze(2))


def test_an_output_may_be_rectified_in_place():
    """The network rectifies the middle of a separable convolution where it lies."""
    x = as_image(torch.randn(4, 8, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64))
    gradients = []
    for rectify in (torch.relu_, torch.relu):
        leaf = x.clone().requires_grad_()
        rectify(norm(8)(leaf)).square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected \(batch, channels, samples\)"):
        norm(3)(torch.zeros(2, 3, 1, 1, 5, dtype=torch.float64))
