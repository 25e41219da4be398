"""The candidate operations of a cell's edges, in one dimension: (batch, channels, samples) -> (batch, channels,
samples / stride)."""

import torch
from torch import nn
from torch.nn import functional as F

from sleepkit.network.batch_norm import BatchNorm


class Conv(nn.Conv1d):
    """A convolution over time, of (batch, channels, samples) or of the same as an image one sample high."""

    def forward(self, x):
        return convolve(x, self.weight, None, self.stride[0], self.padding[0], self.dilation[0], self.groups)


class Pool(nn.Module):
    """Mean or maximum of three neighbouring samples; what lies beyond the ends does not count."""

    def __init__(self, largest, stride):
        super().__init__()
        self.largest, self.stride = largest, stride

    def forward(self, x):
        image = x if x.dim() == 4 else x.unsqueeze(2)
        shape = (1, 3), (1, self.stride), (0, 1)
        image = F.max_pool2d(image, *shape) if self.largest else F.avg_pool2d(image, *shape, count_include_pad=False)
        return image if x.dim() == 4 else image.squeeze(2)


def as_image(x):
    """(batch, channels, samples) -> (batch, channels, 1, samples), the channels of a sample side by side in memory.

    PyTorch's convolutions over images of that layout take a third of the time of those over sequences (8 channels, one
    core); the networks run in it from end to end.
    """
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def convolve(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """A convolution over time: (batch, inputs, samples) or (batch, inputs, 1, samples); weight (outputs, inputs, taps)."""
    if x.dim() == 3:
        return F.conv1d(x, weight, bias, stride, padding, dilation, groups)
    if weight.shape[-1] == 1 and stride > 1:
        # PyTorch 2.13 on a CPU (seen 2026-11-22): the weights' gradient of just this convolution of an image, with few
        # channels and 3000 samples, is wrong and written beyond its end. What it skips can be left out before.
        x, stride = x[..., ::stride], 1
    weight = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, weight, bias, (1, stride), (0, padding), (1, dilation), groups)


class Zero(nn.Module):
    """`none`: no connection. Ceil division keeps the length equal to that of a padded convolution."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return torch.zeros_like(x[..., :: self.stride])


class Rectifying(nn.Module):
    """An operation that begins with a ReLU; `after_relu` is the rest of it.

    Where several read one signal it is rectified once and handed to the rest of each, which must leave it as it is.
    """

    def forward(self, x):
        return self.after_relu(F.relu(x))


class FactorizedReduce(Rectifying):
    """Halve the length without losing every other sample: two 1x1 convolutions of stride 2, one on x shifted by a
    sample.

    (batch, inputs, samples) -> (batch, first + second, ceil(samples / 2)); an odd length is padded right with one zero.
    Filter pruning may leave one of the two convolutions without channels: it is then left out.
    """

    def __init__(self, inputs, first, second):
        super().__init__()
        self.conv_1 = Conv(inputs, first, 1, stride=2, bias=False) if first else None
        self.conv_2 = Conv(inputs, second, 1, stride=2, bias=False) if second else None
        self.bn = BatchNorm(first + second)

    def after_relu(self, x):
        x = F.pad(x, (0, x.shape[-1] % 2))
        # Side by side the two are one convolution with two taps.
        convs = ((self.conv_1, (0, 1)), (self.conv_2, (1, 0)))
        weight = torch.cat([F.pad(conv.weight, zeros) for conv, zeros in convs if conv is not None])
        return self.bn(convolve(x, weight, stride=2))


class ReluConvBn(Rectifying, nn.Sequential):
    """ReLU, convolution, BatchNorm."""

    def __init__(self, inputs, outputs, kernel=1, stride=1):
        conv = Conv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
        # The ReLU holds place 0: by places 1 and 2 saved networks, pruning and the ONNX graph know the others.
        super().__init__(nn.ReLU(), conv, BatchNorm(outputs))

    def after_relu(self, x):
        return self[2](self[1](x))


class DepthwisePointwise(Rectifying):
    """ReLU, depthwise convolution, pointwise convolution, BatchNorm.

    Nothing non-linear stands between the two convolutions, so the pair can run as the one dense convolution that it
    equals: more multiplications, but of few channels a CPU takes half of the time. `pair` says whether it stays two.
    """

    def __init__(self, inputs, outputs, kernel, stride=1, dilation=1):
        super().__init__()
        # One core, training, pair against dense: 2.7 times the time at 8 channels, 1.2 at 16, 0.43 at 32.
        self.pair = inputs >= 32
        padding = dilation * (kernel // 2)
        self.depthwise = Conv(inputs, inputs, kernel, stride, padding, dilation, groups=inputs, bias=False)
        self.pointwise = Conv(inputs, outputs, 1, bias=False)
        self.bn = BatchNorm(outputs)

    def after_relu(self, x):
        if self.pair:
            return self.bn(self.pointwise(self.depthwise(x)))
        weight = self.pointwise.weight * self.depthwise.weight.transpose(0, 1)
        conv = self.depthwise
        return self.bn(convolve(x, weight, None, conv.stride[0], conv.padding[0], conv.dilation[0]))


class Separable(Rectifying, nn.Sequential):
    """Twice a depthwise and a pointwise convolution; the second pair reads a signal that nobody else does."""

    def after_relu(self, x):
        return self[1].after_relu(F.relu_(self[0].after_relu(x)))


# Every constructor takes (inputs, stride, outputs, inner). In a network of full width `outputs` equals `inputs`;
# filter pruning makes them differ. `inner` is the width inside an operation: the channels between the two rounds of a
# separable convolution, or those that the first convolution of a factorized reduction makes. Widths left out are the
# full ones.


def _pool(pool):
    return lambda inputs, stride, outputs=None, inner=None: pool(stride)


def _skip(inputs, stride, outputs=None, inner=None):
    outputs = inputs if outputs is None else outputs
    first = outputs // 2 if inner is None else inner
    return nn.Identity() if stride == 1 else FactorizedReduce(inputs, first, outputs - first)


def _separable(kernel):
    def build(inputs, stride, outputs=None, inner=None):
        inner = inputs if inner is None else inner
        first = DepthwisePointwise(inputs, inner, kernel, stride)
        return Separable(first, DepthwisePointwise(inner, outputs or inputs, kernel))

    return build


def _dilated(kernel):
    return lambda inputs, stride, outputs=None, inner=None: DepthwisePointwise(
        inputs, outputs or inputs, kernel, stride, dilation=2
    )


def _conv(kernel):
    return lambda inputs, stride, outputs=None, inner=None: ReluConvBn(inputs, outputs or inputs, kernel, stride)


# Name -> constructor: the search space of the paper (method section 1), in the order of the columns of alpha.
PRIMITIVES = {
    "none": _pool(Zero),
    "avg_pool_3x3": _pool(lambda stride: Pool(False, stride)),
    "max_pool_3x3": _pool(lambda stride: Pool(True, stride)),
    "skip_connect": _skip,
    "sep_conv_1x3": _separable(3),
    "sep_conv_1x5": _separable(5),
    "dil_conv_1x3": _dilated(3),
    "dil_conv_1x5": _dilated(5),
    "conv_1x1": _conv(1),
    "conv_3x3": _conv(3),
}
