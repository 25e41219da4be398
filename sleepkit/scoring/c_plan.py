"""The network of an ONNX graph as the operations that a microcontroller runs, in their order, and the place of each
value in one arena of memory."""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import numpy_helper

POOLS = {"MaxPool": "max_pool", "AveragePool": "mean_pool"}


@dataclass(frozen=True)
class Operation:
    """One step of the network; `concat` only says that values lie one behind the other."""

    kind: str  # conv, max_pool, mean_pool, relu, add, concat
    inputs: tuple  # names of values; a conv adds the second one to what it makes of the first
    output: str
    weight: np.ndarray | None = None  # (outputs, inputs of a group, taps)
    bias: np.ndarray | None = None  # (outputs,)
    stride: int = 1
    padding: int = 0  # zeros before the signal
    dilation: int = 1
    groups: int = 1
    relu: bool = False  # whether a conv rectifies what it makes

    @property
    def element_wise(self):
        """The inputs of which it reads no element once it has made the same element of its output."""
        if self.kind == "conv":
            return tuple(name for name in self.inputs[1:] if name != self.inputs[0])
        return self.inputs if self.kind in ("add", "relu") else ()


@dataclass(frozen=True)
class Plan:
    """Operations in their order, and where what they make lies."""

    operations: list
    shapes: dict  # value -> (channels, length)
    normalisation: tuple  # (scale, shift) of µV to the value "input", which is then clipped to +-1
    classifier: tuple  # weight (5, channels), bias (5,) of the last value's mean over time
    last: str  # that value
    places: dict = field(default_factory=dict)  # value -> its first element in the arena
    arena: int = 0  # elements
    bound: int = 0  # elements of all values that are alive at once, at most: no arena is smaller

    def size(self, name):
        """Elements of a value."""
        channels, length = self.shapes[name]
        return channels * length


