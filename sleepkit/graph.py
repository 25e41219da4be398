"""The ONNX graph of a trained network, written node by node: what onnxruntime computes instead of PyTorch.

The graph is written here, not traced, because the network consists of a dozen kinds of layers: so the length of the
signal stays free (a tracer fixes it), BatchNorm is part of the convolution before it, a ReLU that several operations
share is computed once, and nothing but `onnx` is needed. Convolutions are given a height of one sample: onnxruntime
has fast paths for pictures, not for signals.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from sleepkit.blocks import BLOCK, Graph
from sleepkit.cells import DepthwisePointwise, FactorizedReduce, Pool
from sleepkit.epochs import STAGES

OPSET, IR_VERSION = 17, 8  # what onnxruntime 1.13 of 2022 and later read
INPUT, OUTPUT = "eeg", "logits"
# Measured on one core: up to so many channels, separable convolutions of one state take less time side by side.
JOINED_WIDTH = 8


def network_graph(net, samples, normalisation=None, facts=None):
    """The network as an onnx.ModelProto: eeg (batch, 1, samples) float32 -> logits (batch, 5) float32.

    net : SleepNet, full or pruned; its running statistics are used (eval mode), whatever mode it is in
    samples : length that the network was trained on; the graph takes any other, too, unless `normalisation` holds a
        mean and sd for every sample position
    normalisation : object with mean and sd in µV; (x - mean) / sd, clipped to +-3 and divided by 3, is then the first
        step of the graph, whose input is in µV; None where the input is normalised already
    facts : dict that json can hold, kept in the file (metadata `facts`)
    """
    graph = Graph(INPUT)
    x = graph.add("Identity", INPUT) if normalisation is None else _normalise(graph, INPUT, normalisation)
    x = graph.add("Unsqueeze", x, graph.constant([2], np.int64))
    before_last = last = graph.relu(_convolution(graph, x, net.stem[0], net.stem[1]))
    for cell, widths in zip(net.cells, net.widths.cells, strict=True):
        before_last, last = last, _cell(graph, cell, widths, before_last, last)
    mean = graph.add("Flatten", graph.add("GlobalAveragePool", last))
    weight, bias = (_array(tensor) for tensor in (net.classifier.weight, net.classifier.bias))
    weight = graph.channels[mean].spread(weight, axis=1)
    graph.add("Gemm", mean, graph.constant(weight), graph.constant(bias), transB=1, output=OUTPUT)
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


def _normalise(graph, x, normalisation):
    """(x - mean) / sd, clipped to +-3 and divided by 3: the same as x / 3 sd - mean / 3 sd, clipped to +-1."""
    mean, sd = (np.asarray(value, dtype=np.float64) for value in (normalisation.mean, normalisation.sd))
    scaled = graph.add("Mul", x, graph.constant(1 / (3 * sd)))
    shifted = graph.add("Add", scaled, graph.constant(-mean / (3 * sd)))
    return graph.add("Clip", shifted, graph.constant(-1), graph.constant(1))


def _cell(graph, cell, widths, before_last, last):
    states = [_layer(graph, before_last, cell.preprocess0), _layer(graph, last, cell.preprocess1)]
    halfway = {}
    for node, first in zip(range(0, len(cell.operations), 2), _firsts(cell, widths), strict=True):
        if _twins(cell, node):
            states.append(_sum_of_twins(graph, states[cell.sources[node]], cell.operations[node : node + 2], first))
            continue
        terms = []
        for k in (node, node + 1):
            source, operation = cell.sources[k], cell.operations[k]
            siblings = [j for j, other in enumerate(cell.sources) if other == source and _joins(cell.operations[j])]
            if len(siblings) < 2 or k not in siblings:
                terms.append(_layer(graph, states[source], operation, first))
                continue
            if source not in halfway:
                halfway[source] = _halfway(graph, states[source], [cell.operations[j] for j in siblings])
            terms.append(_last_step(graph, *halfway[source], siblings.index(k), operation, first))
        states.append(graph.add("Add", *terms))
    return graph.concatenate(states[2:])


def _firsts(cell, widths):
    """Place of every node's first channel in its block: where all are half a block wide, two nodes share one.

    A pool leaves channels where they are, so a node lies where what it pools lies (a cell's two inputs in the first
    half); the others are dealt out to both halves. Where a node pools from both, all lie in the first.
    """
    nodes = range(0, len(cell.operations), 2)
    if {2 * width for width in widths.states} != {BLOCK}:
        return [0] * len(nodes)
    firsts = [0, 0]
    for node in nodes:
        terms = zip(cell.operations[node : node + 2], cell.sources[node : node + 2], strict=True)
        pooled = {firsts[source] for operation, source in terms if isinstance(operation, (nn.Identity, Pool))}
        if len(pooled) > 1:
            return [0] * len(nodes)
        fewer = min((0, BLOCK // 2), key=firsts[2:].count)
        firsts.append(pooled.pop() if pooled else fewer)
    return firsts[2:]


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


def _sum_of_twins(graph, x, twins, first):
    scales, biases = zip(*(_batch_norm(twin.bn) for twin in twins), strict=True)
    weight = sum(_dense(twin) * scale for twin, scale in zip(twins, scales, strict=True))
    stride, padding, dilation, _ = _geometry(twins[0].depthwise)
    return graph.convolve(graph.relu(x), weight, sum(biases), stride, padding, dilation, first=first)


def _joins(operation):
    """Whether an operation is a separable convolution so narrow that it is better computed along with others."""
    separable = isinstance(operation, nn.Sequential) and isinstance(operation[0], DepthwisePointwise)
    return separable and operation[0].depthwise.in_channels <= JOINED_WIDTH


def _halfway(graph, x, operations):
    """Separable convolutions of one state side by side, as far as their last, pointwise convolution.

    A first round (depthwise, pointwise, BatchNorm) is one convolution, those of all operations are one with more
    filters, and the depthwise convolutions of the second round are one with more channels.
    returns the value and the first channel of every operation in it, the number of channels last
    """
    rounds = [(first, second, *_batch_norm(first.bn)) for first, second in operations]
    taps = max(first.depthwise.kernel_size[0] for first, *_ in rounds)
    weight = np.concatenate([_widened(_dense(first) * scale, taps) for first, _, scale, _ in rounds])
    bias = np.concatenate([bias for *_, bias in rounds])
    depthwise = np.concatenate([_widened(_array(second.depthwise.weight), taps) for _, second, *_ in rounds])
    starts = np.cumsum([0, *(len(bias) for *_, bias in rounds)])
    x = graph.convolve(graph.relu(x), weight, bias, rounds[0][0].depthwise.stride[0], taps // 2)
    return graph.convolve(graph.relu(x), depthwise, None, padding=taps // 2, groups=len(bias)), starts


def _last_step(graph, x, starts, number, operation, first):
    """The pointwise convolution of operation `number` of those side by side in x; the others' channels count zero."""
    scale, bias = _batch_norm(operation[1].bn)
    own = _array(operation[1].pointwise.weight) * scale
    weight = np.zeros((len(own), starts[-1], 1))
    weight[:, starts[number] : starts[number] + own.shape[1]] = own
    return graph.convolve(x, weight, bias, first=first)


