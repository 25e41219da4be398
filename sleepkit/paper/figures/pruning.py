"""Figures 12, 13, 16 and 17: which filters leave, whether it matters which, how confident and costly the rest is."""

from itertools import product

import numpy as np
import pandas as pd

from sleepkit.paper.figures.style import FAINT, FULL, INK, PAGE, PRUNED, VALID, add_note, new_figure, styled
from sleepkit.pruning.methods import METHODS

NETWORKS = {"full": FULL, "pruned": PRUNED}
LOOKS = {  # of METHODS: colour, marker, line
    "importance": ("#2A6F97", "o", "-"),
    "distilled": ("#3C8D6E", "P", (0, (6, 1.2, 1.2, 1.2))),
    "ensemble": ("#153E75", "X", (0, (2, 1))),
    "l1": ("#E39B3A", "s", (0, (4, 1.2))),
    "random": ("#8A4FA3", "^", (0, (1.2, 1))),
    "scratch": ("#C2553A", "v", (0, (6, 1.5))),
    "released": ("#6B6B6B", "D", (0, (4, 1, 1, 1))),
}
SCORES = (("acc", "accuracy, %"), ("mf1", "macro-F1, %"))
SHIFT = 0.35  # percent of the axis between the methods' marks at one ratio, so that no bar hides another
RUNTIMES = {"pytorch": "PyTorch", "onnx": "ONNX", "int8": "ONNX, int8"}
QUANTITIES = (  # column, its unit in the figure's, title, label, decimals
    ("median_ms", 1, "Latency", "ms per epoch, line to 95th pct.", 2),
    ("file_bytes", 1e3, "Size", "file, kB", 0),
    ("peak_mb", 1, "Memory", "peak of the process, MB", 0),
)


@styled
def plot_importance(scores, note=""):
    """Capacity against independence of every filter, kept and removed, full convolutions beside depthwise ones.

    scores : data frame layer, capacity (bit), independence, kept"""
    figure = new_figure(PAGE, 2.9)
    depthwise = scores.layer.str.endswith("depthwise")
    parts = (("a", "full convolutions", scores[~depthwise]), ("b", "depthwise filters", scores[depthwise]))
    for ax, (letter, kind, rows) in zip(figure.subplots(1, 2), parts, strict=True):
        many = len(rows) >= 500  # marks that would make the SVG large
        look = {"s": 5 if many else 12, "linewidth": 0.8, "rasterized": many}
        for kept, word, colour, marker in ((False, "removed", FAINT, "x"), (True, "kept", VALID, "o")):
            group = rows[rows.kept == kept]
            label = f"{word}, {len(group)}"
            ax.scatter(group.capacity, group.independence, marker=marker, color=colour, label=label, **look)
        ax.set_title(f"{letter}  {len(rows)} {kind} in {rows.layer.nunique()} layers")
        ax.set(xlabel="information capacity, bit", ylabel="independence")
        ax.legend()
    return add_note(figure, note)


@styled
def plot_sweep(sweep, note=""):
    """Accuracy and macro-F1 against the share of filters removed, mean and sd over seeds, a line per method.

    sweep : data frame as sweep.csv: method (of METHODS), ratio (0 to 0.9), seed, acc, mf1, n"""
    if unknown := sorted(set(sweep.method) - set(METHODS)):
        raise ValueError(f"sweep.csv: unknown method {', '.join(unknown)}; known are {', '.join(METHODS)}")
    shown = [method for method in METHODS if method in set(sweep.method)]
    figure = new_figure(PAGE, 3.3)
    axes = figure.subplots(1, 2)
    for ax, letter, (score, label) in zip(axes, "ab", SCORES, strict=True):
        for place, method in enumerate(shown):
            colour, marker, line = LOOKS[method]
            over_seeds = sweep[sweep.method == method].groupby("ratio")[score]
            mean, sd = 100 * over_seeds.mean(), 100 * over_seeds.std(ddof=1).fillna(0)
            x = 100 * mean.index + SHIFT * (place - (len(shown) - 1) / 2)
            look = {"color": colour, "marker": marker, "linestyle": line, "linewidth": 1.1, "elinewidth": 0.7}
            ax.errorbar(x, mean, sd, capsize=1.5, capthick=0.7, label=METHODS[method].title, **look)
        title = f"{letter}  {label[0].upper()}{label[1:].split(',')[0]}"
        ax.set(title=title, xlabel="filters removed, %", ylabel=label, xticks=sorted(100 * sweep.ratio.unique()))
        ax.grid(axis="y", linewidth=0.3, color="#E4E4E4")
    seeds = sweep.seed.nunique()
    bars = f"bars: ± 1 sd over {seeds} seeds" if seeds > 1 else "one seed"
    look = {"title": f"{bars}; scored on {sweep.n.iloc[0]:,} test epochs", "alignment": "left", "ncols": 2}
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", **look)
    return add_note(figure, note)


