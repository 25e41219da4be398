"""Figures 12, 13, 16 and 17: which filters leave, whether it matters which, how confident and costly the rest is."""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sleepkit.paper.figures.style import FAINT, FULL, INK, PAGE, PRUNED, add_note, new_figure, styled
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
FEW = 0.01  # of all epochs: a bin of fewer says little
RUNTIMES = {"pytorch": "PyTorch", "onnx": "ONNX", "int8": "ONNX, int8"}


@styled
def plot_importance(scores, note=""):
    """Importance of every filter by layer, removed ones to the left of those that stay, and the layer's threshold.

    scores : data frame layer, importance, kept, in the order of the layers
    As many of a layer's filters lie above its threshold as stay. Some stand on the other side, because channels that
    are added up leave together, by the mean importance of all filters tied to them."""
    depthwise = scores.layer.str.endswith("depthwise")
    parts = ("a", "filters of full convolutions", scores[~depthwise]), ("b", "depthwise filters", scores[depthwise])
    figure = new_figure(PAGE, 4.7)
    axes = figure.subplots(2, 1)
    for ax, (letter, kind, rows) in zip(axes, parts, strict=True):
        draw_importance(ax, rows)
        ax.set_title(f"{letter}  {rows.kept.sum():,} of {len(rows):,} {kind} stay, in {rows.layer.nunique()} layers")
    axes[1].set_xlabel("layers, by the cell that they are in")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, columnspacing=1.6)
    return add_note(figure, note)


def draw_importance(ax, rows):
    """Filters of filters.csv into `ax`, a column a layer."""
    place, layers = pd.factorize(rows.layer)
    look = {"s": 5, "linewidth": 0.7, "rasterized": len(rows) >= 500}  # so many marks make the SVG large
    for kept, word, marker, side, colour in ((False, "removed", "x", -0.2, "#8C8C8C"), (True, "stays", "o", 0.2, FULL)):
        chosen = (rows.kept == kept).to_numpy()
        ax.scatter(place[chosen] + side, rows.importance[chosen], marker=marker, color=colour, label=word, **look)
    x, stay = np.arange(len(layers)), rows.kept.groupby(place).sum()
    falling = [np.sort(values)[::-1] for _, values in rows.importance.groupby(place)]
    thresholds = [values[max(n - 1, 0) : n + 1].mean() for values, n in zip(falling, stay, strict=True)]
    ax.hlines(thresholds, x - 0.5, x + 0.5, color=INK, linewidth=0.9, label="threshold of the layer")
    cells = pd.Series(layers).str.extract(r"^cells\.(\d+)")[0].fillna("stem").to_numpy()
    ends = np.flatnonzero(cells[1:] != cells[:-1]) + 0.5
    ax.vlines(ends, 0, 1, color=FAINT, linewidth=0.6, zorder=0)
    middles = [x[cells == cell].mean() for cell in dict.fromkeys(cells)]
    ax.set_xticks(middles, [cell if cell == "stem" else f"cell {cell}" for cell in dict.fromkeys(cells)])
    ax.tick_params(axis="x", length=0)
    ax.set(xlim=(-0.6, len(layers) - 0.4), ylim=(-0.03, 1.03), ylabel="importance")


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
    Bars are what a bin's predictions achieve, dots stand at their mean confidence, both faint in a bin of less than 1 %
    of the epochs; the strip below counts them."""
    figure = new_figure(PAGE, 3.1)
    figure.get_layout_engine().set(wspace=0.05)
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
    return add_note(figure, f"{note} Faint: bins of less than {100 * FEW:g} % of the epochs.")


def draw_reliability(upper, lower, rows, colour):
    """One network's bins: accuracy in `upper` against the diagonal, their share of all epochs in `lower`."""
    upper.plot((0, 1), (0, 1), color="#888888", linewidth=0.7, linestyle=(0, (3, 1.5)), zorder=1)
    for few, bar, dot in ((False, 0.35, 1), (True, 0.12, 0.3)):
        shown = rows[(rows.n > 0) & ((rows.n < FEW * rows.n.sum()) == few)]
        look = {"width": shown.high - shown.low, "align": "edge", "color": colour, "edgecolor": "white"}
        upper.bar(shown.low, shown.accuracy, alpha=bar, zorder=2, **look)
        upper.plot(shown.confidence, shown.accuracy, "o", color=colour, markersize=3, zorder=3, alpha=dot, mew=0)
        lower.bar(shown.low, shown.n / max(rows.n.sum(), 1), **look)
    upper.set(xlim=(0, 1), ylim=(0, 1), yticks=np.linspace(0, 1, 5))
    upper.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))


@styled
def plot_latency(cost, note=""):
    """Latency on a logarithmic scale and file size, a row per network and runtime.

    cost : data frame as cost.csv; its lengths of an epoch have markers of their own"""
    kinds = {"runtime": pd.Categorical(cost.runtime, RUNTIMES), "network": pd.Categorical(cost.network, NETWORKS)}
    rows = cost.assign(**kinds).sort_values(["runtime", "network", "samples"])
    groups = [(names, group) for names, group in rows.groupby(["runtime", "network"], observed=True)]
    places = [place + 0.4 * list(RUNTIMES).index(runtime) for place, ((runtime, _), _) in enumerate(groups)]
    lengths = sorted(cost.samples.unique())
    step = 0.17 if len(lengths) > 1 else 0
    figure = new_figure(PAGE, 0.36 * len(groups) + 1.15)
    latency, size = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    for place, ((_, network), group) in zip(places, groups, strict=True):
        for row in group.itertuples():
            at = place + step * (2 * lengths.index(row.samples) - len(lengths) + 1)
            latency.hlines(at, row.median_ms, row.p95_ms, color=NETWORKS[network], linewidth=0.9)
            latency.plot(row.median_ms, at, "os^Dv"[lengths.index(row.samples)], color=NETWORKS[network], markersize=4)
            latency.text(1.06 * row.p95_ms, at, f" {row.median_ms:.2f}", va="center_baseline", fontsize=7)
        kilobytes = group.file_bytes.iloc[0] / 1e3
        size.barh(place, kilobytes, 0.7, color=NETWORKS[network])
        size.text(kilobytes, place, f" {kilobytes:,.0f}", va="center_baseline", fontsize=7)
    latency.set(title="a  Latency on one thread", xlabel="ms per epoch, line from median to 95th percentile")
    latency.set(xscale="log", xlim=(cost.median_ms.min() / 1.4, 2.2 * cost.p95_ms.max()))
    latency.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    latency.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    latency.xaxis.set_minor_locator(NullLocator())
    latency.grid(axis="x", linewidth=0.3, color="#E4E4E4")
    latency.set_yticks(places, [f"{network}, {RUNTIMES[runtime]}" for (runtime, network), _ in groups])
    latency.set_ylim(max(places) + 0.6, -0.6)
    size.set(title="b  Size", xlabel="file, kB", xlim=(0, 1.2 * cost.file_bytes.max() / 1e3))
    look = {"linestyle": "", "color": INK, "markersize": 4}
    marks = [Line2D([], [], marker="os^Dv"[i], label=f"epoch of {n:,} samples", **look) for i, n in enumerate(lengths)]
    figure.legend(handles=marks, loc="outside upper left", ncols=len(marks))
    return add_note(figure, note)
