"""The candidate operations of a cell's edges, in one dimension: (batch, channels, samples) -> (batch, channels,
samples / stride)."""

import torch
from torch import nn
from torch.nn import functional as F


class Zero(nn.Module):
    """`none`: no connection. Ceil division keeps the length equal to that of a padded convolution."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return torch.zeros_like(x[..., :: self.stride])


class FactorizedReduce(nn.Module):
    """Halve the length without losing every other sample: two 1x1 convolutions of stride 2, one on x shifted by a
    sample.

    (batch, inputs, samples) -> (batch, first + second, ceil(samples / 2)); an odd length is padded right with one zero.
    Filter pruning may leave one of the two convolutions without channels: it is then left out.
    """

    def __init__(self, inputs, first, second):
        super().__init__()
        self.conv_1 = nn.Conv1d(inputs, first, 1, stride=2, bias=False) if first else None
        self.conv_2 = nn.Conv1d(inputs, second, 1, stride=2, bias=False) if second else None
        self.bn = nn.BatchNorm1d(first + second)

    def forward(self, x):
        x = F.relu(F.pad(x, (0, x.shape[-1] % 2)))
        halves = [conv(x[..., shift:]) for shift, conv in enumerate((self.conv_1, self.conv_2)) if conv is not None]
        return self.bn(torch.cat(halves, dim=1))


def relu_conv_bn(inputs, outputs, kernel=1, stride=1):
    """ReLU, convolution, BatchNorm."""
    conv = nn.Conv1d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm1d(outputs))


class DepthwisePointwise(nn.Module):
    """ReLU, depthwise convolution, pointwise convolution, BatchNorm.

    Nothing non-linear stands between the two convolutions, so in training the pair runs as the one dense convolution
    that it equals: at a few channels a CPU takes about 0.6 of the time. Inference keeps the pair, which has fewer
    multiplications.
    """

    def __init__(self, inputs, outputs, kernel, stride=1, dilation=1):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.depthwise = nn.Conv1d(inputs, inputs, kernel, stride, padding, dilation, groups=inputs, bias=False)
        self.pointwise = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x):
        x = F.relu(x)
        if not self.training:
            return self.bn(self.pointwise(self.depthwise(x)))
        kernel = self.pointwise.weight * self.depthwise.weight.transpose(0, 1)
        return self.bn(
            F.conv1d(x, kernel, None, self.depthwise.stride, self.depthwise.padding, self.depthwise.dilation)
        )


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
        return nn.Sequential(first, DepthwisePointwise(inner, outputs or inputs, kernel))

    return build


def _dilated(kernel):
    return lambda inputs, stride, outputs=None, inner=None: DepthwisePointwise(
        inputs, outputs or inputs, kernel, stride, dilation=2
    )


def _conv(kernel):
    return lambda inputs, stride, outputs=None, inner=None: relu_conv_bn(inputs, outputs or inputs, kernel, stride)


# Name -> constructor: the search space of the paper (method section 1), in the order of the columns of alpha.
PRIMITIVES = {
    "none": _pool(Zero),
    "avg_pool_3x3": _pool(lambda stride: nn.AvgPool1d(3, stride, padding=1, count_include_pad=False)),
    "max_pool_3x3": _pool(lambda stride: nn.MaxPool1d(3, stride, padding=1)),
    "skip_connect": _skip,
    "sep_conv_1x3": _separable(3),
    "sep_conv_1x5": _separable(5),
    "dil_conv_1x3": _dilated(3),
    "dil_conv_1x5": _dilated(5),
    "conv_1x1": _conv(1),
    "conv_3x3": _conv(3),
}
