"""The ONNX graph of a trained network, written node by node: what onnxruntime computes instead of PyTorch.

The graph is written here, not traced, because the network consists of a dozen kinds of layers: so the length of the
signal stays free (a tracer fixes it), BatchNorm is part of the convolution before it, a ReLU that several operations
share is computed once, and nothing but `onnx` is needed. Convolutions are given a height of one sample: onnxruntime
has fast paths for pictures, not for signals.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from sleepkit.cells import DepthwisePointwise, FactorizedReduce, Pool
from sleepkit.epochs import STAGES

OPSET, IR_VERSION = 17, 8  # what onnxruntime 1.13 of 2022 and later read
INPUT, OUTPUT = "eeg", "logits"
# Measured on one core: up to so many channels, separable convolutions of one state take less time side by side.
JOINED_WIDTH = 8
BLOCK = 8  # channels; onnxruntime computes convolutions in blocks of 8 (AVX2) or 16 (AVX-512)


def network_graph(net, samples, normalisation=None, facts=None):
    """The network as an onnx.ModelProto: eeg (batch, 1, samples) float32 -> logits (batch, 5) float32.

    net : SleepNet, full or pruned; its running statistics are used (eval mode), whatever mode it is in
    samples : length that the network was trained on; the graph takes any other, too, unless `normalisation` holds a
        mean and sd for every sample position
    normalisation : object with mean and sd in µV; (x - mean) / sd, clipped to +-3 and divided by 3, is then the first
        step of the graph, whose input is in µV; None where the input is normalised already
    facts : dict that json can hold, kept in the file (metadata `facts`)
    """
    graph = _Graph()
    x = graph.add("Identity", INPUT) if normalisation is None else _normalise(graph, INPUT, normalisation)
    x = graph.add("Unsqueeze", x, graph.constant([2], np.int64))
    before_last = last = graph.relu(_convolution(graph, x, net.stem[0], net.stem[1]))
    for cell in net.cells:
        before_last, last = last, _cell(graph, cell, before_last, last)
    mean = graph.add("Flatten", graph.add("GlobalAveragePool", last))
    weight, bias = (graph.constant(_array(tensor)) for tensor in (net.classifier.weight, net.classifier.bias))
    graph.add("Gemm", mean, weight, bias, transB=1, output=OUTPUT)
    by_position = normalisation is not None and np.ndim(normalisation.mean) > 0
    shapes = ["batch", 1, samples if by_position else "samples"], ["batch", net.classifier.out_features]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "sleepkit",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shapes[0])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shapes[1])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sleepkit",
    )
    about = {"stages": STAGES, "samples": samples, "input": "normalised" if normalisation is None else "µV"}
    helper.set_model_props(model, {"facts": json.dumps((facts or {}) | about)})
    onnx.checker.check_model(model, full_check=True)
    return model


def shorten_names(model):
    """The same model with a few letters for every name but those of input and output, and without notes on shapes.

    In a network of a thousand small nodes, as quantisation makes them, names take up half of the file.
    """
    graph, short = model.graph, {"": ""} | {name: name for name in (INPUT, OUTPUT)}
    for tensor in graph.initializer:
        tensor.name = short.setdefault(tensor.name, f"{len(short):x}")
    for node in graph.node:
        node.name = ""
        for values in (node.input, node.output):
            values[:] = [short.setdefault(value, f"{len(short):x}") for value in values]
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and constants in the order in which they were added; every output has the name of its node."""

    def __init__(self):
        self.nodes, self.constants, self.relus = [], [], {}

    def add(self, kind, *inputs, output=None, **attributes):
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
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

    def convolve(self, x, weight, bias, stride=1, padding=0, dilation=1, groups=1, after=None):
        """Convolution with `weight` (filters, inputs, taps); `after` is the padding behind the signal, if different."""
        inputs = [self.constant(weight[:, :, None])] + ([] if bias is None else [self.constant(bias)])
        return self.add(
            "Conv",
            x,
            *inputs,
            kernel_shape=[1, weight.shape[2]],
            strides=[1, stride],
            pads=[0, padding, 0, padding if after is None else after],
            dilations=[1, dilation],
            group=groups,
        )