def plan_network(model, samples):
    """The Plan of a graph that `network_graph` wrote with a normalisation, for windows of `samples` samples."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    (scale, shift), unsqueeze, middle, (mean, _, gemm) = nodes[:2], nodes[3], nodes[4:-3], nodes[-3:]
    normalisation = tuple(float(constants[node.input[1]].item()) for node in (scale, shift))
    operations = _fused([_operation(node, constants, unsqueeze.output[0]) for node in middle], mean.input[0])
    shapes = {"input": (1, samples)}
    for op in operations:
        channels, length = shapes[op.inputs[0]]
        if op.kind == "concat":
            channels = sum(shapes[name][0] for name in op.inputs)
        elif op.kind == "conv":
            channels = len(op.weight)
        shapes[op.output] = channels, -(-length // op.stride)
    classifier = tuple(constants[name] for name in gemm.input[1:])
    graph = Plan(operations, shapes, normalisation, classifier, mean.input[0])
    return _placed(replace(graph, operations=scheduled(graph)))


def _operation(node, constants, start):
    about = {entry.name: list(entry.ints) or entry.i for entry in node.attribute}
    inputs, output = tuple("input" if name == start else name for name in node.input), node.output[0]
    if node.op_type == "Conv":
        weight = constants[inputs[1]][:, :, 0]
        bias = constants[inputs[2]] if len(inputs) == 3 else np.zeros(len(weight), np.float32)
        geometry = about["strides"][1], about["pads"][1], about["dilations"][1], about["group"]
        return Operation("conv", inputs[:1], output, weight, bias, *geometry)
    stride = about["strides"][1] if node.op_type in POOLS else 1
    return Operation(POOLS.get(node.op_type, node.op_type.lower()), inputs, output, stride=stride)


def _fused(operations, last):
    """The same with sums and ReLUs made by the convolution before them, where nobody else reads what it makes."""
    readers, made = Counter([last, *(name for op in operations for name in op.inputs)]), {}
    for op in operations:
        own = [n for n in op.inputs if readers[n] == 1 and n in made and made[n].kind == "conv" and not made[n].relu]
        if op.kind == "add" and (alone := [name for name in own if len(made[name].inputs) == 1]):
            conv = made.pop(alone[-1])
            (other,) = (name for name in op.inputs if name != conv.output)
            op = replace(conv, inputs=(*conv.inputs, other), output=op.output)
        elif op.kind == "relu" and own:
            op = replace(made.pop(own[0]), relu=True, output=op.output)
        made[op.output] = op
    return list(made.values())


def scheduled(plan):
    """The operations in an order that needs little memory: each as late as those that read it allow; but an operation
    that makes less than half of what it reads, as early as possible. Once both cells that follow have reduced a cell's
    output, its memory is free."""
    makes, order, known, wanted = {op.output: op for op in plan.operations}, [], {"input"}, [plan.last]
    while wanted:
        op = makes[wanted[-1]]
        early = (other for other in makes.values() if 2 * plan.size(other.output) < plan.size(other.inputs[0]))
        if unknown := [name for name in op.inputs if name not in known]:
            wanted.append(unknown[0])
        elif op.output in known:
            wanted.pop()
        else:
            ready = (other for other in early if other.output not in known and known.issuperset(other.inputs))
            order.append(next(ready, op))
            known.add(order[-1].output)
    return order


def _placed(plan):
    """The plan with a place for every value: those that are alive at the same time lie apart."""
    spans = lifetimes(plan)
    home = _homes(plan, spans)
    parts, end = {}, {}  # of what lies in no other value: when its parts are filled, and the last one is read
    for name, (root, offset) in home.items():
        part, (first, last) = (offset, plan.size(name)), spans[name]
        parts.setdefault(root, {})[part] = min(first, parts.get(root, {}).get(part, first))
        end[root] = max(last, end.get(root, last))
    taken = {root: [(*part, time, end[root]) for part, time in times.items()] for root, times in parts.items()}
    # The largest values first is mostly the best order, but not always.
    orders = (lambda n: -plan.size(n), lambda n: spans[n][0])
    arena, start = min((_fit(taken, sorted(taken, key=order)) for order in orders), key=lambda fit: fit[0])
    places = {name: start[root] + offset for name, (root, offset) in home.items()}
    plan = replace(plan, places=places, arena=arena)
    return replace(plan, bound=max(int(occupied(plan, spans, time).sum()) for time in range(len(plan.operations))))


def lifetimes(plan):
    """{value: (number of the operation that makes it, of the last one that reads it)}."""
    spans = {"input": (-1, -1)}
    for time, op in enumerate(plan.operations):
        spans[op.output] = time, time
        spans |= {name: (spans[name][0], time) for name in op.inputs}
    return spans | {plan.last: (spans[plan.last][0], len(plan.operations))}


def occupied(plan, spans, time):
    """The elements of the arena that hold a value that is alive at an operation, as a bool array."""
    elements = np.zeros(plan.arena, bool)
    for name, (first, end) in spans.items():
        if first <= time <= end:
            elements[plan.places[name] : plan.places[name] + plan.size(name)] = True
    return elements


def _homes(plan, spans):
    """{value: (the value that it lies in, its first element there)}: in a concatenation, or, where the last one to read
    a value makes another of the same size element by element, in that one."""
    home = {}
    for time, op in reversed(list(enumerate(plan.operations))):
        root, offset = home.setdefault(op.output, (op.output, 0))
        if op.kind == "concat":
            for name in op.inputs:
                home[name] = root, offset
                offset += plan.size(name)
        for name in op.element_wise:
            if spans[name][1] == time and name not in home:
                home[name] = root, offset
                break
    return {"input": ("input", 0)} | home


def _fit(taken, order):
    """Elements of an arena, and {value: its first one}, if values take the lowest free place in this order.
    taken : {value: [(first element, elements, first time, last time) of every part]}"""
    places, placed = {}, []
    for name in order:
        pairs = [(own, other) for own in taken[name] for other in placed if own[2] <= other[3] and other[2] <= own[3]]
        ends = sorted({0, *(max(0, other[0] + other[1] - own[0]) for own, other in pairs)})
        free = (
            place
            for place in ends
            if all(place + own[0] >= other[0] + other[1] or place + own[0] + own[1] <= other[0] for own, other in pairs)
        )
        places[name] = next(free)
        placed += [(places[name] + first, *rest) for first, *rest in taken[name]]
    return max(first + elements for first, elements, *_ in placed), places
