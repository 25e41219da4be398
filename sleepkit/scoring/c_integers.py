"""A planned network in 8-bit integers: per-channel weights, per-tensor values, 32-bit sums, as in Jacob et al. 2018
(doi:10.1109/CVPR.2018.00286, equations 1, 4 and 7). An integer q of a value stands for (q - zero) * step."""

from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime

from sleepkit.scoring.onnx_session import BATCH

LOW, HIGH = -128, 127
SHIFT = 24  # of factors: their fractions have as many bits as those of float32
BIAS_BITS = 22  # of a bias in a sum's 32; a filter whose weights are next to nothing gets no finer step


class Scale(NamedTuple):
    """What the integers of a value stand for."""

    step: float
    zero: int


class Integers(NamedTuple):
    """A layer in integers."""

    zeros: tuple  # of what it reads, of what it adds, of what it makes
    factors_of_values: tuple = (0, 0)  # of the first of two values that it adds, of what it adds
    weight: np.ndarray | None = None  # int8
    bias: np.ndarray | None = None  # int32, of the sum
    factors: tuple = ()  # of the sum, one for each output


def calibrate(model, windows):
    """{value: (smallest, largest)} of a graph's values over windows (n, samples) in µV, as onnxruntime's MinMax."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    named = {value.name: value for value in model.graph.value_info}
    del model.graph.output[:]
    model.graph.output.extend(named.values())
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x, ranges = np.asarray(windows, np.float32)[:, None], {"input": (-1.0, 1.0)}
    for first in range(0, len(x), BATCH):
        for name, found in zip(named, session.run(list(named), {"eeg": x[first : first + BATCH]}), strict=True):
            low, high = ranges.get(name, (0.0, 0.0))  # zero is always among the integers
            ranges[name] = min(low, float(found.min())), max(high, float(found.max()))
    return ranges


def scales(plan, ranges):
    """{value: Scale}. Pools, ReLUs and what is concatenated keep the integers of what they read or lie in."""
    found = {}
    for name in plan.shapes:
        low, high = ranges[name]
        step = (high - low) / (HIGH - LOW) or 1.0
        found[name] = Scale(step, round(LOW - low / step))
    for op in plan.operations:
        if op.kind == "concat":
            found |= {name: found[op.output] for name in op.inputs}
    for op in plan.operations:
        if op.kind in ("relu", "max_pool", "mean_pool"):
            found[op.output] = found[op.inputs[0]]
    return found


def in_integers(op, scale):
    """The Integers of an operation, with {value: Scale}."""
    x, y = scale[op.inputs[0]], scale[op.output]
    other = scale[op.inputs[1]] if op.inputs[1:] else Scale(0.0, 0)
    zeros, added = (x.zero, other.zero, y.zero), fixed_point(other.step / y.step)
    if op.kind == "add":
        return Integers(zeros, (fixed_point(x.step / y.step), added))
    if op.kind != "conv":
        return Integers(zeros)
    weight, bias, steps = quantise_weights(op.weight, op.bias, x)
    return Integers(zeros, (0, added), weight, bias, tuple(fixed_point(step / y.step) for step in steps))


def fixed_point(factor):
    """A ratio of steps as an integer times 2^-SHIFT."""
    if not (found := round(factor * 2**SHIFT)) < 2**31:
        raise ArithmeticError(f"a value has {factor:.0f} times the range of what is made of it: no 8-bit integers")
    return found


def quantise_weights(weight, bias, x):
    """(int8 weight, int32 bias, step of the sum) of filters that read a value of Scale x: their sum of (q - zero)."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    step = np.maximum(np.abs(flat).max(axis=1) / HIGH, np.abs(bias) / (x.step * 2**BIAS_BITS))
    step[step == 0] = 1.0
    rounded = np.rint(flat / step[:, None])
    summed = np.rint(bias / (x.step * step)) - x.zero * rounded.sum(axis=1)
    return rounded.reshape(weight.shape).astype(np.int8), summed.astype(np.int32), x.step * step