def _normalise(graph, x, normalisation):
    """(x - mean) / sd, clipped to +-3 and divided by 3: the same as x / 3 sd - mean / 3 sd, clipped to +-1."""
    mean, sd = (np.asarray(value, dtype=np.float64) for value in (normalisation.mean, normalisation.sd))
    scaled = graph.add("Mul", x, graph.constant(1 / (3 * sd)))
    shifted = graph.add("Add", scaled, graph.constant(-mean / (3 * sd)))
    return graph.add("Clip", shifted, graph.constant(-1), graph.constant(1))


def _cell(graph, cell, before_last, last):
    states = [_layer(graph, before_last, cell.preprocess0), _layer(graph, last, cell.preprocess1)]
    halfway = {}
    for node in range(0, len(cell.operations), 2):
        if _twins(cell, node):
            states.append(_sum_of_twins(graph, states[cell.sources[node]], cell.operations[node : node + 2]))
            continue
        terms = []
        for k in (node, node + 1):
            source, operation = cell.sources[k], cell.operations[k]
            siblings = [j for j, other in enumerate(cell.sources) if other == source and _joins(cell.operations[j])]
            if len(siblings) < 2 or k not in siblings:
                terms.append(_layer(graph, states[source], operation))
                continue
            if source not in halfway:
                halfway[source] = _halfway(graph, states[source], [cell.operations[j] for j in siblings])
            terms.append(_last_step(graph, *halfway[source], siblings.index(k), operation))
        states.append(graph.add("Add", *terms))
    return graph.add("Concat", *states[2:], axis=1)


def _twins(cell, node):
    """Whether the two terms of a node are narrow dilated convolutions of one state and one shape: their sum is one
    convolution."""
    first, second = cell.operations[node : node + 2]
    return (
        isinstance(first, DepthwisePointwise)
        and isinstance(second, DepthwisePointwise)
        and cell.sources[node] == cell.sources[node + 1]
        and first.depthwise.kernel_size == second.depthwise.kernel_size
        and first.depthwise.in_channels <= JOINED_WIDTH
    )


def _sum_of_twins(graph, x, twins):
    scales, biases = zip(*(_batch_norm(twin.bn) for twin in twins), strict=True)
    weight = sum(_dense(twin) * scale for twin, scale in zip(twins, scales, strict=True))
    stride, padding, dilation, _ = _geometry(twins[0].depthwise)
    return graph.convolve(graph.relu(x), weight, sum(biases), stride, padding, dilation)


def _joins(operation):
    """Whether an operation is a separable convolution so narrow that it is better computed along with others."""
    separable = isinstance(operation, nn.Sequential) and isinstance(operation[0], DepthwisePointwise)
    return separable and operation[0].depthwise.in_channels <= JOINED_WIDTH


