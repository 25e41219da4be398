"""bfloat16 against float64, ways of computing that are for speed alone against PyTorch's own, and who asks for what."""

import pytest
import torch
from torch.nn import functional as F

from sleepkit.evaluation.training import TrainSettings, train_epoch
from sleepkit.execution import precision
from sleepkit.execution.record import told
from sleepkit.genotype import OPERATION_NAMES
from sleepkit.network import convolution
from sleepkit.network.images import as_image
from sleepkit.network.operations import OPERATIONS
from sleepkit.network.pooling import average_pool, max_pool
from sleepkit.network.sleepnet import SleepNet
from sleepkit.paper.published import published_genotype
from sleepkit.search.settings import SearchSettings
from sleepkit.search.supernet import SuperNet

# Of the norm. A bfloat16 has 8 bits: a value is off by up to 0.4 %, and an operation rounds up to six times.
OF_AN_OPERATION = 0.02
OF_A_NETWORK = 0.3  # the gradient of all weights; maxima and ReLUs that flip add to the rounding of 20 layers
OF_A_SEARCH = 0.15  # measured 0.04 for the weights and 0.06 for alpha on EEG


def signal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def image(channels, samples, batch=4):
    return as_image(signal(batch, channels, samples)).requires_grad_()


def apart(ours, theirs):
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return float((ours - theirs).norm() / theirs.norm())


def results(function, *inputs):
    """Output, and its gradients by the inputs from a fixed gradient."""
    output = function(*inputs)
    weights = torch.cos(torch.arange(output.numel(), dtype=torch.float64)).view(output.shape).to(output.dtype)
    return [output, *torch.autograd.grad(output, inputs, weights)]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [8, 32])