def _dense(module):
    """Weight of the one convolution that a depthwise and a pointwise convolution equal: (outputs, inputs, taps)."""
    return _array(module.pointwise.weight) * _array(module.depthwise.weight).transpose(1, 0, 2)


def _widened(weight, taps):
    """The same filters with zeros around them, so that they have `taps` taps."""
    beyond = (taps - weight.shape[2]) // 2
    return np.pad(weight, ((0, 0), (0, 0), (beyond, beyond)))


def _layer(graph, x, module, first=0):
    """One operation of a cell, or a preprocessing, by the kind of its module; `first` as convolve takes it."""
    if isinstance(module, nn.Identity):
        return x
    if isinstance(module, DepthwisePointwise):
        scale, bias = _batch_norm(module.bn)
        x = graph.convolve(graph.relu(x), _array(module.depthwise.weight), None, *_geometry(module.depthwise))
        return graph.convolve(x, _array(module.pointwise.weight) * scale, bias, first=first)
    if isinstance(module, FactorizedReduce):
        return _factorized_reduce(graph, x, module, first)
    if isinstance(module, Pool):
        return _pool(graph, x, module)
    if isinstance(module, nn.Sequential) and isinstance(module[0], nn.ReLU):
        return _convolution(graph, graph.relu(x), module[1], module[2], first)
    if isinstance(module, nn.Sequential):
        inner, outer = module
        return _layer(graph, _layer(graph, x, inner), outer, first)
    raise TypeError(f"{type(module).__name__}: no ONNX form of this layer; add it to sleepkit.graph")


def _convolution(graph, x, conv, bn, first=0):
    scale, bias = _batch_norm(bn)
    return graph.convolve(x, _array(conv.weight) * scale, bias, *_geometry(conv), first=first)


def _factorized_reduce(graph, x, module, first):
    """Its two 1x1 convolutions, on x and on x shifted by a sample, are one of two taps; a length that is odd is padded
    right with a zero, and one that is even ends before it."""
    scale, bias = _batch_norm(module.bn)
    convs = ((module.conv_1, (0, 1)), (module.conv_2, (1, 0)))
    halves = [np.pad(_array(conv.weight), ((0, 0), (0, 0), zeros)) for conv, zeros in convs if conv is not None]
    return graph.convolve(graph.relu(x), np.concatenate(halves) * scale, bias, stride=2, after=1, first=first)


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
