"""An ONNX graph under construction, whose channels fill the vectors that the processor computes with. On x86
onnxruntime keeps values in blocks of channels: a convolution of 4 filters takes as long as one of 16. Several
convolutions share a block where they can, and zeros fill the rest; else channels would change layout at every step."""

from typing import NamedTuple

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper


class Value(NamedTuple):
    """A value of the graph with channels of the network at `places` of its `width`; the others get zero weight."""

    name: str
    places: np.ndarray
    width: int
    halved: int  # times that the signal's length was halved

    def spread(self, array, axis):
        """The same array with zeros along `axis` where the value has channels that the network has not."""
        wide = np.zeros((*array.shape[:axis], self.width, *array.shape[axis + 1 :]))
        np.moveaxis(wide, axis, 0)[self.places] = np.moveaxis(array, axis, 0)
        return wide


class Step(NamedTuple):
    """A convolution that is not in the graph yet."""

    x: Value
    weight: np.ndarray  # (filters, channels of the network in x, taps)
    bias: np.ndarray | None  # (filters,)
    stride: int = 1
    padding: int | tuple = 0  # zeros on either side, or before and behind
    dilation: int = 1

    @property
    def whole(self):  # the same convolution with a weight for every channel of the value, in their order
        every = self.x._replace(places=np.arange(self.x.width))
        return self._replace(x=every, weight=self.x.spread(self.weight, axis=1))


class Graph:
    """Nodes and constants in the order in which they were added; every output has the name of its node."""

    def __init__(self, block=None):
        # Channels that onnxruntime computes at once on a processor.
        self.block = block or (16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8)
        self.nodes, self.constants, self.made, self.shapes = [], [], {}, {}

    def add(self, kind, *inputs, output=None, **attributes):
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, array, dtype=np.float32):
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype), name))
        return name

    def value(self, name, places, width, halved):
        """A Value whose shape the graph states: behind a dilated one onnxruntime else does not add as it convolves."""
        shape = ["batch", width, 1, "samples" + halved * "/2"]
        self.shapes[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        return Value(name, places, width, halved)

    def change(self, kind, x, stride=1, **attributes):
        """What a node without weights makes of a value, channel by channel; made once for all who ask for it."""
        asked = (kind, x.name, stride, repr(attributes))
        if asked not in self.made:
            name = self.add(kind, x.name, **attributes)
            self.made[asked] = self.value(name, x.places, x.width, x.halved + stride // 2)
        return self.made[asked]._replace(places=x.places)

    def filled(self, filters):  # channels of the value that so many filters make: whole blocks
        return -(-filters // self.block) * self.block

    def convolve(self, step):
        """The value that a Step makes; its channels come first."""
        n = len(step.weight)
        return self.convolve_into(Value("", np.arange(n), self.filled(n), step.x.halved), step.whole)

    def convolve_into(self, like, step, groups=1):
        """The same, with channels at the places of `like`; with as many groups as channels, each has its own filter."""
        inputs = [self.constant(like.spread(step.weight, axis=0)[:, :, None])]
        inputs += [] if step.bias is None else [self.constant(like.spread(step.bias, axis=0))]
        attributes = {"kernel_shape": [1, step.weight.shape[2]], "strides": [1, step.stride], "group": groups}
        before, behind = np.broadcast_to(step.padding, 2).tolist()
        attributes |= {"pads": [0, before, 0, behind], "dilations": [1, step.dilation]}
        name = self.add("Conv", step.x.name, *inputs, **attributes)
        return self.value(name, like.places, like.width, like.halved + step.stride // 2)
