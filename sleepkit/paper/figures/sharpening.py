"""Figure 7: how the weights of the operations sharpen."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sleepkit.genotype import OPERATION_NAMES, edges, nodes_with
from sleepkit.paper.figures.curves import pruning_epochs
from sleepkit.paper.figures.style import INK, PAGE, add_facts, add_heading, add_note, new_figure, styled

SHADES = LinearSegmentedColormap.from_list("weights", ["#FFFFFF", "#BFD9EA", "#3B8BC4", "#153E75"])
REMOVED, LEAVING = "#C6C6C6", "#B4540A"
CELLS = (("normal", "Normal cell"), ("reduce", "Reduction cell"))
RING = {
    "marker": "o",
    "markerfacecolor": "none",
    "markeredgecolor": "#F2B134",
    "markersize": 5.5,
    "markeredgewidth": 1.1,
}
ROW = 0.118  # inches a row of the heat map needs for a label of 7 pt


@styled
def plot_sharpening(weights, removed, history, genotype=None, note=""):
    """softmax(α/T) of every operation (row) on every edge (column) after the first epoch, at each pruning round and
    at the end.

    weights : dict of arrays as weights.npz: epoch, temperature (T,), normal, reduce (T, edges, 10)
    removed : data frame as removed_operations.csv;  history : data frame as history.csv
    genotype : the Genotype that the search ended with; its operations are ringed in the last map
    Grey are operations that an earlier round removed, crossed those that this round removes.
    returns a matplotlib figure at page width
    """
    epochs = weights["epoch"].tolist()
    shown = sorted({epochs[0], *pruning_epochs(history).tolist(), epochs[-1]})
    strongest = max(weights[kind].max() for kind, _ in CELLS)
    figure = new_figure(PAGE, len(shown) * (10 * ROW + 0.22) + 1.05)
    axes = figure.subplots(len(shown), 2, sharex="col", sharey=True, squeeze=False)
    for line, epoch in zip(axes, shown, strict=True):
        now = epochs.index(epoch)
        for ax, (kind, _) in zip(line, CELLS, strict=True):
            before = removed[(removed.kind == kind) & (removed.epoch < epoch)]
            here = removed[(removed.kind == kind) & (removed.epoch == epoch)]
            image = draw_weights(ax, weights[kind][now], before, here, strongest)
            left = weights[kind][now].size - len(before)
            text = f"epoch {epoch}, T = {weights['temperature'][now]:.2f}: {left} operations"
            text += f", {len(here)} removed" if len(here) else ""
            add_facts(ax, text)
    for ax, letter, (_, name) in zip(axes[0], "ab", CELLS, strict=True):
        add_heading(ax, f"{letter}  {name}")
    if genotype is not None:
        for ax, (kind, _) in zip(axes[-1], CELLS, strict=True):
            _ring(ax, getattr(genotype, kind))
    for ax in axes[-1]:
        ax.set_xlabel("edges, grouped by the node that they enter")
    bar = figure.colorbar(image, ax=axes, shrink=min(1, 2 / len(shown)), aspect=22, pad=0.015)
    bar.set_label("weight of the operation, softmax(α/T)")
    bar.outline.set_linewidth(0.4)
    figure.legend(handles=_key(genotype is not None), loc="outside upper left", ncols=3, columnspacing=1.6)
    add_note(figure, note)
    return figure


def draw_weights(ax, weights, before, here, strongest):
    """One (edges, 10) map into `ax`, transposed; `before` and `here` are rows of removed_operations.csv. Returns the
    image."""
    gone = np.zeros(weights.shape, dtype=bool)
    gone[before.edge, before.operation.map(OPERATION_NAMES.index)] = True
    shades = SHADES.with_extremes(bad=REMOVED)
    map_ = np.ma.masked_array(weights, gone).T
    image = ax.imshow(map_, cmap=shades, vmin=0, vmax=strongest, aspect="auto", interpolation="nearest")
    columns = here.operation.map(OPERATION_NAMES.index)
    ax.scatter(here.edge, columns, marker="x", s=9, color=LEAVING, linewidth=0.8, zorder=3)
    into = np.array([node for node, _ in edges(nodes_with(len(weights)))])
    borders = np.flatnonzero(np.diff(into)) + 0.5
    ax.vlines(borders, -0.5, len(OPERATION_NAMES) - 0.5, color=INK, linewidth=0.6)
    centres = [np.flatnonzero(into == node).mean() for node in np.unique(into)]
    ax.set_xticks(centres, [f"{node}" for node in np.unique(into)])
    ax.set_yticks(range(len(OPERATION_NAMES)), OPERATION_NAMES)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(True)
    return image


def _ring(ax, cell):
    """Mark the operations that a cell of the genotype consists of."""
    places = {edge: number for number, edge in enumerate(edges(len(cell) // 2))}
    for entry, (operation, source) in enumerate(cell):
        ax.plot(places[entry // 2, source], OPERATION_NAMES.index(operation), **RING)


def _key(ringed):
    handles = [
        Patch(facecolor=REMOVED, label="removed in an earlier round"),
        Line2D([], [], linestyle="", marker="x", markersize=4, color=LEAVING, label="removed in this round"),
    ]
    if ringed:
        handles.append(Line2D([], [], linestyle="", **RING, label="in the genotype that the search ends with"))
    return handles
