"""The candidate operations of a cell's edges: (batch, channels, samples) -> (batch, channels, samples / stride), or the
same as images one sample high."""

import torch
from torch import nn
from torch.nn import functional as F

from sleepkit.network.batch_norm import BatchNorm
from sleepkit.network.convolution import convolve
from sleepkit.network.pooling import average_pool, max_pool


class Conv(nn.Conv1d):
    """A convolution over time, of (batch, channels, samples) or of the same as an image one sample high."""

    @property
    def geometry(self):
        """Stride, zeros on either side (or before and behind), dilation."""
        return self.stride[0], self.padding[0], self.dilation[0]

    def forward(self, x):
        return convolve(x, self.weight, None, *self.geometry, self.groups)


class Operation(nn.Module):
    """What an edge does, and what filter pruning must know of its channels; here of an operation without weights."""

    keeps_channels = True  # whether channel j of the output is channel j of the input
    inner_width = None  # channels inside the operation that have a width of their own
    producers = inner_producers = ()  # (conv layer, first): filter j makes channel first + j of the output, or inside
    readers = inner_readers = ()  # (depthwise conv layer, 0): filter j reads channel j of the input, or inside
    pairs = ()  # the DepthwisePointwise that it consists of

    def inner_left(self, outputs, inner):
        """Inner width once only the channels `outputs` of the output and `inner` inside are left (positions)."""
        return None if inner is None else len(inner)

    def copy_from(self, full, inputs, outputs, inner):
        """Take over the weights of `full`, the same operation with more channels, at the given positions."""


class Identity(Operation):
    """`skip_connect` of stride 1."""

    kind = "Identity"  # the name of the operation in ONNX

    def forward(self, x):
        return x


class Pool(Operation):
    """Mean or maximum of three neighbouring samples; what lies beyond the ends does not count."""

    def __init__(self, largest, stride):
        super().__init__()
        self.kind, self.stride = "MaxPool" if largest else "AveragePool", stride

    def forward(self, x):
        if x.dim() == 3:
            return self.forward(x.unsqueeze(2)).squeeze(2)
        if self.kind == "MaxPool":
            return max_pool(x, self.stride)
        return average_pool(x, self.stride)


