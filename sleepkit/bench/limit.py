"""The machine's own limit: how fast it multiplies matrices."""

import time

import numpy as np
import torch

from sleepkit.execution.precision import PRECISIONS, multiplies_bfloat16

SIZE, TIMES = 1024, 5
LOSSES = {"float32": 1e-4, "bfloat16": 2e-2}  # by what share losses may differ; bfloat16 has 8 bits


def precisions():
    """Those to measure: bfloat16 only where "auto" takes it."""
    return [name for name in PRECISIONS if name == "float32" or multiplies_bfloat16()]


def matrix_product(precision, device="cpu"):
    """Multiply-accumulates a second, in billions, of square matrices of SIZE; median of TIMES."""
    a = torch.rand(SIZE, SIZE, dtype=PRECISIONS[precision], device=device)
    seconds = []
    for _ in range(TIMES + 1):
        started = time.perf_counter()
        float((a @ a)[0, 0])  # as a number: a GPU is done
        seconds.append(time.perf_counter() - started)
    return SIZE**3 / np.median(seconds[1:]) / 1e9


def require_same(losses, way, precision):
    """AssertionError where the loss of a way differs from that of the plain one by more than its precision allows."""
    difference = abs(losses[way] / losses["plain"] - 1)
    assert difference < LOSSES[precision], f"the ways differ in their losses by {difference:.1e}: {losses}"
