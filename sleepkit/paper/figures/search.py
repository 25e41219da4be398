"""Figures 6 to 8: how the search went, how the weights of the operations sharpen, what data pruning (BDP) removes."""

import numpy as np
from matplotlib import colors, lines, patches, ticker

from sleepkit.epochs import IDS_PER_NIGHT, STAGES
from sleepkit.genotype import OPERATION_NAMES, edges, nodes_with
from sleepkit.paper.figures import style
from sleepkit.paper.figures.cells import short_name
from sleepkit.paper.figures.style import HYPNOGRAM, INK, PAGE, PUBLISHED, STAGE_COLOURS, TRAIN, VALID, styled

# Column here, column in the published table, name, colour, line.
HALVES = ("train", "train", "training half", TRAIN, "-"), ("valid", "val", "validation half", VALID, (0, (3, 1.2)))
CURVES = {
    "loss": ("Loss", "cross-entropy"),
    "acc": ("Accuracy", "accuracy, %"),
    "samples": ("Samples left", "% of the half"),
    "operations": ("Operations left", "operations, both cells"),
    "temperature": ("Temperature", "T"),
}
MARKS = {"marker": "o", "markersize": 2.4}
ROUND = {"color": "#C9A227", "linewidth": 0.8, "linestyle": (0, (1, 1))}
SHADES = colors.LinearSegmentedColormap.from_list("weights", ["#FFFFFF", "#BFD9EA", "#3B8BC4", "#153E75"])
REMOVED, LEAVING = "#C6C6C6", "#B4540A"
CELLS = (("normal", "Normal cell"), ("reduce", "Reduction cell"))
RING = {"marker": "o", "markersize": 5.5, "markerfacecolor": "none", "mec": "#F2B134", "markeredgewidth": 1.1}
ROW = 0.118  # inches a row of the heat map needs for a label of 7 pt
LEFT = {  # half -> what leaves it, which of them are examples
    "train": ("Training half: the steadiest leave", "One of each stage with the lowest VoE"),
    "valid": ("Validation half: the ones that swing leave", "One of each stage with the highest VoE"),
}
BINS = 40
FAINTEST = 1e-10  # variances below are drawn there: a prediction that no longer moves has almost none


@styled
def plot_search(history, published, samples, note=""):
    """Loss and accuracy of both halves per epoch with the pruning rounds marked, samples, operations and temperature.

    history : data frame, one row per search epoch (history.csv), or None: then the published curves alone
    published : data frame epoch, train_loss, train_acc, val_loss, val_acc, or None: then this run alone
    samples : data frame epoch, n_train, n_valid: the published sizes of the halves from those epochs on"""
    rows = [["loss", "acc", "samples"]]
    if history is not None:
        rows = [["loss"] * 3 + ["acc"] * 3, ["samples"] * 2 + ["operations"] * 2 + ["temperature"] * 2]
    figure = style.new_figure(PAGE, 2.1 * len(rows) + 0.3)
    panels = figure.subplot_mosaic(rows, height_ratios=(1.3, 1)[: len(rows)])
    for letter, (name, ax) in zip("abcde", panels.items(), strict=False):
        title, label = CURVES[name]
        ax.set(title=f"{letter}  {title}", xlabel="search epoch", ylabel=label)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    for half, column, _, _, line in HALVES if published is not None else ():
        look = {"color": PUBLISHED, "linewidth": 0.7, "linestyle": line}
        for name in ("loss", "acc"):
            panels[name].plot(published.epoch, published[f"{column}_{name}"], **look)
        sizes = samples[f"n_{half}"] / samples[f"n_{half}"].iloc[0]
        # a round takes place between its epoch and the next, where this run's steps and their marks stand, too
        epochs, sizes = [*(samples.epoch - 0.5).clip(1), published.epoch.max()], [*sizes, sizes.iloc[-1]]
        panels["samples"].step(epochs, sizes, where="post", **look)
    if history is not None:
        _draw_found(panels, history)
    for name in ("acc", "samples"):
        panels[name].yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0, symbol=""))
    handles = _search_key(history)[: None if published is not None else -len(HALVES)]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, columnspacing=1.6)
    return style.add_note(figure, note)


def _draw_found(panels, history):
    for half, _, _, colour, line in HALVES:
        for name in ("loss", "acc"):
            panels[name].plot(history.epoch, history[f"{half}_{name}"], color=colour, linestyle=line, **MARKS)
        left = history[f"n_{half}"] / history[f"n_{half}"].iloc[0]
        panels["samples"].plot(history.epoch, left, drawstyle="steps-mid", color=colour, linestyle=line, **MARKS)
    for name, steps in (("operations", "steps-mid"), ("temperature", "default")):
        panels[name].plot(history.epoch, history[name], drawstyle=steps, color="#333333", **MARKS)
        panels[name].set_ylim(0, history[name].max() * 1.08)
    for epoch in pruning_epochs(history):
        for ax in panels.values():
            ax.axvline(epoch + 0.5, zorder=0, **ROUND)


