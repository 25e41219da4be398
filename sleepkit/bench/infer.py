"""What one epoch costs: table 9 of the network that comes with the package, full and pruned, and its ratios."""

import pandas as pd

from sleepkit.experiments.cost import measure_cost
from sleepkit.paper.tables import table_cost
from sleepkit.scoring.model import DEFAULT

NETWORKS = {"full": DEFAULT, "pruned": DEFAULT.with_name(f"{DEFAULT.name}_pruned")}
IDLE = 0.9  # share of the time with a processor, from which on latencies are the networks' own


def run(networks=None, samples=(500, 3000), repeats=200):
    """Print table 9 and the ratios with their targets; returns the cost as sleepkit.experiments.cost.measure_cost does.

    networks : saved networks, {"full": ..., "pruned": ...}; None are those of the package
    """
    cost = measure_cost(NETWORKS if networks is None else networks, samples, repeats)
    print("One epoch at a time, one CPU thread; all measured in turns, in one run.")
    print(table_cost(cost).round(2).to_string(index=False))
    for row in ratios(cost).itertuples():
        verdict = "" if row.met is None else f" (target {row.target}): {'reached' if row.met else 'missed'}"
        print(f"{row.ratio}, {row.samples} samples: {row.measured:.2f}{verdict}")
    share = cost.attrs["processor_share"]
    if share < IDLE:
        print(
            f"The machine was busy: this process had a processor {100 * share:.0f} % of the time, so latencies and "
            "ratios are not its own. Measure again when the machine is idle."
        )
    return cost


def ratios(cost):
    """The ratios of a cost data frame, of networks full and pruned, that have a target, and whether they meet it.

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
