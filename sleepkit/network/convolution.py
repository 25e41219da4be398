"""Convolutions over time of images one sample high, in the way that a processor computes them fastest."""

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from sleepkit.network.images import every, side_by_side

LANES = 16  # channels that one of the processor's vectors holds
HALF = LANES // 2  # channels that fill half of it


def convolve(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """A convolution over time of (batch, inputs, samples) or of such images, in their type; weight (outputs, inputs,
    taps)."""
    weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    if x.dim() == 3:
        return F.conv1d(x, weight, bias, stride, padding, dilation, groups)
    if weight.shape[-1] == 1 and stride > 1:
        # PyTorch 2.13 on a CPU: the weights' gradient of this convolution of an image, with few channels and 3000
        # samples, is wrong and written beyond its end. What it skips can be left out before.
        x, stride = every(stride, x), 1
    depthwise = 1 < groups == x.shape[1] and (weight.shape[-1], stride, dilation) != (3, 1, 1)
    if depthwise and x.device.type == "cpu":
        return every(stride, _Depthwise.apply(x, weight.unsqueeze(2), padding, dilation))
    narrow = (*weight.shape[1:], stride, padding, dilation, groups, bias) == (HALF, 5, 1, 2, 1, 1, None)
    if narrow and x.shape[3] % 2 == 0 and x.device.type == "cpu":
        return _in_pairs(x, weight)
    weight = side_by_side(weight.unsqueeze(2))
    # From one input channel PyTorch makes the other layout, a channel after the other.
    return side_by_side(F.conv2d(x, weight, bias, (1, stride), (0, padding), (1, dilation), groups))


def _in_pairs(x, weight):
    """(batch, 8, 1, samples), weight (outputs, 8, 5) -> (batch, outputs, 1, samples), as a convolution of 16 channels
    and 3 taps: two neighbouring samples are one, which fills a vector. One core: 0.9 of the time, backwards half."""
    # The kernel of the second of a pair is that of the first, one sample later: (pair, outputs, inputs, 6 samples).
    weight = torch.stack([F.pad(weight, (0, 1)), F.pad(weight, (1, 0))])
    weight = weight.view(*weight.shape[:3], 3, 2).permute(0, 1, 4, 2, 3).reshape(-1, 2 * HALF, 1, 3)
    y = F.conv2d(_as(x, 2 * HALF), side_by_side(weight), padding=(0, 1))
    return _as(y, y.shape[1] // 2)


def _as(image, channels):
    """The same numbers in the same order in memory, read as an image of so many channels: with twice as many, two
    neighbouring samples are one."""
    samples = image.shape[1] * image.shape[3] // channels
    return image.permute(0, 2, 3, 1).reshape(len(image), 1, samples, channels).permute(0, 3, 1, 2)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose gradients come from routines that are fast: of x from a depthwise convolution, of
    the weight from dense ones of a vector's channels. PyTorch 2.13's own take as long at 5 taps and 1.6 to 20 times as
    long at a stride or a dilation of 2, in bfloat16 3 to 50 times, but for 3 taps side by side."""

    @staticmethod
    def forward(ctx, x, weight, padding, dilation):
        ctx.save_for_backward(x, weight)
        ctx.geometry = 1, (0, padding), (1, dilation)
        return F.conv2d(x, weight, None, *ctx.geometry, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (x, weight), (_, (_, padding), dilation) = ctx.saved_tensors, ctx.geometry
        (channels, *_, taps), gradient = weight.shape, side_by_side(gradient)
        padding = 0, dilation[1] * (taps - 1) - padding
        of_x = F.conv2d(gradient, weight.flip(3), None, 1, padding, dilation, channels)
        groups = channels // LANES if channels % LANES == 0 else 1
        dense = conv2d_weight(x, (channels, channels // groups, 1, taps), gradient, *ctx.geometry, groups)
        of_weight = dense.view(groups, channels // groups, channels // groups, taps).diagonal(dim1=1, dim2=2)
        return of_x, of_weight.transpose(1, 2).reshape(weight.shape), None, None