@pytest.mark.parametrize("name", OPERATION_NAMES[1:])
def test_an_operation_in_bfloat16(name, channels, stride):
    torch.manual_seed(0)
    operation = OPERATIONS[name](channels, channels, stride)
    x = as_image(signal(4, channels, 64)).bfloat16()
    parameters, found = list(operation.parameters()), []
    for dtype in (torch.bfloat16, torch.float64):
        source = x.to(dtype).requires_grad_()
        output = operation.to(torch.promote_types(dtype, torch.float32))(source)
        weights = torch.cos(torch.arange(output.numel())).bfloat16().view(output.shape)  # the same in both
        found.append([output, *torch.autograd.grad((output * weights).sum(), [source, *parameters])])
    assert found[0][0].dtype == torch.bfloat16
    assert {gradient.dtype for gradient in found[0][2:]} <= {torch.float32}
    # Where a ReLU in the middle flips by rounding, a gradient is 0 or not.
    allowed = OF_AN_OPERATION * (10 if name.startswith("sep") else 1)
    assert max(map(apart, *found)) < allowed


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("samples", [1, 2, 3, 20])
def test_maxima_equal_pytorchs(samples, stride):
    """To the last bit, gradients too; of equal values the first gets the gradient."""
    x = image(3, samples).detach().mul(2).round().requires_grad_()  # many are equal
    theirs = results(lambda x: F.max_pool2d(x, (1, 3), (1, stride), (0, 1)), x)
    for one, other in zip(results(lambda x: max_pool(x, stride), x), theirs, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("samples", [1, 2, 3, 20])
def test_means_equal_pytorchs(samples, stride):
    """To the last bit in float32, which the packaged networks compute in; gradients but for their order of adding."""
    x = image(3, samples)
    padding = {"padding": (0, 1), "count_include_pad": False}
    ours, theirs = (lambda x: average_pool(x, stride)), (lambda x: F.avg_pool2d(x, (1, 3), (1, stride), **padding))
    assert torch.equal(ours(x.float()), theirs(x.float()))
    for one, other in zip(results(ours, x), results(theirs, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("channels", "taps", "dilation"), [(32, 5, 1), (48, 5, 2), (20, 3, 2)])
def test_depthwise_equals_pytorchs(channels, taps, dilation):
    x, weight, padding = image(channels, 24), signal(channels, 1, 1, taps).requires_grad_(), dilation * (taps // 2)
    ours = results(lambda *inputs: convolution._Depthwise.apply(*inputs, padding, dilation), x, weight)
    geometry = 1, (0, padding), (1, dilation), channels
    for one, other in zip(ours, results(lambda *i: F.conv2d(*i, None, *geometry), x, weight), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("samples", [2, 4, 30])
@pytest.mark.parametrize("outputs", [3, 8])
def test_a_narrow_convolution_in_pairs_equals_pytorchs(outputs, samples, monkeypatch):
    x, weight, calls = image(8, samples), signal(outputs, 8, 5).requires_grad_(), []
    pairs = convolution._in_pairs
    monkeypatch.setattr(convolution, "_in_pairs", lambda *inputs: calls.append(inputs) or pairs(*inputs))
    ours = results(lambda *inputs: convolution.convolve(*inputs, padding=2), x, weight)
    theirs = results(lambda x, weight: F.conv1d(x.squeeze(2), weight, padding=2).unsqueeze(2), x, weight)
    assert calls
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def network(dtype):
    torch.manual_seed(0)
    net = SleepNet(published_genotype("edf20"), 8, 3).to(dtype)
    net.dropout.p = 0.0
    return net


def test_gradients_of_a_network_in_bfloat16():
    x, y, found = signal(32, 1, 100), torch.arange(32) % 5, []
    for dtype, activations in ((torch.float32, torch.bfloat16), (torch.float64, None)):
        net = network(dtype)
        loss = F.cross_entropy(net(x.to(dtype), activations), y)
        loss.backward()
        found.append((loss.detach(), torch.cat([one.grad.flatten() for one in net.parameters()])))
        assert {one.dtype for one in (*net.parameters(), *net.buffers())} == {dtype, torch.int64}
    (ours, gradient), (theirs, expected) = found
    assert apart(ours, theirs) < 0.01
    assert apart(gradient, expected) < OF_A_NETWORK


def test_gradients_of_a_search_in_bfloat16():
    x, y, found = signal(16, 1, 96), torch.arange(16) % 5, []
    for dtype, activations in ((torch.float32, torch.bfloat16), (torch.float64, None)):
        torch.manual_seed(0)
        net = SuperNet(channels=8, cells=3, nodes=4).to(dtype)
        F.cross_entropy(net(x.to(dtype), activations), y).backward()
        groups = net.weight_parameters(), net.arch_parameters()
        found.append([torch.cat([one.grad.flatten() for one in group]) for group in groups])
        found[-1].append(torch.cat([one.flatten() for name, one in net.named_buffers() if "running_var" in name]))
    weights, alpha, variances = map(apart, *found)
    assert max(weights, alpha) < OF_A_SEARCH
    assert variances < 0.01


def test_training_in_bfloat16_lowers_the_loss_and_learns_in_float32():
    settings = TrainSettings(lr=0.01, batch=32, precision="bfloat16")
    net, y = network(torch.float32), torch.arange(64) % 5
    x = signal(64, 100).float() + y[:, None]
    optimiser = torch.optim.Adam(net.parameters(), settings.lr)
    losses = [train_epoch(net, optimiser, x, y, settings, epoch) for epoch in range(3)]
    assert losses[2] < 0.8 * losses[0]
    state = [value for values in optimiser.state.values() for name, value in values.items() if name != "step"]
    assert {one.dtype for one in (*net.parameters(), *state)} == {torch.float32}
    assert {one.dtype for one in net.buffers() if one.ndim} == {torch.float32}


@pytest.mark.parametrize("kind", [TrainSettings, SearchSettings])
def test_settings_tell_a_precision_that_is_not_the_default(kind):
    assert "precision" not in told(kind())
    assert told(kind(precision="bfloat16")) == told(kind()) | {"precision": "bfloat16"}
    with pytest.raises(ValueError, match="precision='half': expected one of float32, bfloat16, auto"):
        kind(precision="half")


@pytest.mark.parametrize(
    ("flags", "gpu", "expected"),
    [
        ({"avx512_bf16": True}, None, "bfloat16"),
        ({"amx_bf16": True}, None, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": False}, None, "float32"),
        ({}, None, "float32"),
        ({}, True, "bfloat16"),
        ({"avx512_bf16": True}, False, "float32"),
    ],
)
def test_auto_takes_what_is_multiplied_natively(flags, gpu, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu)
    assert precision.choose("auto") == expected == TrainSettings(precision="auto").precision
    assert SearchSettings(precision="auto").precision == expected
