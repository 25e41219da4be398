"""The C of a trained network: one .c and one .h, of floats or of 8-bit integers, without allocation.

What is the same for all networks stands in c_runtime.c and c_runtime.h; written here is what they are filled with: the
layers with their places in the arena, the weights, the normalisation and the context of the past."""

import re
from pathlib import Path

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS
from sleepkit.execution.paths import written
from sleepkit.recordings.quality import AT_RAIL, FLAT, PLAUSIBLE
from sleepkit.scoring.c_integers import SHIFT, Scale, calibrate, in_integers, quantise_weights, scales
from sleepkit.scoring.c_plan import plan_network
from sleepkit.scoring.onnx_graph import network_graph

RUNTIME = Path(__file__).with_name("c_runtime.c")
NUMBERS = 8  # in a line


def write_c(net, path, samples, normalisation, fs=100.0, context=None, windows=None):
    """Write a network as `path`.c and `path`.h and return its Plan.

    net : SleepNet, full or pruned;  samples, normalisation : as `network_graph`; mean and sd in µV are scalars
    context : Context for the forward step, or None;  fs : Hz
    windows : (n, samples) float32 µV that show the ranges of 8-bit integers; None: floats
    Raises ValueError where the windows of an epoch are not of whole seconds"""
    path, count = Path(path), round(EPOCH_SECONDS * fs / samples)
    if abs(count * samples - EPOCH_SECONDS * fs) > 1e-6 or EPOCH_SECONDS % count or samples >= 2**15:
        expected = f"a microcontroller takes windows of whole seconds that fill {EPOCH_SECONDS} s"
        raise ValueError(f"{path}: windows of {samples} samples at {fs:g} Hz; {expected}")
    model = network_graph(net, samples, normalisation, block=1)
    plan = plan_network(model, samples)
    scale = None if windows is None else scales(plan, calibrate(model, windows))
    (defines, arrays), (more, others) = _layers(plan, scale), _ends(plan, scale)
    defines, arrays = defines | more | {"INTEGERS": int(scale is not None)}, arrays + others
    if context is not None:
        arrays += [_array("float", "prior[5]", context.prior), _array("float", "transition[25]", context.transition)]
    defines |= {"CONTEXT": int(context is not None), "FLAT": f"{FLAT}f", "AT_RAIL": f"{AT_RAIL}f"}
    defines |= {"LEAST": f"{PLAUSIBLE[0]}f", "MOST": f"{PLAUSIBLE[1]}f"}
    filled = {"NAME": path.name, "TYPE": "float32" if scale is None else "int8", "HEADER": f"{path.name}.h"}
    filled |= {"FS": repr(float(fs)), "SAMPLES": samples, "WINDOWS": count, "DATA": "\n".join(arrays)}
    filled |= {"BYTES": plan.arena * (4 if scale is None else 1)}
    filled |= {"DEFINES": "\n".join(f"#define {name} {value}" for name, value in defines.items()) + "\n"}
    for ending in (".c", ".h"):
        text = RUNTIME.with_suffix(ending).read_text(encoding="utf-8")
        with written(f"{path}{ending}") as temporary:
            temporary.write_text(re.sub("@([A-Z]+)@", lambda m: str(filled[m[1]]), text), encoding="utf-8")
    return plan


def _layers(plan, scale):
    """Numbers as {name: value} and arrays as C, of the layers; scale : {value: Scale}, or None for floats."""
    rows, weights, biases, factors = [], [], [], []
    for op in (op for op in plan.operations if op.kind != "concat"):
        (channels, length), (filters, _) = plan.shapes[op.inputs[0]], plan.shapes[op.output]
        x, y, r = plan.places[op.inputs[0]], plan.places[op.output], plan.places[op.inputs[1]] if op.inputs[1:] else -1
        taps = 1 if op.weight is None else op.weight.shape[2]
        row = [op.kind.upper(), x, r, y, sum(map(np.size, weights)), sum(map(np.size, biases))]
        row += [channels, filters, length, taps, op.stride, op.padding, op.dilation, op.groups, int(op.relu)]
        made = op if scale is None else in_integers(op, scale)
        row += [] if scale is None else [*made.zeros, *made.factors_of_values]
        if op.kind == "conv":
            weights.append(made.weight)
            biases.append(made.bias)
            factors += [] if scale is None else made.factors
        rows.append(f"    {{{', '.join(map(str, row))}}},\n")
    arrays = [_array("value", "weights[]", np.concatenate([values.ravel() for values in weights]))]
    arrays += [_array("total", "biases[]", np.concatenate(biases))]
    arrays += [_array("int32_t", "factors[]", factors)] if scale else []
    return {"LAYERS": len(rows)}, [*arrays, f"static const layer layers[LAYERS] = {{\n{''.join(rows)}}};\n"]


def _ends(plan, scale):
    """The same of the signal's normalisation, of the classifier, and of the memory."""
    (last, length), (weight, bias), steps = plan.shapes[plan.last], plan.classifier, np.ones(5)
    if scale is not None:
        weight, _, steps = quantise_weights(weight, np.zeros(5), scale[plan.last])
    x, y = (Scale(1.0, 0) if scale is None else scale[name] for name in ("input", plan.last))
    defines = {"SHIFT": SHIFT, "ARENA": plan.arena, "INPUT": plan.places["input"], "LAST": plan.places[plan.last]}
    defines |= {"LARGEST": max(op.weight[0].size for op in plan.operations if op.kind == "conv")}
    defines |= {"INPUT_SCALE": _float(plan.normalisation[0]), "INPUT_SHIFT": _float(plan.normalisation[1])}
    defines |= {"INPUT_STEP": _float(x.step), "INPUT_ZERO": x.zero}
    defines |= {"LAST_CHANNELS": last, "LAST_LENGTH": length, "LAST_ZERO": y.zero}
    arrays = [_array("value", "classifier[]", weight), _array("float", "logit_steps[5]", steps / length)]
    return defines, [*arrays, _array("float", "logit_biases[5]", bias)]


def _array(kind, name, values):
    """A constant array in C."""
    values = np.asarray(values)
    write = _float if values.dtype.kind == "f" else str
    texts = [write(value) for value in values.ravel().tolist()]
    lines = [", ".join(texts[first : first + NUMBERS]) for first in range(0, len(texts), NUMBERS)]
    return "static const {} {} = {{\n    {}\n}};\n".format(kind, name, ",\n    ".join(lines))


def _float(value):
    return f"{np.float32(value):.8e}f"  # nine digits: every float32 is read as it was