@styled
def plot_calibration(calibration, note=""):
    """Reliability diagrams: accuracy against confidence of the top label, before and after pruning, before and after
    temperature scaling.

    calibration : data frame as calibration.csv; ece and temperature are the same in all rows of a network
    Bars are what a bin's predictions achieve, dots stand at their mean confidence; the strip below counts them."""
    figure = new_figure(PAGE, 3.0)
    axes = figure.subplots(2, 2 * len(NETWORKS), sharex=True, sharey="row", height_ratios=(3.2, 1))
    for (upper, lower), letter, (network, scaled) in zip(axes.T, "abcd", product(NETWORKS, (0, 1)), strict=True):
        rows = calibration[(calibration.network == network) & (calibration.temperature_scaled == scaled)]
        draw_reliability(upper, lower, rows, NETWORKS[network])
        state = f"T = {rows.temperature.iloc[0]:.2f}" if scaled and len(rows) else "as trained"
        error = f", ECE {100 * rows.ece.iloc[0]:.1f} %" if len(rows) else ""
        upper.set_title(f"{letter}  {network.capitalize()} network\n{state}{error}", linespacing=1.3)
        lower.set_xlabel("confidence")
    axes[0, 0].set_ylabel("accuracy")
    n = calibration.groupby(["network", "temperature_scaled"]).n.sum().max()
    axes[1, 0].set_ylabel(f"share of\n{n:,} epochs")
    figure.align_ylabels(axes[:, 0])
    return add_note(figure, note)


def draw_reliability(upper, lower, rows, colour):
    """One network's bins: accuracy in `upper` against the diagonal, their share of all epochs in `lower`."""
    upper.plot((0, 1), (0, 1), color="#888888", linewidth=0.7, linestyle=(0, (3, 1.5)), zorder=1)
    filled = rows[rows.n > 0]
    look = {"width": filled.high - filled.low, "align": "edge", "color": colour, "edgecolor": "white"}
    upper.bar(filled.low, filled.accuracy, alpha=0.35, zorder=2, **look)
    upper.plot(filled.confidence, filled.accuracy, "o", color=colour, markersize=3, zorder=3)
    lower.bar(filled.low, filled.n / max(rows.n.sum(), 1), **look)
    upper.set(xlim=(0, 1), ylim=(0, 1), yticks=np.linspace(0, 1, 5))
    upper.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))


@styled
def plot_latency(cost, note=""):
    """Latency, file size and peak memory, a bar per network and runtime, a row of panels per length of an epoch.

    cost : data frame as cost.csv"""
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
    return add_note(figure, note)


def draw_bars(ax, rows, column, unit, title, label, decimals):
    """One quantity of every row of cost.csv into `ax`, from top to bottom, with its number."""
    places = [-place - 0.35 * group for place, group in enumerate(rows.runtime.cat.codes)]
    values = ends = rows[column] / unit
    ax.barh(places, values, 0.72, color=[NETWORKS[network] for network in rows.network])
    if column == "median_ms":
        ends = rows.p95_ms
        ax.hlines(places, values, ends, color=INK, linewidth=0.8)
    for place, value, end in zip(places, values, ends, strict=True):
        ax.text(end, place, f" {value:,.{decimals}f}", va="center_baseline", fontsize=7)
    ax.set(title=title, xlabel=label, xlim=(0, 1.25 * ends.max()))
    ax.set_yticks(places, [f"{row.network}, {RUNTIMES[row.runtime]}" for row in rows.itertuples()])