class Zero(Operation):
    """`none`: no connection. Its length is rounded up, as that of a padded convolution."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return torch.zeros_like(x[..., :: self.stride])


class Rectifying(Operation):
    """An operation that begins with a ReLU; `after_relu` is the rest: its `pairs`, or else a `fused` convolution.

    A signal that several read is rectified once and handed to the rest of each, which must leave it as it is.
    """

    keeps_channels = False

    def forward(self, x):
        return self.after_relu(F.relu(x))


class FactorizedReduce(Rectifying):
    """Half the length without losing every other sample: two 1x1 convolutions of stride 2, one on x shifted by one.

    An odd length is padded right with one zero.
    inner : channels that the first of the two makes, None is half of them; one without channels is left out
    """

    def __init__(self, inputs, outputs, inner=None):
        super().__init__()
        first = self.inner_width = outputs // 2 if inner is None else inner
        self.conv_1 = Conv(inputs, first, 1, stride=2, bias=False) if first else None
        self.conv_2 = Conv(inputs, outputs - first, 1, stride=2, bias=False) if outputs > first else None
        self.bn = BatchNorm(outputs)
        self.producers = (("conv_1", 0),) * bool(first) + (("conv_2", first),) * (outputs > first)

    def fused(self):
        """Weight (outputs, inputs, 2) of the one convolution that the two are, its BatchNorm and geometry."""
        convs = ((self.conv_1, (0, 1)), (self.conv_2, (1, 0)))
        weight = torch.cat([F.pad(conv.weight, zeros) for conv, zeros in convs if conv is not None])
        return weight, self.bn, (2, (0, 1), 1)

    def after_relu(self, x):
        weight, bn, (stride, *_) = self.fused()
        return bn(convolve(F.pad(x, (0, x.shape[-1] % 2)), weight, stride=stride))

    def inner_left(self, outputs, inner):
        return int((outputs < self.inner_width).sum())

    def copy_from(self, full, inputs, outputs, inner):
        first = full.inner_width
        for name, kept in (("conv_1", outputs[outputs < first]), ("conv_2", outputs[outputs >= first] - first)):
            if len(kept):
                copy_layer(getattr(self, name), getattr(full, name), kept, inputs)
        copy_layer(self.bn, full.bn, outputs)


class ReluConvBn(Rectifying, nn.Sequential):
    """ReLU, convolution, BatchNorm."""

    producers = (("1", 0),)

    def __init__(self, inputs, outputs, kernel=1, stride=1):
        conv = Conv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
        super().__init__(nn.ReLU(), conv, BatchNorm(outputs))  # saved networks know the others by places 1 and 2

    def fused(self):
        """As that of FactorizedReduce."""
        return self[1].weight, self[2], self[1].geometry

    def after_relu(self, x):
        return self[2](self[1](x))

    def copy_from(self, full, inputs, outputs, inner=None):
        copy_layer(self[1], full[1], outputs, inputs)
        copy_layer(self[2], full[2], outputs)


class DepthwisePointwise(Rectifying):
    """ReLU, depthwise convolution, pointwise convolution, BatchNorm.

    Nothing non-linear stands between the two convolutions, so that they can run as the one dense convolution that they
    equal: faster on a CPU where channels are few. `pair` says whether they stay two.
    """

    producers, readers = (("pointwise", 0),), (("depthwise", 0),)
    pairs = property(lambda self: (self,))

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
        return self.bn(convolve(x, weight, None, *self.depthwise.geometry))

    def copy_from(self, full, inputs, outputs, inner=None):
        copy_layer(self.depthwise, full.depthwise, inputs)
        copy_layer(self.pointwise, full.pointwise, outputs, inputs)
        copy_layer(self.bn, full.bn, outputs)


class Separable(Rectifying, nn.Sequential):
    """Twice a DepthwisePointwise; inner : channels between the two, None is as many as come in."""

    producers, readers = (("1.pointwise", 0),), (("0.depthwise", 0),)
    inner_producers, inner_readers = (("0.pointwise", 0),), (("1.depthwise", 0),)
    pairs = property(tuple)

    def __init__(self, inputs, outputs, kernel, stride, inner=None):
        width = inputs if inner is None else inner
        super().__init__(DepthwisePointwise(inputs, width, kernel, stride), DepthwisePointwise(width, outputs, kernel))
        self.inner_width = width

    def after_relu(self, x):
        return self[1].after_relu(F.relu_(self[0].after_relu(x)))  # in place: nobody else reads it

    def copy_from(self, full, inputs, outputs, inner):
        self[0].copy_from(full[0], inputs, inner)
        self[1].copy_from(full[1], inner, outputs)


def copy_layer(small, full, outputs, inputs=None):
    """Copy the filters at positions `outputs`, and of those the `inputs`, of a conv or BatchNorm layer."""
    state = {}
    for name, tensor in full.state_dict().items():
        if tensor.ndim:
            tensor = tensor[torch.from_numpy(outputs).to(tensor.device)]
        state[name] = tensor if inputs is None else tensor[:, torch.from_numpy(inputs).to(tensor.device)]
    small.load_state_dict(state)


# The search space of the paper (method section 1): name -> constructor, in the order of the columns of alpha.
# inner : width inside the operation; None is that of a network from which nothing was removed
OPERATIONS = {
    "none": lambda inputs, outputs, stride, inner=None: Zero(stride),
    "avg_pool_3x3": lambda inputs, outputs, stride, inner=None: Pool(False, stride),
    "max_pool_3x3": lambda inputs, outputs, stride, inner=None: Pool(True, stride),
    "skip_connect": lambda inputs, outputs, stride, inner=None: (
        Identity() if stride == 1 else FactorizedReduce(inputs, outputs, inner)
    ),
    "sep_conv_1x3": lambda inputs, outputs, stride, inner=None: Separable(inputs, outputs, 3, stride, inner),
    "sep_conv_1x5": lambda inputs, outputs, stride, inner=None: Separable(inputs, outputs, 5, stride, inner),
    "dil_conv_1x3": lambda inputs, outputs, stride, inner=None: DepthwisePointwise(inputs, outputs, 3, stride, 2),
    "dil_conv_1x5": lambda inputs, outputs, stride, inner=None: DepthwisePointwise(inputs, outputs, 5, stride, 2),
    "conv_1x1": lambda inputs, outputs, stride, inner=None: ReluConvBn(inputs, outputs, 1, stride),
    "conv_3x3": lambda inputs, outputs, stride, inner=None: ReluConvBn(inputs, outputs, 3, stride),
}
