"""What a network costs: parameters and multiply-accumulates, file size, latency, memory, start-up."""

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sleepkit.experiments.startup import measure_startup, noise, scorer
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_macs, count_parameters
from sleepkit.results import COLUMNS

RUNTIMES = ("pytorch", "onnx", "int8")
RUN = 5  # calls in a row: the first of a run finds another network's numbers in the caches and is not counted


def measure_cost(networks, samples=(500, 3000), repeats=200):
    """Cost of one epoch on one thread of the processor, in PyTorch, in onnxruntime and in int8.

    networks : dict name -> saved network (path without ending), {"full": ..., "pruned": ...}
    samples : lengths of an epoch;  repeats : timed calls of each network, runtime and length
    returns a data frame with the columns of cost.csv, a row per network, runtime and length: `macs` of the network in PyTorch,
        `median_ms` and `p95_ms` per epoch at batch 1, `peak_mb` of a fresh process that scores epochs, `startup_s`
        from the start of that process to its first scored epoch, `epochs_per_s` = 1000 / median_ms
    All take turns in one process, a few calls each, so that what else the machine does meets all of them. int8 is
    calibrated on noise here: its cost does not depend on the calibration, as its accuracy does (sleepkit.scoring.onnx_export).
    `attrs["processor_share"]` of the frame is the part of the time of these calls in which the process had a processor:
    well below 1 the machine was busy with something else, and the latencies say more about that.
    Raises ValueError for a file that is no saved network.
    """
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        files = {name: _files(name, path, Path(folder)) for name, path in networks.items()}
        startup = {
            (name, runtime): measure_startup(_engine(runtime), file, samples)
            for name in networks
            for runtime, file in files[name].items()
        }
        seconds, processor_share = _latencies(files, samples, repeats)
        rows = []
        for name, path in networks.items():
            net, _ = load_network(path)
            for length in samples:
                size = {"samples": length, "params": count_parameters(net), "macs": count_macs(net, length)}
                for runtime, file in files[name].items():
                    start, peaks = startup[name, runtime]
                    measured = {"file_bytes": _bytes(file), "peak_mb": peaks[length], "startup_s": start}
                    median, p95 = np.quantile(seconds[name, runtime, length], [0.5, 0.95]) * 1000
                    measured |= {"median_ms": median, "p95_ms": p95, "epochs_per_s": 1000 / median}
                    rows.append({"network": name, "runtime": runtime} | size | measured)
    frame = pd.DataFrame(rows)[COLUMNS["cost.csv"]]
    frame.attrs["processor_share"] = processor_share
    return frame


def ratios(cost):
    """The ratios of a cost data frame that have a target, and whether they meet it.

    cost : as measure_cost returns it, with networks full and pruned
    returns a data frame (samples, ratio, target, measured, met): the latency of pruned to full in onnxruntime, which
        has a target at 3000 samples, and of PyTorch to onnxruntime
    """
    median = cost.set_index(["network", "runtime", "samples"]).median_ms
    rows = []
    for length in sorted(cost.samples.unique()):
        share = median["pruned", "onnx", length] / median["full", "onnx", length]
        target, met = ("at most 0.6", share <= 0.6) if length == 3000 else ("", None)
        rows.append((length, "pruned / full, both ONNX", target, share, met))
        for name in ("full", "pruned"):
            gain = median[name, "pytorch", length] / median[name, "onnx", length]
            rows.append((length, f"PyTorch / ONNX, {name}", "at least 2", gain, gain >= 2))
    return pd.DataFrame(rows, columns=["samples", "ratio", "target", "measured", "met"])


def _files(name, path, folder):
    """What each runtime loads; the network takes normalised input, as it does in PyTorch."""
    from sleepkit.scoring.onnx_export import (  # here, so that to count multiplications takes torch alone
        export_onnx,
        quantise,
    )

    net, description = load_network(path)
    onnx, int8 = folder / f"{name}.onnx", folder / f"{name}.int8.onnx"
    length = description.get("samples", 500)
    export_onnx(net, onnx, length)
    quantise(net, int8, length, np.random.default_rng(0).uniform(-1, 1, (8, length)))
    return {"pytorch": Path(path), "onnx": onnx, "int8": int8}


def _engine(runtime):
    return "pytorch" if runtime == "pytorch" else "onnx"


def _bytes(file):
    """Size of what a runtime loads; a saved network is two files."""
    pair = [file.with_name(file.name + ending) for ending in (".safetensors", ".json")]
    return file.stat().st_size if file.suffix == ".onnx" else sum(part.stat().st_size for part in pair)


def _latencies(files, samples, repeats):
    """Seconds of single calls, {(network, runtime, samples): (about repeats,) array}, and the share of all that time in
    which this process had a processor."""
    calls = {
        (name, runtime, length): (scorer(_engine(runtime), file), noise(length))
        for name, runtimes in files.items()
        for runtime, file in runtimes.items()
        for length in samples
    }
    seconds = {key: [] for key in calls}
    start, used = time.perf_counter(), time.thread_time()
    for _ in range(-(-repeats // (RUN - 1))):
        for key, (score, x) in calls.items():
            ends = [_timed(score, x) for _ in range(RUN)]
            seconds[key] += ends[1:]
    share = (time.thread_time() - used) / (time.perf_counter() - start)
    return {key: np.array(values) for key, values in seconds.items()}, share


def _timed(score, x):
    start = time.perf_counter()
    score(x)
    return time.perf_counter() - start


@contextmanager
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
