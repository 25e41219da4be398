"""What filter pruning gains: time per epoch of a full and a pruned network, exported in the same way, beside PyTorch.

The networks are the published EDF-20 one at full width and with half of its channels removed; their weights are
random, which the time does not depend on.
"""

import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from sleepkit.experiments.startup import noise, scorer
from sleepkit.network.saved import save_network
from sleepkit.network.size import count_parameters
from sleepkit.network.sleepnet import SleepNet
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.filters import prune_filters

TARGET, TARGET_SAMPLES = 0.6, 3000  # time of the pruned network as a share of the full one's, in onnxruntime
RUNTIMES = ("onnx", "pytorch")
WARM = 2  # calls before each timed one: another network has just been in the caches


def run(cells=(7, 9, 11), samples=(3000, 500), repeats=60, ratio=0.5):
    """Print and return the comparison, one row per depth, length and runtime: median milliseconds of `repeats` calls
    at batch 1 on one thread, full and pruned, and their ratio.

    Full and pruned network take turns, so that what else the machine does meets both.
    """
    threads = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as folder:
            table = pd.concat([_measure(depth, samples, repeats, ratio, Path(folder)) for depth in cells])
    finally:
        torch.set_num_threads(threads)
    print(f"One epoch, batch 1, one thread, {ratio:.0%} of the channels removed; median of {repeats} calls in turns.")
    print(table.round({"full_ms": 2, "pruned_ms": 2, "ratio": 3}).to_string(index=False))
    for row in table[(table.runtime == "onnx") & (table.samples == TARGET_SAMPLES)].itertuples():
        word = "reached" if row.ratio <= TARGET else "missed"
        print(f"L = {row.cells}, {row.samples} samples, onnxruntime: {row.ratio:.2f} (target {TARGET}): {word}")
    return table.reset_index(drop=True)


def _measure(cells, samples, repeats, ratio, folder):
    scorers, parameters = {}, {}
    for name, net in _networks(cells, ratio).items():
        parameters[name] = count_parameters(net)
        for runtime, file in _files(net, folder / f"{name}{cells}", samples[0]).items():
            scorers[name, runtime] = scorer(runtime, file)
    rows = []
    for length in samples:
        for runtime in RUNTIMES:
            pair = {name: score for (name, with_), score in scorers.items() if with_ == runtime}
            seconds = _take_turns(pair, noise(length), repeats)
            full, pruned = (1000 * statistics.median(seconds[name]) for name in ("full", "pruned"))
            facts = {"cells": cells, "parameters": f"{parameters['full']:,} > {parameters['pruned']:,}"}
            facts |= {"samples": length, "runtime": runtime}
            rows.append(facts | {"full_ms": full, "pruned_ms": pruned, "ratio": pruned / full})
    return pd.DataFrame(rows)


def _networks(cells, ratio):
    torch.manual_seed(0)
    full = SleepNet(published_genotype("edf20"), 8, cells).eval()
    return {"full": full, "pruned": prune_filters(full, ratio)}


def _files(net, path, samples):
    from sleepkit.scoring.onnx_export import export_onnx

    save_network(net, path, {})
    onnx = path.with_name(f"{path.name}.onnx")
    export_onnx(net, onnx, samples)
    return {"onnx": onnx, "pytorch": path}


def _take_turns(scorers, x, repeats):
    """Seconds of single calls: {key: list of `repeats`}."""
    seconds = {key: [] for key in scorers}
    for _ in range(repeats):
        for key, score in scorers.items():
            for _ in range(WARM):
                score(x)
            start = time.thread_time()  # on one thread the same as by the clock, but for what other processes take
            score(x)
            seconds[key].append(time.thread_time() - start)
    return seconds
