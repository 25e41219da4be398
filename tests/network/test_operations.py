"""The candidate operations, each against a plain formula on arrays."""

import numpy as np
import pytest
import torch
from torch import nn

from sleepkit.genotype import OPERATION_NAMES
from sleepkit.network.convolution import convolve as convolve_over_time
from sleepkit.network.images import as_image
from sleepkit.network.operations import OPERATIONS, DepthwisePointwise, FactorizedReduce

CHANNELS = 4


def build(name, stride, inputs=CHANNELS):
    torch.manual_seed(0)
    operation = OPERATIONS[name](inputs, inputs, stride).double()
    for module in operation.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return operation


def signal(samples, channels=CHANNELS, batch=3):
    return torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def convolve(x, weight, stride=1, dilation=1, groups=1):
    """A convolution as loops over filters and taps; zeros beyond the ends, as many as keep the length at stride 1."""
    outputs, inputs, taps = weight.shape
    padding = dilation * (taps // 2)
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding)))
    samples = x.shape[2]
    y = np.zeros((x.shape[0], outputs, samples))
    for j in range(outputs):
        for i in range(inputs):
            channel = j if groups > 1 else i
            for k in range(taps):
                y[:, j] += weight[j, i, k] * padded[:, channel, k * dilation : k * dilation + samples]
    return y[:, :, ::stride]


def normalise(y, bn):
    mean, var = y.mean((0, 2), keepdims=True), y.var((0, 2), keepdims=True)
    weight, bias = (p.detach().numpy()[None, :, None] for p in (bn.weight, bn.bias))
    return (y - mean) / np.sqrt(var + 1e-5) * weight + bias


def plain(name, operation, x, stride):
    """Each operation as method section 1 words it, from the operation's own parameters in their order."""
    relu = np.maximum(x, 0)
    weights = [p.detach().numpy() for p in operation.parameters() if p.ndim == 3]
    bns = [module for module in operation.modules() if isinstance(module, nn.BatchNorm1d)]
    if name == "none":
        return np.zeros_like(x[:, :, ::stride])
    if "pool" in name:
        fill = np.nan if "avg" in name else -np.inf
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1)), constant_values=fill)
        windows = np.stack([padded[:, :, k : k + x.shape[2]] for k in range(3)])
        return (np.nanmean(windows, 0) if "avg" in name else windows.max(0))[:, :, ::stride]
    if name == "skip_connect" and stride == 1:
        return x
    if name == "skip_connect":
        even = relu if x.shape[2] % 2 == 0 else np.pad(relu, ((0, 0), (0, 0), (0, 1)))
        one, other = convolve(even[:, :, 0::2], weights[0]), convolve(even[:, :, 1::2], weights[1])
        return normalise(np.concatenate([one, other], 1), bns[0])
    if name.startswith("sep"):
        y = normalise(convolve(convolve(relu, weights[0], stride, groups=CHANNELS), weights[1]), bns[0])
        return normalise(convolve(convolve(np.maximum(y, 0), weights[2], groups=CHANNELS), weights[3]), bns[1])
    if name.startswith("dil"):
        return normalise(convolve(convolve(relu, weights[0], stride, 2, CHANNELS), weights[1]), bns[0])
    return normalise(convolve(relu, weights[0], stride), bns[0])


def test_the_operations_are_those_of_the_paper_in_its_order():
    assert tuple(OPERATIONS) == OPERATION_NAMES
    assert OPERATION_NAMES == tuple(
        "none avg_pool_3x3 max_pool_3x3 skip_connect sep_conv_1x3 sep_conv_1x5 "
        "dil_conv_1x3 dil_conv_1x5 conv_1x1 conv_3x3".split()
    )


