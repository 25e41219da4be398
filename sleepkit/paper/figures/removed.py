"""Figure 8: what data pruning (BDP) removes."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sleepkit.epochs import IDS_PER_NIGHT, STAGES
from sleepkit.paper.figures.style import (
    HYPNOGRAM,
    INK,
    PAGE,
    STAGE_COLOURS,
    add_facts,
    add_heading,
    add_note,
    new_figure,
    styled,
)

HALVES = (
    ("train", "Training half: the steadiest leave", "One of each stage with the lowest VoE"),
    ("valid", "Validation half: the ones that swing leave", "One of each stage with the highest VoE"),
)
BINS = 40
FAINTEST = 1e-10  # variances below are drawn there: a prediction that no longer moves has almost none


@styled
def plot_removed(voe, examples, note=""):
    """Variance of error of kept and removed samples per stage and half, over traces of removed samples.

    voe : dict of arrays as voe.npz: half, voe, removed, y (n,), a row per sample and pruning round
    examples : dict of arrays as examples.npz: id, stage, half, voe (k,), x (k, samples) µV, fs, Hz
    returns a matplotlib figure at page width
    """
    figure = new_figure(PAGE, 7.4)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    rows = len(HYPNOGRAM)
    draw_distributions(upper.subplots(rows, 2, sharex=True), voe)
    draw_examples(lower.subplots(rows, 2, sharex=True, sharey="row"), examples)
    handles = [
        Patch(facecolor="#777777", label="kept in the round (colour of its stage)"),
        Line2D([], [], color=INK, linewidth=1.0, label="removed in the round"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, columnspacing=1.6)
    add_note(figure, note)
    return figure


def draw_distributions(axes, voe):
    """Histograms over the logarithm of VoE into (5, 2) axes, stages down, halves across; kept ones filled, removed
    ones as a line, each with a peak of 1."""
    known = ~np.isnan(voe["voe"])
    logs = np.log10(np.maximum(voe["voe"], FAINTEST, where=known, out=np.full(len(known), np.nan)))
    low, high = (np.floor(np.nanmin(logs)), np.ceil(np.nanmax(logs))) if known.any() else (-4, 0)
    bins = np.linspace(low, max(high, low + 1), BINS + 1)
    for column, (half, title, _) in enumerate(HALVES):
        for ax, stage in zip(axes[:, column], HYPNOGRAM, strict=True):
            mine = known & (voe["half"] == half) & (voe["y"] == STAGES.index(stage))
            kept, removed = (np.histogram(logs[mine & (voe["removed"] == side)], bins)[0] for side in (False, True))
            ax.stairs(kept / max(kept.max(), 1), bins, fill=True, color=STAGE_COLOURS[stage], linewidth=0)
            ax.stairs(removed / max(removed.max(), 1), bins, color=INK, linewidth=1.0)
            ax.set(ylim=(0, 1.12), yticks=[], xlim=(bins[0], bins[-1]))
            ax.spines["left"].set_visible(False)
            add_facts(ax, f"{removed.sum():,} of {mine.sum():,} removed")
            if column == 0:
                ax.set_ylabel(stage, rotation=0, ha="right", va="center")
        add_heading(axes[0, column], f"{'ab'[column]}  {title}")
        axes[-1, column].set_xlabel("variance of error (VoE), one value per sample and round")
        axes[-1, column].xaxis.set_major_locator(MaxNLocator(5, integer=True, prune="both"))
        axes[-1, column].xaxis.set_major_formatter(FuncFormatter(lambda power, _: f"$10^{{{power:.0f}}}$"))


def draw_examples(axes, examples):
    """Traces of removed samples, µV, into (5, 2) axes, stages down, halves across; the scale is that of the row."""
    seconds = np.arange(examples["x"].shape[1]) / examples["fs"]
    for line, stage in zip(axes, HYPNOGRAM, strict=True):
        of_stage = examples["stage"] == stage
        largest = np.abs(examples["x"][of_stage].astype(float)).max(initial=75)
        for ax, (half, _, _) in zip(line, HALVES, strict=True):
            for row in np.flatnonzero(of_stage & (examples["half"] == half)):
                ax.plot(seconds, examples["x"][row].astype(float), color=STAGE_COLOURS[stage], linewidth=0.6)
                sample = int(examples["id"][row])
                night, number = divmod(sample, IDS_PER_NIGHT)
                add_facts(
                    ax, f"subject {night // 10}, night {night % 10}, epoch {number}; VoE {examples['voe'][row]:.1e}"
                )
            if not ax.lines:
                ax.text(0.5, 0.5, "none removed", transform=ax.transAxes, ha="center", va="center", color="#777777")
            ax.set(ylim=(-1.05 * largest, 1.05 * largest), xlim=(0, len(seconds) / float(examples["fs"])))
        line[0].set_ylabel(stage, rotation=0, ha="right", va="center")
    for column, (_, _, which) in enumerate(HALVES):
        add_heading(axes[0, column], f"{'cd'[column]}  {which}, µV")
        axes[-1, column].set_xlabel("time within the epoch, s")
