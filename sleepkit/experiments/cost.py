"""What a network costs: parameters and multiply-accumulates, file size, latency, memory, start-up."""

import platform
import re
import tempfile
import time
import timeit
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sleepkit.experiments.startup import measure_startup, noise, scorer
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_macs, count_parameters
from sleepkit.results import COLUMNS

RUNTIMES = {"pytorch": "pytorch", "onnx": "onnx", "int8": "onnx"}  # and what runs each
RUN = 5  # calls in a row: the first of a run finds another network's numbers in the caches and is not counted


def measure_cost(networks, samples=(500, 3000), repeats=200):
    """Cost of one epoch on one thread of the processor, in PyTorch, in onnxruntime and in int8.

    networks : dict name -> saved network (path without ending), {"full": ..., "pruned": ...}
    samples : lengths of an epoch;  repeats : timed calls of each network, runtime and length
    returns a data frame with the columns of cost.csv, a row per network, runtime and length: `macs` of the network in
        PyTorch, `median_ms` and `p95_ms` per epoch at batch 1, `peak_mb` of a fresh process that scores epochs,
        `startup_s` from the start of that process to its first scored epoch, `epochs_per_s` = 1000 / median_ms.
        `attrs["processor_share"]`, the part of the time of the calls in which this process had a processor, is well
        below 1 where the machine was busy, and the latencies say more about that
    All take turns, so that what else the machine does meets all. Raises ValueError for what is no saved network."""
    rows, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            loaded = [part for name, path in networks.items() for part in _files(name, path, Path(folder))]
            startup = {part[:2]: measure_startup(RUNTIMES[part[1]], part[2], samples) for part in loaded}
            seconds, share = _latencies(loaded, samples, repeats)
            sizes = {(name, runtime): _bytes(file) for name, runtime, file in loaded}
    finally:
        torch.set_num_threads(threads)
    nets = {name: load_network(path)[0] for name, path in networks.items()}
    macs = {(name, length): count_macs(nets[name], length) for name, length in product(networks, samples)}
    for name, length, runtime in product(networks, samples, RUNTIMES):
        start, peaks = startup[name, runtime]
        median, p95 = np.quantile(seconds[name, runtime, length], [0.5, 0.95]) * 1000
        row = {"network": name, "runtime": runtime, "samples": length, "params": count_parameters(nets[name])}
        row |= {"macs": macs[name, length], "file_bytes": sizes[name, runtime], "median_ms": median, "p95_ms": p95}
        rows.append(row | {"peak_mb": peaks[length], "startup_s": start, "epochs_per_s": 1000 / median})
    frame = pd.DataFrame(rows)[COLUMNS["cost.csv"]]
    frame.attrs["processor_share"] = share
    return frame


def processor():
    """The name of this machine's processor; where Linux does not tell it, its kind."""
    known = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)", known.read_text(), re.MULTILINE) if known.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def _files(name, path, folder):
    """[(network, runtime, what it loads)]; the network takes normalised input, as it does in PyTorch."""
    from sleepkit.scoring import onnx_export  # here, so that to count multiplications takes torch alone

    net, description = load_network(path)
    floats, integers, length = folder / f"{name}.onnx", folder / f"{name}.int8.onnx", description.get("samples", 500)
    onnx_export.export_onnx(net, floats, length)
    # Calibrated on noise: its cost, other than its accuracy, does not depend on that.
    onnx_export.quantise(net, integers, length, np.random.default_rng(0).uniform(-1, 1, (8, length)))
    return list(zip((name,) * 3, RUNTIMES, (Path(path), floats, integers), strict=True))


def _bytes(file):
    """Size of what a runtime loads; a saved network is two files."""
    pair = [file.with_name(file.name + ending) for ending in (".safetensors", ".json")]
    return sum(part.stat().st_size for part in ([file] if file.suffix == ".onnx" else pair))


def _latencies(loaded, samples, repeats):
    """Seconds of single calls, {(network, runtime, samples): (about repeats,) array}, and the share of that time in
    which this process had a processor. loaded : (network, runtime, file)"""
    calls = {}
    for (name, runtime, file), length in product(loaded, samples):
        calls[name, runtime, length] = partial(scorer(RUNTIMES[runtime], file), noise(length))
    seconds, start, used = {key: [] for key in calls}, time.perf_counter(), time.thread_time()
    for _ in range(-(-repeats // (RUN - 1))):
        for key, call in calls.items():
            seconds[key] += timeit.repeat(call, number=1, repeat=RUN)[1:]
    share = (time.thread_time() - used) / (time.perf_counter() - start)
    return {key: np.array(values) for key, values in seconds.items()}, share
