"""Figure 16: whether a network's confidence is deserved."""

import numpy as np

from sleepkit.paper.figures.style import FULL, PAGE, PRUNED, add_note, new_figure, styled

NETWORKS = {"full": ("full network", FULL), "pruned": ("pruned network", PRUNED)}


@styled
def plot_calibration(calibration, note=""):
    """Reliability diagrams: accuracy against confidence of the top label, before and after pruning, before and after
    temperature scaling.

    calibration : data frame as calibration.csv, a row per bin: network (full, pruned), temperature_scaled (0, 1), bin,
        low, high, n, confidence, accuracy; ece and temperature, the same in all rows of a network
    Bars are what a bin's predictions achieve, dots stand at their mean confidence; the strip below counts them.
    returns a matplotlib figure at page width
    """
    figure = new_figure(PAGE, 3.0)
    panels = [(network, scaled) for network in NETWORKS for scaled in (0, 1)]
    axes = figure.subplots(2, len(panels), sharex=True, sharey="row", height_ratios=(3.2, 1))
    for (upper, lower), letter, (network, scaled) in zip(axes.T, "abcd", panels, strict=True):
        rows = calibration[(calibration.network == network) & (calibration.temperature_scaled == scaled)]
        draw_reliability(upper, lower, rows, NETWORKS[network][1])
        state = f"T = {rows.temperature.iloc[0]:.2f}" if scaled and len(rows) else "as trained"
        error = f", ECE {100 * rows.ece.iloc[0]:.1f} %" if len(rows) else ""
        upper.set_title(f"{letter}  {NETWORKS[network][0].capitalize()}\n{state}{error}", linespacing=1.3)
        lower.set_xlabel("confidence")
    axes[0, 0].set_ylabel("accuracy")
    n = calibration.groupby(["network", "temperature_scaled"]).n.sum().max()
    axes[1, 0].set_ylabel(f"share of\n{n:,} epochs")
    figure.align_ylabels(axes[:, 0])
    add_note(figure, note)
    return figure


def draw_reliability(upper, lower, rows, colour):
    """One network's bins: accuracy in `upper` against the diagonal, their share of all epochs in `lower`."""
    upper.plot((0, 1), (0, 1), color="#888888", linewidth=0.7, linestyle=(0, (3, 1.5)), zorder=1)
    filled = rows[rows.n > 0]
    widths = filled.high - filled.low
    upper.bar(filled.low, filled.accuracy, widths, align="edge", color=colour, alpha=0.35, edgecolor="white", zorder=2)
    upper.plot(filled.confidence, filled.accuracy, "o", color=colour, markersize=3, zorder=3)
    lower.bar(filled.low, filled.n / max(rows.n.sum(), 1), widths, align="edge", color=colour, edgecolor="white")
    upper.set(xlim=(0, 1), ylim=(0, 1), xticks=np.linspace(0, 1, 3), yticks=np.linspace(0, 1, 5))
    upper.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
