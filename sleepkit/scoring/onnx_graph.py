"""The ONNX graph of a trained network, written node by node: what onnxruntime computes instead of PyTorch.

Written here, not traced: the signal may have any length, BatchNorm is part of a convolution, a shared ReLU or pool is
computed once, narrow nodes side by side. Signals have a height of one: onnxruntime has fast paths for pictures only.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, compose, helper

from sleepkit.epochs import STAGES
from sleepkit.scoring.onnx_blocks import Graph, Step, Value

OPSET, IR_VERSION = 17, 8  # what onnxruntime 1.13 of 2022 and later read
INPUT, OUTPUT = "eeg", "logits"


def network_graph(net, samples, normalisation=None, facts=None, block=None):
    """The network as an onnx.ModelProto: eeg (batch, 1, samples) float32 -> logits (batch, 5) float32.

    net : SleepNet, full or pruned; its running statistics are used (eval mode), whatever mode it is in
    samples : length that the network was trained on; the graph takes others unless `normalisation` is by sample
    normalisation : object with mean and sd in µV; the input is then µV; None where it is normalised already
    facts : dict, kept in the file;  block : channels that a processor computes at once, 8 or 16; None: this one's
    """
    graph = Graph(block)
    x = graph.add("Identity", INPUT) if normalisation is None else _normalise(graph, INPUT, normalisation)
    x = Value(graph.add("Unsqueeze", x, graph.constant([2], np.int64)), np.arange(1), width=1, halved=0)
    conv, bn, _ = net.stem
    before_last = last = graph.convolve(_folded(x, conv.weight, bn, conv.geometry))
    for cell in net.cells:
        before_last, last = last, _cell(graph, cell, before_last, last)
    mean = graph.add("Flatten", graph.add("GlobalAveragePool", last.name))
    weight, bias = (_array(tensor) for tensor in (net.classifier.weight, net.classifier.bias))
    graph.add("Gemm", mean, graph.constant(last.spread(weight, axis=1)), graph.constant(bias), transB=1, output=OUTPUT)
    by_position = normalisation is not None and np.ndim(normalisation.mean) > 0
    about = {"stages": STAGES, "samples": samples, "input": "normalised" if normalisation is None else "µV"}
    shapes = {INPUT: ["batch", 1, samples if by_position else "samples"], OUTPUT: ["batch", len(bias)]}
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in shapes.items()]
    made = helper.make_graph(graph.nodes, "sleepkit", *ends, graph.constants, value_info=list(graph.shapes.values()))
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opset, ir_version=IR_VERSION, producer_name="sleepkit")
    helper.set_model_props(model, {"facts": json.dumps((facts or {}) | about)})
    onnx.checker.check_model(model, full_check=True)
    return model


def averaged_graph(models, facts):
    """One onnx.ModelProto of several by `network_graph`: its logits are the log of the mean of their probabilities."""
    nodes, constants, shapes, means = [], [], [], []
    for number, model in enumerate(models):
        part = compose.add_prefix(model, f"{number}_", rename_inputs=False).graph
        nodes += [*part.node, helper.make_node("Softmax", [part.output[0].name], [f"{number}_mean"], axis=-1)]
        constants += part.initializer
        shapes += part.value_info
        means.append(f"{number}_mean")
    nodes += [helper.make_node("Mean", means, ["mean"]), helper.make_node("Log", ["mean"], [OUTPUT])]
    ends = models[0].graph.input, models[0].graph.output
    # Nobody reads the names of constants and nodes: short ones and none make the file 4 % smaller.
    short = {tensor.name: f"{number:x}" for number, tensor in enumerate(constants)}
    for tensor in constants:
        tensor.name = short[tensor.name]
    for node in nodes:
        node.ClearField("name")
        node.input[:] = [short.get(name, name) for name in node.input]
    made, opset = helper.make_graph(nodes, "sleepkit", *ends, constants, value_info=shapes), models[0].opset_import
    model = helper.make_model(made, opset_imports=opset, ir_version=IR_VERSION, producer_name="sleepkit")
    about = {"stages": STAGES, "input": json.loads(models[0].metadata_props[0].value)["input"]}
    helper.set_model_props(model, {"facts": json.dumps(facts | about, separators=(",", ":"))})
    onnx.checker.check_model(model, full_check=True)
    return model


def shorten_names(model):
    """The same model with short names and without the shapes of values: else they are half of a quantised file."""
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
    x = graph.add("Add", graph.add("Mul", x, graph.constant(1 / (3 * sd))), graph.constant(-mean / (3 * sd)))
    return graph.add("Clip", x, graph.constant(-1), graph.constant(1))


def _cell(graph, cell, before_last, last):
    edges, widths = cell.edges, cell.widths
    fit = max(1, graph.block // widths.states[0]) if len(set(widths.states)) == 1 else 1
    layers = _layers(edges, widths.states[0], fit)
    states, steps, values = {}, {}, []
    for source, (x, module) in enumerate(((before_last, cell.preprocess0), (last, cell.preprocess1))):
        step = _step(graph, x, module)
        weight, bias = np.tile(step.weight, (fit, 1, 1)), np.tile(step.bias, fit)
        copied = graph.convolve(step._replace(weight=weight, bias=bias))  # the state, `fit` times
        states[source] = copied._replace(places=np.arange(widths.states[source]))
        kinds = {}  # separable and dilated operations; those of a kind are one, each on a copy of the state
        for number, (operation, read) in enumerate(edges):
            if read == source and operation.pairs:
                kinds.setdefault(len(operation.pairs), []).append(number)
        for numbers in (kind[k : k + fit] for kind in kinds.values() for k in range(0, len(kind), fit)):
            together = _side_by_side(graph, copied, [edges[number][0] for number in numbers])
            steps |= dict(zip(numbers, together, strict=True))
    for layer in layers:
        n = widths.states[2 + min(layer.values())]
        value = _layer(graph, edges, layer, states, steps, graph.filled(n))
        states |= {2 + node: value._replace(places=first + np.arange(n)) for first, node in layer.items()}
        values.append(value)
    starts, width = {}, 0
    for value in values:
        starts[value.name], width = width, width + value.width
    places = [starts[states[2 + node].name] + states[2 + node].places for node in range(len(edges) // 2)]
    return graph.value(graph.add("Concat", *starts, axis=1), np.concatenate(places), width, values[0].halved)


def _layers(edges, n, fit):
    """Nodes of a cell that are computed side by side in one value: a list of {place of its first channel: node}, nodes
    after those that they read.

    A pool leaves channels where they are and takes all of a value: a node lies where what it pools lies, and nodes of
    one value pool the same. Where one pools from two places, each node has a value of its own.
    edges : (operation, source), two of every node;  n : channels of every state;  fit : states that share a block
    """
    layers, pools = [], []
    value, place = [0, 1], [0, 0]  # of every state: the two inputs are values 0 and 1, layers those from 2 on
    for node in range(len(edges) // 2):
        own = edges[2 * node : 2 * node + 2]
        kept = [(operation, source) for operation, source in own if operation.keeps_channels]
        pooled = sorted((value[source], operation.kind) for operation, source in kept)
        suited = {place[source] for _, source in kept} or {n * k for k in range(fit)}
        if kept and len(suited) > 1:
            return [{0: each} for each in range(len(edges) // 2)]
        number = max(1, *(value[source] for _, source in own)) - 1
        while number < len(layers) and (pools[number] != pooled or suited <= set(layers[number])):
            number += 1
        if number == len(layers):
            layers.append({})
            pools.append(pooled)
        place.append(min(suited - set(layers[number])))
        value.append(2 + number)
        layers[number][place[-1]] = node
    return layers


def _layer(graph, edges, layer, states, steps, width):
    """The value that holds the nodes of a layer. Their convolutions of one value and one geometry are one convolution;
    what they pool is added once, since all pool the same."""
    joined = {}
    for first, node in layer.items():
        for number in (2 * node, 2 * node + 1):
            operation, source = edges[number]
            if not operation.keeps_channels:
                step = steps.get(number) or _step(graph, states[source], operation)
                own = step.whole
                asked = (own.x.name, own.weight.shape[2], *own[3:])  # with stride, zeros and dilation
                empty = own._replace(weight=np.zeros((width, *own.weight.shape[1:])), bias=np.zeros(width))
                joint, rows = joined.setdefault(asked, empty), slice(first, first + len(own.weight))
                joint.weight[rows] += own.weight
                joint.bias[rows] += own.bias
    node = min(layer.values())
    kept = [(operation, source) for operation, source in edges[2 * node : 2 * node + 2] if operation.keeps_channels]
    pooled = [_pooled(graph, states[source], operation) for operation, source in kept]
    # In this order onnxruntime adds while it convolves as often as it can.
    total, *others = [*pooled, *(graph.convolve(step) for step in joined.values())]
    for other in others:
        total = graph.value(graph.add("Add", total.name, other.name), *total[1:])
    return total


def _side_by_side(graph, x, operations):
    """The last convolutions of operations that all are separable or all are dilated; those before them are put into the
    graph as one. x : the state, a copy for every operation."""
    steps = []
    for modules in zip(*(operation.pairs for operation in operations), strict=True):
        if steps:
            wholes = [step.whole for step in steps]
            weight, bias = (np.concatenate([getattr(step, part) for step in wholes]) for part in ("weight", "bias"))
            x = graph.convolve(wholes[0]._replace(weight=weight, bias=bias))
        convs = [module.depthwise for module in modules]
        taps = max(conv.kernel_size[0] for conv in convs)
        beyond = [(taps - conv.kernel_size[0]) // 2 for conv in convs]  # zeros on either side, so that all have `taps`
        padded = zip(convs, beyond, strict=True)
        weight = np.concatenate([np.pad(_array(conv.weight), ((0, 0), (0, 0), (n, n))) for conv, n in padded])
        stride, _, dilation = convs[0].geometry
        x = graph.change("Relu", x)._replace(places=x.places[: len(weight)])
        x = graph.convolve_into(x, Step(x, weight, None, stride, dilation * (taps // 2), dilation), groups=x.width)
        ends = np.cumsum([len(conv.weight) for conv in convs])[:-1]
        parts = [x._replace(places=places) for places in np.split(x.places, ends)]
        steps = [_folded(part, module.pointwise.weight, module.bn) for part, module in zip(parts, modules, strict=True)]
    return steps


def _step(graph, x, operation):
    """The last convolution of an operation or of a cell's preprocessing; those before it are put into the graph."""
    if operation.pairs:
        return _side_by_side(graph, x, [operation])[0]
    weight, bn, geometry = operation.fused()
    return _folded(graph.change("Relu", x), weight, bn, geometry)


def _folded(x, weight, bn, geometry=()):
    """The Step of a convolution that includes the BatchNorm after it, in eval mode, float64."""
    scale = _array(bn.weight) / np.sqrt(_array(bn.running_var) + bn.eps)
    bias = _array(bn.bias) - scale * _array(bn.running_mean)
    return Step(x, _array(weight) * scale[:, None, None], bias, *geometry)


def _pooled(graph, x, operation):
    if operation.kind == "Identity":
        return x
    stride = operation.stride
    return graph.change(operation.kind, x, stride, kernel_shape=[1, 3], strides=[1, stride], pads=[0, 1, 0, 1])


def _array(tensor):
    return tensor.detach().cpu().double().numpy()
