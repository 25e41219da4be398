"""Figures 9 to 11: confusion matrices and training curves, the published networks over those of this run."""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib import colors, ticker
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sleepkit.epochs import STAGES
from sleepkit.evaluation.protocols import EPOCHWISE, SUBJECTWISE
from sleepkit.metrics import per_class, scores
from sleepkit.paper.figures.style import FULL, PAGE, PRUNED, PUBLISHED, add_note, new_figure, styled
from sleepkit.paper.provenance import first_family
from sleepkit.paper.published import PREPARED_COUNTS, PROTOCOL, published_confusion

SHADES = colors.LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#9CC3DC", "#1F5A8A"])
COLUMNS = 3  # matrices side by side, so that counts of five digits read at 7 pt
STAGE_NAMES = {"full": "Stage 1, full", "pruned": "Stage 2, pruned"}
PANELS = tuple(product((("edf20", "EDF-20"), ("edf78", "EDF-78")), ((False, "stage 1"), (True, "stage 2"))))
DEPTHS = ("#2A6F97", "#E39B3A", "#8A4FA3", "#5B8C5A", "#B4540A", "#444444")  # colours of the depths, shallow first
HELD_OUT = {EPOCHWISE.name: "test fold", SUBJECTWISE.name: "validation subjects"}
SIDES = {"train_loss": ("training side", (0, (2.5, 1.2))), "valid_loss": ("held-out side", "-")}
BAND = (0.1, 0.9)  # quantiles of the networks
MODELS = {"full": ("o", FULL), "pruned": ("D", PRUNED)}  # marker of the dots of F1, and colour of this run's


@styled
def plot_confusion(dataset, found, note=""):
    """Confusion matrices of the published network with L = 7 and of this run's first one, full and pruned, as counts
    and row percentages, and the F1 of every stage as dots.

    dataset : "edf20", "edf78", or one's own, of which nothing is published
    found : data frame as confusion.csv, or None; the counts of several seeds add up. `plot_confusions` has the rest"""
    blocks = {}
    if paper := dataset in PREPARED_COUNTS:
        known = {model: published_confusion(f"{dataset}_L7_{model}") for model in STAGE_NAMES}
        blocks["published"] = "Published, L = 7 · epochwise", known
    first = None if found is None else first_family(found[found.dataset == dataset])
    if first is not None and len(first):
        first = first[first.cells == first.cells.iloc[0]]
        mine = {list(STAGE_NAMES)[pruned]: matrix_of(rows) for pruned, rows in first.groupby(first.pruned > 0)}
        title = "This run, L = {cells} · {genotype} · {protocol}, ".format(**first.iloc[0]) + _seeds(first)
        blocks["this run"] = title, mine
    figure = new_figure(PAGE, 2.65 * len(blocks) + 0.45)
    left, right = figure.subfigures(1, 2, width_ratios=(2.5, 1))
    parts = left.subfigures(len(blocks), 1, squeeze=False)[:, 0]
    for part, letters, (title, matrices) in zip(parts, ("ab", "cd"), blocks.values(), strict=False):
        part.suptitle(title, x=0.01, ha="left", fontsize=7.5, weight="bold", color="#444444")
        axes = part.subplots(1, 2)
        for ax, letter, (model, matrix) in zip(axes, letters, matrices.items(), strict=False):
            draw_confusion(ax, matrix, f"{letter}  {STAGE_NAMES[model]}")
        for ax in axes[len(matrices) :]:
            ax.remove()
        axes[0].set_ylabel("true stage")
    draw_f1(right.subplots(), {source: matrices for source, (_, matrices) in blocks.items()})
    return add_note(figure, f"{note} Published: {PROTOCOL}." if paper else note)


