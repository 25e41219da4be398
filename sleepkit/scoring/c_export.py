"""A saved network as C for a microcontroller, compiled with `cc` and compared with what it was made from."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from sleepkit.evaluation.protocols import Normalisation
from sleepkit.evaluation.training import predict_logits
from sleepkit.results import checks
from sleepkit.scoring.c_source import write_c
from sleepkit.scoring.model import read_context
from sleepkit.scoring.onnx_export import COMPARED, POINTS, calibration_and_test, load_exportable

TOLERANCE = 1e-4  # of a logit in C against PyTorch
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-pedantic", "-Werror")


def export(model, folder, nights=None):
    """Write a saved network to `folder` as NAME.c and NAME.h and, with nights, NAME_int8.c and .h; returns the checks.

    model : path of a saved network without its ending;  nights : as those of an export to ONNX
    returns a data frame: claim, expected, measured, holds. What is compiled is left out where there is no `cc`"""
    net, about, name = load_exportable(model)
    scale, context = Normalisation(**about["normalisation"]), read_context(about.get("context"))
    path, parts = Path(folder) / name, (about["samples"], scale, about["fs"], context)
    claims, plan = [], write_c(net, path, *parts)
    memory = "{}.c: arena of {:,} bytes, of which {:,} are in use at once"
    print(memory.format(path.name, 4 * plan.arena, 4 * plan.bound))
    noise = np.random.default_rng(0).normal(scale.mean, scale.sd, (8, about["samples"])).astype(np.float32)
    if (found := host_logits(path, noise)) is not None:
        difference = float(np.abs(found - predict_logits(net, scale(noise))).max())
        claim = "C equals PyTorch on noise, difference of a logit", f"at most {TOLERANCE:g}", f"{difference:.1e}"
        claims.append((*claim, difference <= TOLERANCE))
    if nights is not None:
        windows, test = calibration_and_test(nights, about)
        path = path.with_name(f"{path.name}_int8")
        plan = write_c(net, path, *parts, windows)
        print(memory.format(path.name, plan.arena, plan.bound))
        x, y = (part[:: -(-len(test) // COMPARED)] for part in (test.x, test.y))
        if (found := host_logits(path, x)) is not None:
            right = [logits.argmax(1) == y for logits in (found, predict_logits(net, scale(x)))]
            int8, floats = (100 * float(stages.mean()) for stages in right)
            claim = f"int8 stages as well ({len(x):,} epochs): accuracy {int8:.2f} %, float {floats:.2f} %"
            lost = f"{floats - int8:+.2f} points lost"
            claims.append((claim, f"within {POINTS:g} point", lost, abs(floats - int8) <= POINTS))
    return checks(*claims)


def compile_host(path, folder):
    """`path`.c as a shared library in `folder`, loaded; None where there is no compiler `cc`."""
    if shutil.which("cc") is None:
        return None
    library = Path(folder) / f"{Path(path).name}.so"
    command = ["cc", *FLAGS, "-shared", "-fPIC", f"{path}.c", "-lm", "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ArithmeticError(f"{path}.c: cc does not take it:\n{done.stderr}")
    return ctypes.CDLL(str(library))


def host_logits(path, x):
    """Logits of windows x (n, samples) float32 µV by `path`.c, (n, 5) float32; None where there is no compiler."""
    with tempfile.TemporaryDirectory() as folder:
        library = compile_host(path, folder)
        return None if library is None else run_rows(library.sleepkit_logits, x)


def run_rows(function, x):
    """A C function (const float *row, float made[5]) applied to every row: (n, samples) -> (n, 5)."""
    x, made = np.ascontiguousarray(x, np.float32), np.empty((len(x), 5), np.float32)
    pointer = ctypes.POINTER(ctypes.c_float)
    for row, to in zip(x, made, strict=True):
        function(row.ctypes.data_as(pointer), to.ctypes.data_as(pointer))
    return made
