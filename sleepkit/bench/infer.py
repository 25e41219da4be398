"""What one epoch costs: table 9 of the network that comes with the package, full and pruned, and its ratios."""

from sleepkit.experiments.cost import measure_cost, ratios
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
            f"The machine was busy: this process had a processor {100 * share:.0f} % of the time, so that latencies and "
            "ratios are not its own. Measure again when the machine is idle."
        )
    return cost