def draw_f1(ax, matrices):
    """F1 of every stage as dots; matrices : source ("published" or another) -> model (of MODELS) -> (5, 5)."""
    for shift, (source, by_model) in zip((-0.13, 0.13), matrices.items(), strict=False):
        for model, matrix in by_model.items():
            marker, colour = MODELS[model]
            look = {"color": PUBLISHED, "markerfacecolor": "none"} if source == "published" else {"color": colour}
            look |= {"linestyle": "", "marker": marker, "markersize": 4.5, "label": f"{source}, {model}"}
            ax.plot(100 * per_class(matrix).f1, np.arange(len(STAGES)) + shift, **look)
    ax.set(yticks=range(len(STAGES)), yticklabels=STAGES, ylim=(len(STAGES) - 0.5, -0.5), xlim=(0, 100), xlabel="F1, %")
    ax.set_title("e  F1 of every stage")
    ax.grid(axis="x", linewidth=0.3, color="#E4E4E4")
    ax.figure.legend(loc="outside upper center")


@styled
def plot_confusions(dataset, found, note=""):
    """The supplement of figures 9 and 10: the confusion matrices of every network, the published ones first.

    dataset : "edf20" or "edf78"
    found : data frame as confusion.csv, or None; rows with context are left out, the counts of several seeds add up"""
    panels = []
    for (model, name), n in product(STAGE_NAMES.items(), (7, 9, 11)):
        panels.append((f"Published\nepochwise\n{name}, L = {n}", published_confusion(f"{dataset}_L{n}_{model}")))
    if found is not None:
        found = found[(found.context == "none") & (found.dataset == dataset)]
        for key, rows in found.groupby(["genotype", "protocol", "cells", "channels", "pruned"]):
            name = "{}\n{}, {}\nL = {}, C = {}".format(*key[:2], _seeds(rows), *key[2:])
            panels.append((name + (f", {100 * key[-1]:.0f} % pruned" if key[-1] else ""), matrix_of(rows)))
    lines = -(-len(panels) // COLUMNS)
    figure = new_figure(PAGE, 2.7 * lines + 0.4)
    figure.get_layout_engine().set(w_pad=0.06)
    axes = figure.subplots(lines, COLUMNS).ravel()
    for ax, (name, matrix) in zip(axes, panels, strict=False):
        draw_confusion(ax, matrix, name)
    for ax in axes[len(panels) :]:
        ax.remove()
    return add_note(figure, f"Rows are true stages. {note}")


def draw_confusion(ax, matrix, name=""):
    """One (5, 5) matrix into `ax`: shade and lower number are the share of the true stage, the upper number counts."""
    matrix = np.asarray(matrix)
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    ax.imshow(share, cmap=SHADES, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for (true, predicted), n in np.ndenumerate(matrix):
        colour = "white" if share[true, predicted] > 0.6 else "#222222"
        text = f"{n:,}\n{100 * share[true, predicted]:.1f}"
        ax.text(predicted, true, text, ha="center", va="center", fontsize=7, color=colour, linespacing=1.15)
    values = scores(matrix)
    line = f"ACC {100 * values['acc']:.1f}  MF1 {100 * values['mf1']:.1f}  κ {values['kappa']:.3f}"
    ax.set_title(f"{name}\n{line}", fontsize=7.5, linespacing=1.3)
    places = range(len(STAGES))
    ax.set(xticks=places, xticklabels=STAGES, yticks=places, yticklabels=STAGES, xlabel="predicted stage")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def matrix_of(rows):
    """(5, 5) int, rows true, of the rows of confusion.csv that belong to one network; several seeds add up."""
    table = rows.pivot_table(index="true", columns="predicted", values="n", aggfunc="sum", fill_value=0)
    return table.reindex(index=STAGES, columns=STAGES, fill_value=0).to_numpy()


def _seeds(rows):
    seeds = ", ".join(map(str, sorted(rows.seed.unique())))
    return f"sum of seeds {seeds}" if "," in seeds else f"seed {seeds}"


@styled
def plot_training(found, published, note=""):
    """Loss and accuracy per training epoch, median and band of the folds: published over this run's first network.

    found : data frame as training_curves.csv of all notebooks, or None
    published : data frame dataset, layers, model, fold, epoch, train_loss, val_loss, val_acc of the test fold
    A line is a depth, the band holds 80 % of all networks; they end where less than half of theirs still train."""
    names = {"layers": "cells", "val_loss": "valid_loss", "val_acc": "valid_acc"}
    known = published.rename(columns=names).assign(pruned=(published.model == "pruned").astype(float), seed=0)
    blocks = [("Published, held out: test fold", known)]
    mine = [] if found is None else [first_family(found[found.dataset == dataset]) for (dataset, _), _ in PANELS[::2]]
    if mine := [rows for rows in mine if len(rows)]:
        which = [f"{rows.genotype.iloc[0]}, {rows.protocol.iloc[0]}" for rows in mine]
        held_out = HELD_OUT[mine[0].protocol.iloc[0]]
        blocks.append((f"This run, {' and '.join(which)}, held out: {held_out}", pd.concat(mine)))
    depths = sorted({depth for _, curves in blocks for depth in curves.cells.unique()})
    colours = dict(zip(depths, (DEPTHS * len(depths))[: len(depths)], strict=True))
    figure = new_figure(PAGE, 2.9 * len(blocks) + 0.5)
    parts = figure.subfigures(len(blocks), 1, squeeze=False)[:, 0]
    for part, letter, (title, curves) in zip(parts, "ab", blocks, strict=False):
        part.suptitle(f"{letter}  {title}", x=0.01, ha="left", fontsize=8, weight="bold")
        _draw_panels(part, curves, colours)
    handles = [Line2D([], [], color=colour, label=f"L = {cells}") for cells, colour in colours.items()]
    handles += [Line2D([], [], color="#444444", linestyle=s, label=name) for name, s in SIDES.values()]
    handles.append(Patch(color="#DDDDDD", linewidth=0, label="80 % of the networks; lines: medians"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), columnspacing=1.2)
    return add_note(figure, note)


def _draw_panels(part, curves, colours):
    """Loss over accuracy, a column for every data set and stage that was trained."""
    shown = []
    for (dataset, name), (pruned, stage) in PANELS:
        rows = curves[(curves.dataset == dataset) & ((curves.pruned > 0) == pruned)]
        if len(rows):
            shown.append((f"{name}, {stage}: {rows.groupby(['cells', 'seed', 'fold']).ngroups} networks", rows))
    axes = part.subplots(2, len(shown), sharex="col", sharey="row", squeeze=False)
    for (loss, accuracy), (title, rows) in zip(axes.T, shown, strict=True):
        draw_curves(loss, accuracy, rows, colours)
        loss.set_title(title, weight="normal", fontsize=7.5, pad=3)
        accuracy.set_xlabel("training epoch")
        accuracy.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True, min_n_ticks=1))
    for ax, label in zip(axes[:, 0], ("cross-entropy", "accuracy, %"), strict=True):
        ax.set_ylabel(label)
    part.align_ylabels(axes[:, 0])


def draw_curves(loss, accuracy, curves, colours):
    """Medians by depth, and the band of the held-out side, into two axes: losses, held-out accuracy in percent."""
    for ax, column, unit in ((loss, "train_loss", 1), (loss, "valid_loss", 1), (accuracy, "valid_acc", 100)):
        table = unit * curves.pivot_table(index="epoch", columns=["cells", "seed", "fold"], values=column)
        many = table[table.count(axis=1) >= table.shape[1] / 2]
        if column != "train_loss":
            ax.fill_between(many.index, *many.quantile(BAND, axis=1).to_numpy(), color="#DDDDDD", linewidth=0)
        for cells in sorted(set(curves.cells)):
            folds = table[cells][table[cells].count(axis=1) >= table[cells].shape[1] / 2]
            look = {"linestyle": SIDES.get(column, SIDES["valid_loss"])[1], "color": colours[cells]}
            marker = {"marker": "o", "markersize": 2} if len(folds) == 1 else {}
            ax.plot(folds.index, folds.median(axis=1), linewidth=1.1, **look, **marker)
