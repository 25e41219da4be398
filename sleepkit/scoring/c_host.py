"""Exported C on this computer: compiled with `cc` and called from Python, to compare it with what it was made from."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-pedantic", "-Werror")


def compile_host(path, folder, flags=()):
    """`path`.c as a shared library in `folder`, loaded; None where there is no compiler `cc`."""
    if shutil.which("cc") is None:
        return None
    library = Path(folder) / f"{Path(path).name}.so"
    command = ["cc", *FLAGS, *flags, "-shared", "-fPIC", f"{path}.c", "-lm", "-o", str(library)]
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