def pruning_epochs(history):
    """Epochs at whose end something was removed, (n,) int."""
    removed = history[["removed_train", "removed_valid", "removed_operations"]].sum(axis=1)
    return history.epoch[removed > 0].to_numpy()


def _search_key(history):
    found, known = [], []
    for half, _, name, colour, line in HALVES:
        if history is not None:
            label = f"{name}, {history[f'n_{half}'].iloc[0]:,} samples"
            found.append(lines.Line2D([], [], color=colour, linestyle=line, label=label, **MARKS))
            name = name.split()[0]
        known.append(lines.Line2D([], [], color=PUBLISHED, linewidth=0.7, linestyle=line, label=f"published, {name}"))
    return [*found, *[lines.Line2D([], [], label="pruning round", **ROUND)] * bool(found), *known]


@styled
def plot_sharpening(weights, removed, history, genotype=None, note=""):
    """softmax(α/T) of every operation (row) on every edge (column) after the first epoch, at each pruning round and
    at the end.

    weights : dict of arrays as weights.npz: epoch, temperature (T,), normal, reduce (T, edges, 10)
    removed : data frame as removed_operations.csv;  history : data frame as history.csv
    genotype : the Genotype that the search ended with; its operations are ringed in the last map
    Grey are operations that an earlier round removed, crossed those that this round removes."""
    epochs = weights["epoch"].tolist()
    shown = sorted({epochs[0], *pruning_epochs(history).tolist(), epochs[-1]})
    strongest = max(weights[kind].max() for kind, _ in CELLS)
    figure = style.new_figure(PAGE, len(shown) * (10 * ROW + 0.22) + 1.05)
    axes = figure.subplots(len(shown), 2, sharex="col", sharey=True, squeeze=False)
    for line, epoch in zip(axes, shown, strict=True):
        now = epochs.index(epoch)
        for ax, (kind, _) in zip(line, CELLS, strict=True):
            before = removed[(removed.kind == kind) & (removed.epoch < epoch)]
            here = removed[(removed.kind == kind) & (removed.epoch == epoch)]
            image = draw_weights(ax, weights[kind][now], before, here, strongest)
            removes = f", {len(here)} removed" if len(here) else ""
            left = f"{weights[kind][now].size - len(before)} operations{removes}"
            ax.set_title(f"epoch {epoch}, T = {weights['temperature'][now]:.2f}: {left}", **style.FACTS)
    for upper, lower, letter, (kind, name) in zip(axes[0], axes[-1], "ab", CELLS, strict=True):
        style.add_heading(upper, f"{letter}  {name}")
        if genotype is not None:
            _ring(lower, getattr(genotype, kind))
        lower.set_xlabel("edges, grouped by the node that they enter")
    bar = figure.colorbar(image, ax=axes, shrink=min(1, 2 / len(shown)), aspect=22, pad=0.015)
    bar.set_label("weight of the operation, softmax(α/T)")
    bar.outline.set_linewidth(0.4)
    cross = {"linestyle": "", "marker": "x", "markersize": 4, "color": LEAVING, "label": "removed in this round"}
    key = [patches.Patch(facecolor=REMOVED, label="removed in an earlier round"), lines.Line2D([], [], **cross)]
    if genotype is not None:
        key.append(lines.Line2D([], [], linestyle="", **RING, label="in the genotype that the search ends with"))
    figure.legend(handles=key, loc="outside upper left", ncols=3, columnspacing=1.6)
    return style.add_note(figure, note)


def draw_weights(ax, weights, before, here, strongest):
    """One (edges, 10) map into `ax`, transposed; `before` and `here` are rows of removed_operations.csv."""
    gone = np.zeros(weights.shape, dtype=bool)
    gone[before.edge, before.operation.map(OPERATION_NAMES.index)] = True
    look = {"cmap": SHADES.with_extremes(bad=REMOVED), "vmin": 0, "vmax": strongest, "interpolation": "nearest"}
    image = ax.imshow(np.ma.masked_array(weights, gone).T, aspect="auto", **look)
    rows = here.operation.map(OPERATION_NAMES.index)
    ax.scatter(here.edge, rows, marker="x", s=9, color=LEAVING, linewidth=0.8, zorder=3)
    into = np.array([node for node, _ in edges(nodes_with(len(weights)))])
    ax.vlines(np.flatnonzero(np.diff(into)) + 0.5, -0.5, len(OPERATION_NAMES) - 0.5, color=INK, linewidth=0.6)
    nodes = np.unique(into)
    ax.set_xticks([np.flatnonzero(into == node).mean() for node in nodes], [f"{node}" for node in nodes])
    ax.set_yticks(range(len(OPERATION_NAMES)), map(short_name, OPERATION_NAMES))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(True)
    return image


