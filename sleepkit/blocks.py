"""An ONNX graph under construction, whose channels fill the vectors that the processor computes with.

onnxruntime computes convolutions in blocks of channels. Where pruning left a convolution half of a block or more,
filters of zeros fill it: else the 4 channels of a pruned cell would be put from one layout into another at every step.
"""

from functools import reduce
from typing import NamedTuple

import numpy as np
from onnx import helper, numpy_helper

BLOCK = 8  # channels, with AVX2; 16 with AVX-512


class Channels(NamedTuple):
    """Where the channels of the network lie among those of a value in the graph; the others are zero."""

    places: np.ndarray
    width: int

    def beside(self, other):
        """Whether two values can lie in one, each where it is."""
        return self.width == other.width and not np.intersect1d(self.places, other.places).size

    def spread(self, array, axis):
        """The same array with zeros along `axis` where the value has channels that the network has not."""
        shape = list(array.shape)
        shape[axis] = self.width
        wide = np.zeros(shape)
        np.moveaxis(wide, axis, 0)[self.places] = np.moveaxis(array, axis, 0)
        return wide


class Graph:
    """Nodes and constants in the order in which they were added; every output has the name of its node, and the
    channels of the first input where no convolution or concatenation gives it others.

    signal : name of the graph's input, which has one channel
    """

    def __init__(self, signal):
        self.nodes, self.constants, self.relus = [], [], {}
        self.channels = {signal: Channels(np.arange(1), 1)}

    def add(self, kind, *inputs, output=None, channels=None, **attributes):
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        self.channels[output] = channels or self.channels[inputs[0]]
        return output

    def constant(self, array, dtype=np.float32):
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype), name))
        return name

    def relu(self, x):
        """The ReLU of a value, computed once for all operations that begin with it."""
        if x not in self.relus:
            self.relus[x] = self.add("Relu", x)
        return self.relus[x]

    def convolve(self, x, weight, bias, stride=1, padding=0, dilation=1, groups=1, after=None, first=0):
        """Convolution, of one group or depthwise, with `weight` (filters, inputs, taps) and `bias` (filters,) or None.

        after : padding behind the signal, where it is not that before it
        first : place in its block of the first filter
        """
        channels = self.channels[x]
        if groups == 1:
            weight = channels.spread(weight, axis=1)
            n = len(weight)
            channels = Channels(first + np.arange(n), n if n < BLOCK / 2 else -(-n // BLOCK) * BLOCK)
        else:
            groups = channels.width
        inputs = [self.constant(channels.spread(weight, axis=0)[:, :, None])]
        inputs += [] if bias is None else [self.constant(channels.spread(bias, axis=0))]
        return self.add(
            "Conv",
            x,
            *inputs,
            channels=channels,
            kernel_shape=[1, weight.shape[2]],
            strides=[1, stride],
            pads=[0, padding, 0, padding if after is None else after],
            dilations=[1, dilation],
            group=groups,
        )

    def concatenate(self, values):
        """All channels of several values; values whose channels lie in different places of a block share it."""
        blocks = []  # lists of values
        for value in values:
            own = self.channels[value]
            free = (block for block in blocks if all(own.beside(self.channels[other]) for other in block))
            block = next(free, None)
            if block is None:
                blocks.append([value])
            else:
                block.append(value)
        starts, start, shared = {}, 0, []
        for block in blocks:
            starts |= dict.fromkeys(block, start)
            start += self.channels[block[0]].width
            shared.append(reduce(lambda a, b: self.add("Add", a, b), block))
        places = np.concatenate([starts[value] + self.channels[value].places for value in values])
        return self.add("Concat", *shared, axis=1, channels=Channels(places, start))
