"""Figure 17: what one epoch costs on one CPU thread."""

import pandas as pd

from sleepkit.paper.figures.style import FULL, INK, PAGE, PRUNED, add_note, new_figure, styled

NETWORKS = {"full": FULL, "pruned": PRUNED}
RUNTIMES = {"pytorch": "PyTorch", "onnx": "ONNX", "int8": "ONNX, int8"}
QUANTITIES = (  # column, its unit in the figure's, title, label, decimals
    ("median_ms", 1, "Latency", "ms per epoch, line to 95th pct.", 2),
    ("file_bytes", 1e3, "Size", "file, kB", 0),
    ("peak_mb", 1, "Memory", "peak of the process, MB", 0),
)


@styled
def plot_latency(cost, note=""):
    """Latency, file size and peak memory, a bar per network and runtime, a row of panels per length of an epoch.

    cost : data frame as cost.csv: network (full, pruned), runtime (pytorch, onnx, int8), samples, median_ms, p95_ms,
        file_bytes, peak_mb
    returns a matplotlib figure at page width
    """
    kinds = {"runtime": pd.Categorical(cost.runtime, RUNTIMES), "network": pd.Categorical(cost.network, NETWORKS)}
    lengths = list(cost.assign(**kinds).sort_values(["samples", "runtime", "network"]).groupby("samples"))
    bars = max(len(rows) for _, rows in lengths)
    figure = new_figure(PAGE, (0.24 * bars + 0.75) * len(lengths) + 0.3)
    axes = figure.subplots(len(lengths), len(QUANTITIES), sharey="row", squeeze=False)
    for line, (samples, rows) in zip(axes, lengths, strict=True):
        for ax, quantity in zip(line, QUANTITIES, strict=True):
            draw_bars(ax, rows, *quantity)
        line[0].set_title(f"{QUANTITIES[0][2]}, {samples:,} samples")
    for ax, letter in zip(axes.flat, "abcdefghijkl", strict=False):
        ax.set_title(f"{letter}  {ax.get_title(loc='left')}")
    add_note(figure, note)
    return figure


def draw_bars(ax, rows, column, unit, title, label, decimals):
    """One quantity of every row of cost.csv into `ax`, from top to bottom, with its number."""
    places = [-place - 0.35 * group for place, group in enumerate(rows.runtime.cat.codes)]
    values = rows[column] / unit
    ends = rows.p95_ms if column == "median_ms" else values
    ax.barh(places, values, 0.72, color=[NETWORKS[network] for network in rows.network])
    if column == "median_ms":
        ax.hlines(places, values, ends, color=INK, linewidth=0.8)
    for place, value, end in zip(places, values, ends, strict=True):
        ax.text(end, place, f" {value:,.{decimals}f}", va="center_baseline", fontsize=7)
    ax.set(title=title, xlabel=label, xlim=(0, 1.25 * ends.max()))
    ax.set_yticks(places, [f"{row.network}, {RUNTIMES[row.runtime]}" for row in rows.itertuples()])