def _ring(ax, cell):
    """Mark the operations that a cell of the genotype consists of."""
    for entry, (operation, source) in enumerate(cell):
        place = edges(len(cell) // 2).index((entry // 2, source))
        ax.plot(place, OPERATION_NAMES.index(operation), **RING)


@styled
def plot_removed(voe, examples, note=""):
    """Variance of error of kept and removed samples per stage and half, over traces of removed samples.

    voe : dict of arrays as voe.npz: half, voe, removed, y (n,), a row per sample and pruning round
    examples : dict of arrays as examples.npz: id, stage, half, voe (k,), x (k, samples) µV, fs, Hz"""
    figure = style.new_figure(PAGE, 7.4)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    draw_distributions(upper.subplots(len(HYPNOGRAM), 2, sharex=True, sharey=True), voe)
    draw_examples(lower.subplots(len(HYPNOGRAM), 2, sharex=True, sharey="row"), examples)
    kept = patches.Patch(facecolor="#777777", label="kept in the round (colour of its stage)")
    gone = lines.Line2D([], [], color=INK, linewidth=1.0, label="removed in the round")
    scale = lines.Line2D([], [], linestyle="", label="both: number of samples, all on one logarithmic scale")
    figure.legend(handles=[kept, gone, scale], loc="outside upper left", ncols=3, columnspacing=1.6)
    return style.add_note(figure, note)


def draw_distributions(axes, voe):
    """Histograms of kept (filled) and removed samples by VoE, both logarithmic, into (5, 2) axes, stages by halves."""
    known = ~np.isnan(voe["voe"])
    logs = np.log10(np.maximum(voe["voe"], FAINTEST, where=known, out=np.full(len(known), np.nan)))
    low, high = (np.floor(np.nanmin(logs)), np.ceil(np.nanmax(logs))) if known.any() else (-4, 0)
    bins, largest = np.linspace(low, max(high, low + 1), BINS + 1), 1
    for column, (half, (title, _)) in enumerate(LEFT.items()):
        for ax, stage in zip(axes[:, column], HYPNOGRAM, strict=True):
            mine = known & (voe["half"] == half) & (voe["y"] == STAGES.index(stage))
            kept, removed = (np.histogram(logs[mine & (voe["removed"] == side)], bins)[0] for side in (False, True))
            ax.stairs(kept, bins, baseline=0.5, fill=True, color=STAGE_COLOURS[stage], linewidth=0)
            ax.stairs(removed, bins, baseline=0.5, color=INK, linewidth=1.0)
            ax.set(yscale="log", xlim=(bins[0], bins[-1]), yticks=(1, 100))
            ax.yaxis.set_major_formatter(ticker.ScalarFormatter())
            ax.yaxis.set_minor_locator(ticker.NullLocator())
            largest = max(largest, kept.max(), removed.max())
            ax.set_title(f"{removed.sum():,} of {mine.sum():,} removed", **style.FACTS)
            if column == 0:
                ax.set_ylabel(stage, **style.UPRIGHT)
        style.add_heading(axes[0, column], f"{'ab'[column]}  {title}")
        axes[-1, column].set_xlabel("variance of error (VoE), one value per sample and round")
        axes[-1, column].xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True, prune="both"))
        axes[-1, column].xaxis.set_major_formatter(ticker.FuncFormatter(lambda power, _: f"$10^{{{power:.0f}}}$"))
    axes[0, 0].set_ylim(0.5, 2 * largest)


def draw_examples(axes, examples):
    """Traces of removed samples, µV, into (5, 2) axes, stages by halves."""
    seconds = np.arange(examples["x"].shape[1]) / examples["fs"]
    for line, stage in zip(axes, HYPNOGRAM, strict=True):
        of_stage = examples["stage"] == stage
        largest = np.abs(examples["x"][of_stage].astype(float)).max(initial=75)
        for ax, half in zip(line, LEFT, strict=True):
            for row in np.flatnonzero(of_stage & (examples["half"] == half)):
                ax.plot(seconds, examples["x"][row].astype(float), color=STAGE_COLOURS[stage], linewidth=0.6)
                night, number = divmod(int(examples["id"][row]), IDS_PER_NIGHT)
                who = f"subject {night // 10}, night {night % 10}, " if night < 10_000 else ""  # one's own: a hash
                place = f"{who}epoch {number}"
                ax.set_title(f"{place}; VoE {examples['voe'][row]:.1e}", **style.FACTS)
            if not ax.lines:
                style.say_empty(ax, "none removed", "#777777")
            ax.set(ylim=(-1.05 * largest, 1.05 * largest), xlim=(0, len(seconds) / float(examples["fs"])))
        line[0].set_ylabel(stage, **style.UPRIGHT)
    for column, (_, which) in enumerate(LEFT.values()):
        style.add_heading(axes[0, column], f"{'cd'[column]}  {which}, µV")
        axes[-1, column].set_xlabel("time within the epoch, s")