def _halfway(graph, x, operations):
    """Separable convolutions of one state side by side, as far as their last, pointwise convolution.

    A first round (depthwise, pointwise, BatchNorm) is one convolution, those of all operations are one with more
    filters, and the depthwise convolutions of the second round are one with more channels. Filters of zeros fill the
    last block of the processor's vectors.
    returns the value and the first channel of every operation in it, its width last
    """
    rounds = [(first, second, *_batch_norm(first.bn)) for first, second in operations]
    taps = max(first.depthwise.kernel_size[0] for first, *_ in rounds)
    weight = np.concatenate([_widened(_dense(first) * scale, taps) for first, _, scale, _ in rounds])
    bias = np.concatenate([bias for *_, bias in rounds])
    depthwise = np.concatenate([_widened(_array(second.depthwise.weight), taps) for _, second, *_ in rounds])
    starts = np.cumsum([0, *(len(bias) for *_, bias in rounds)])
    spare = -len(bias) % BLOCK
    weight, bias, depthwise = (np.concatenate([a, np.zeros((spare, *a.shape[1:]))]) for a in (weight, bias, depthwise))
    stride, width = rounds[0][0].depthwise.stride[0], len(bias)
    x = graph.relu(graph.convolve(graph.relu(x), weight, bias, stride, taps // 2))
    return graph.convolve(x, depthwise, None, padding=taps // 2, groups=width), [*starts[:-1], width]


def _last_step(graph, x, starts, number, operation):
    """The pointwise convolution of operation `number` of those side by side in x; the others' channels count zero."""
    scale, bias = _batch_norm(operation[1].bn)
    own = _array(operation[1].pointwise.weight) * scale
    weight = np.zeros((len(own), starts[-1], 1))
    weight[:, starts[number] : starts[number] + own.shape[1]] = own
    return graph.convolve(x, weight, bias)


def _dense(module):
    """Weight of the one convolution that a depthwise and a pointwise convolution equal: (outputs, inputs, taps)."""
    return _array(module.pointwise.weight) * _array(module.depthwise.weight).transpose(1, 0, 2)


def _widened(weight, taps):
    """The same filters with zeros around them, so that they have `taps` taps."""
    beyond = (taps - weight.shape[2]) // 2
    return np.pad(weight, ((0, 0), (0, 0), (beyond, beyond)))


def _layer(graph, x, module):
    """One operation of a cell, or a preprocessing, by the kind of its module."""
    if isinstance(module, nn.Identity):
        return x
    if isinstance(module, DepthwisePointwise):
        scale, bias = _batch_norm(module.bn)
        x = graph.convolve(graph.relu(x), _array(module.depthwise.weight), None, *_geometry(module.depthwise))
        return graph.convolve(x, _array(module.pointwise.weight) * scale, bias)
    if isinstance(module, FactorizedReduce):
        return _factorized_reduce(graph, x, module)
    if isinstance(module, Pool):
        return _pool(graph, x, module)
    if isinstance(module, nn.Sequential) and isinstance(module[0], nn.ReLU):
        return _convolution(graph, graph.relu(x), module[1], module[2])
    if isinstance(module, nn.Sequential):
        for part in module:
            x = _layer(graph, x, part)
        return x
    raise TypeError(f"{type(module).__name__}: no ONNX form of this layer; add it to sleepkit.graph")


def _convolution(graph, x, conv, bn):
    scale, bias = _batch_norm(bn)
    return graph.convolve(x, _array(conv.weight) * scale, bias, *_geometry(conv))


def _factorized_reduce(graph, x, module):
    """Its two 1x1 convolutions, on x and on x shifted by a sample, are one of two taps; a length that is odd is padded
    right with a zero, and one that is even ends before it."""
    scale, bias = _batch_norm(module.bn)
    convs = ((module.conv_1, (0, 1)), (module.conv_2, (1, 0)))
    halves = [np.pad(_array(conv.weight), ((0, 0), (0, 0), zeros)) for conv, zeros in convs if conv is not None]
    return graph.convolve(graph.relu(x), np.concatenate(halves) * scale, bias, stride=2, after=1)


def _pool(graph, x, module):
    window = {"kernel_shape": [1, 3], "strides": [1, module.stride], "pads": [0, 1, 0, 1]}
    return graph.add("MaxPool", x, **window) if module.largest else graph.add("AveragePool", x, **window)


def _geometry(conv):
    """Stride, padding, dilation and groups of a convolution over time."""
    return conv.stride[0], conv.padding[0], conv.dilation[0], conv.groups


def _batch_norm(bn):
    """Scale (filters, 1, 1) and bias (filters,) of a BatchNorm in eval mode, float64."""
    scale = _array(bn.weight) / np.sqrt(_array(bn.running_var) + bn.eps)
    return scale[:, None, None], _array(bn.bias) - scale * _array(bn.running_mean)


def _array(tensor):
    return tensor.detach().cpu().double().numpy()