@pytest.mark.parametrize("samples", [16, 17])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_operation_equals_its_formula(name, stride, samples):
    operation, x = build(name, stride), signal(samples)
    y = operation(x).detach().numpy()
    assert y.shape == (3, CHANNELS, -(-samples // stride))
    np.testing.assert_allclose(y, plain(name, operation, x.numpy(), stride), atol=1e-10)


@pytest.mark.parametrize("name", ["sep_conv_1x3", "sep_conv_1x5", "dil_conv_1x3", "dil_conv_1x5"])
def test_kernel_lengths_follow_the_name(name):
    taps = [p.shape[2] for p in build(name, 1).parameters() if p.ndim == 3 and p.shape[1] == 1]
    assert set(taps) == {int(name[-1])}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", ["sep_conv_1x3", "sep_conv_1x5", "dil_conv_1x3", "dil_conv_1x5"])
def test_training_on_the_dense_kernel_equals_the_pair(name, stride):
    """One dense convolution in training stands for the pair: same values, gradients, running statistics."""
    fast, slow = build(name, stride), build(name, stride)
    for module in slow.modules():
        if isinstance(module, DepthwisePointwise):
            module.pair = True
    x = signal(17)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [operation(i) for operation, i in zip((fast, slow), inputs, strict=False)]
    target = torch.randn(outputs[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for output in outputs:
        (output * target).sum().backward()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=0, atol=1e-11)
    for (key, one), other in zip(fast.named_parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-10, msg=key)
    for one, other in zip(fast.buffers(), slow.buffers(), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("channels", "pair"), [(8, False), (16, False), (32, True)])
def test_wide_convolutions_stay_a_pair(channels, pair):
    """Which of the two runs depends on the width alone, and is a matter of speed alone."""
    torch.manual_seed(0)
    module = DepthwisePointwise(channels, channels, 5).double()
    x = as_image(signal(20, channels))
    assert module.pair == pair
    first, module.pair = module(x), not module.pair
    torch.testing.assert_close(first, module(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATION_NAMES[1:])
def test_an_operation_says_which_channels_its_layers_make_and_read(name, stride):
    """Producers make every channel of the output once; depthwise readers read every channel; so inside."""
    operation = OPERATIONS[name](6, 4, stride, 3)
    layers = dict(operation.named_modules())
    made = np.zeros(4, int)
    for layer, first in operation.producers:
        made[first : first + layers[layer].out_channels] += 1
    assert made.tolist() == [0 if operation.keeps_channels else 1] * 4
    assert all(layers[layer].groups == 6 and first == 0 for layer, first in operation.readers)
    inside = [*operation.inner_producers, *operation.inner_readers]
    assert all(layers[layer].out_channels == operation.inner_width == 3 and first == 0 for layer, first in inside)
    convs = {layer for layer, module in layers.items() if isinstance(module, nn.Conv1d)}
    assert convs == {layer for layer, _ in (*operation.producers, *operation.readers, *inside)}


@pytest.mark.parametrize(("first", "second"), [(3, 0), (0, 3), (1, 2)])
def test_factorized_reduction_with_a_pruned_half(first, second):
    reduce = FactorizedReduce(2, first + second, first)
    assert reduce(torch.randn(2, 2, 9)).shape == (2, 3, 5)
    assert sum(isinstance(module, nn.Conv1d) for module in reduce.modules()) == (first > 0) + (second > 0)


@pytest.mark.parametrize("channels", [2, 8, 12])
@pytest.mark.parametrize(("taps", "stride"), [(1, 1), (1, 2), (2, 2), (3, 2), (5, 1)])
def test_an_image_gives_the_gradients_of_a_sequence(channels, taps, stride):
    """In float32, at 3000 samples: where PyTorch's 1x1 convolution of stride 2 writes a wrong gradient."""
    torch.manual_seed(0)
    x, weight = torch.randn(32, channels, 3000), torch.randn(4, channels, taps, requires_grad=True)
    settings = {"stride": stride, "padding": taps // 2 if taps % 2 else 0}
    outputs = [convolve_over_time(given, weight, **settings) for given in (x, as_image(x))]
    factors = torch.randn(outputs[0].shape)
    gradients = [
        torch.autograd.grad(output, weight, factors.reshape(output.shape), retain_graph=True)[0] for output in outputs
    ]
    torch.testing.assert_close(outputs[1].squeeze(2), outputs[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=0.05)
