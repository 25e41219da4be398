"""Figures 9 to 11: confusion matrices and training curves, the published networks over those of this run."""

from itertools import product

import numpy as np
from matplotlib import colors, ticker
from matplotlib.lines import Line2D

from sleepkit.epochs import STAGES
from sleepkit.evaluation.protocols import EPOCHWISE, SUBJECTWISE
from sleepkit.metrics import scores
from sleepkit.paper.figures.style import PAGE, PUBLISHED, add_note, new_figure, say_empty, styled
from sleepkit.paper.published import PROTOCOL, published_confusion
from sleepkit.pruning.methods import METHODS
from sleepkit.results import of_stage_2

SHADES = colors.LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#9CC3DC", "#1F5A8A"])
COLUMNS = 3  # matrices side by side, so that counts of five digits read at 7 pt
STAGE_NAMES = {"full": "Stage 1, full", "pruned": "Stage 2, pruned"}
PANELS = tuple(product((("edf20", "EDF-20"), ("edf78", "EDF-78")), ((False, "stage 1"), (True, "stage 2"))))
DEPTHS = ("#2A6F97", "#E39B3A", "#8A4FA3", "#5B8C5A", "#B4540A", "#444444")  # colours of the depths, shallow first
HELD_OUT = {EPOCHWISE.name: "test fold", SUBJECTWISE.name: "validation subjects"}
SIDES = {"training side": (0, (2.5, 1.2)), "held-out side": "-"}


@styled
def plot_confusion(dataset, found, note=""):
    """Confusion matrices as counts and row percentages: the published ones over those of this run.

    dataset : "edf20" or "edf78"
    found : data frame as confusion.csv, or None; rows with context are left out, the counts of several seeds add up"""
    known = []
    for model, name in STAGE_NAMES.items():
        known.append([(f"{name}, L = {n}", published_confusion(f"{dataset}_L{n}_{model}")) for n in (7, 9, 11)])
    blocks = [(f"Published · {PROTOCOL}", known)]
    if found is not None:
        found = found[(found.context == "none") & (found.dataset == dataset)]
        for (protocol, genotype), rows in found.groupby(["protocol", "genotype"]):
            blocks.append((f"This run · {genotype} · {protocol}, {_seeds(rows)}", _found_matrices(rows)))
    lines = [[p[i : i + COLUMNS] for p in stages for i in range(0, len(p), COLUMNS)] for _, stages in blocks]
    heights = [2.35 * len(rows) + 0.25 for rows in lines]
    figure = new_figure(PAGE, sum(heights) + 0.25)
    figure.get_layout_engine().set(w_pad=0.06)
    parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (title, _), rows in zip(parts, blocks, lines, strict=True):
        part.suptitle(title, x=0.01, ha="left", fontsize=8, weight="bold", color="#444444")
        for axes, row in zip(part.subplots(len(rows), COLUMNS, squeeze=False), rows, strict=True):
            for ax, (name, matrix) in zip(axes, row, strict=False):
                draw_confusion(ax, matrix, name)
            axes[0].set_ylabel("true stage")
            for ax in axes[len(row) :]:
                ax.remove()
    return add_note(figure, note)


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


def _found_matrices(rows):
    """Panels of stage 1 and of stage 2, each a line; a few of them share one line."""
    stages = [], []
    for (second, cells, channels, ratio), network in rows.groupby([of_stage_2(rows), "cells", "channels", "pruned"]):
        removed = f" (−{100 * ratio:.0f} %)" if ratio else ", not pruned"
        name = f"Stage 2{removed}" if second else STAGE_NAMES["full"]
        stages[int(second)].append((f"{name}, L = {cells}, C = {channels}", matrix_of(network)))
    return stages if sum(map(len, stages)) > COLUMNS else [sum(stages, [])]


def _seeds(rows):
    """The seeds whose counts add up, in words; by depth, or by depth and stage, where they differ."""
    found = {}
    for (cells, pruned), part in rows.groupby(["cells", rows.pruned > 0]):
        seeds = ", ".join(map(str, sorted(part.seed.unique())))
        found[f"L = {cells}", "pruned" if pruned else "full"] = f"{'seeds' if ',' in seeds else 'seed'} {seeds}"
    for length in (0, 1, 2):
        told = list(dict.fromkeys((", ".join(key[:length]), seeds) for key, seeds in found.items()))
        if len(dict(told)) == len(told):
            break
    return "; ".join(f"{key}: {seeds}" if key else seeds for key, seeds in told)


@styled
def plot_training(found, published, note=""):
    """Loss and accuracy per training epoch, a line per fold: the published folds over those of this run.

    found : data frame as training_curves.csv of all notebooks, or None. Distilled networks, whose training side has
        other targets and so another loss, are left out
    published : data frame dataset, layers, model, fold, epoch, train_loss, val_loss, val_acc of the test fold"""
    names = {"layers": "cells", "val_loss": "valid_loss", "val_acc": "valid_acc"}
    known = {"genotype": published.dataset, "pruned": published.model == "pruned", "protocol": EPOCHWISE.name}
    known = published.rename(columns=names).assign(**known, channels=0, seed=0)
    blocks = [("Published, held out: test fold", known)]
    if found is not None:
        sides = [f"{HELD_OUT[protocol]} ({protocol})" for protocol in sorted(found.protocol.unique())]
        found = found[found.context == "none"]
        shown = found[~found.variant.isin([name for name, method in METHODS.items() if method.teacher])]
        blocks.append((f"This run, held out: {', '.join(sides)}", shown.assign(pruned=shown.pruned > 0)))
        if len(shown) < len(found):
            note = f"{note} Networks that were distilled are not shown."
    depths = sorted({depth for _, curves in blocks for depth in curves.cells.unique()})
    colours = dict(zip(depths, (DEPTHS * len(depths))[: len(depths)], strict=True))
    figure = new_figure(PAGE, 2.9 * len(blocks) + 0.5)
    parts = figure.subfigures(len(blocks), 1, squeeze=False)[:, 0]
    for part, letter, (title, curves) in zip(parts, "ab", blocks, strict=False):
        part.suptitle(f"{letter}  {title}", x=0.01, ha="left", fontsize=8, weight="bold")
        axes = part.subplots(2, len(PANELS), sharex="col", sharey="row")
        for lines, ((dataset, name), (pruned, stage)) in zip(axes.T, PANELS, strict=True):
            draw_curves(*lines, curves[(curves.dataset == dataset) & (curves.pruned == pruned)], colours)
            lines[0].set_title(f"{name}, {stage}", weight="normal", fontsize=7.5, pad=3)
            lines[1].set_xlabel("training epoch")
            lines[1].xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True, min_n_ticks=1))
        for ax, label in zip(axes[:, 0], ("cross-entropy", "accuracy, %"), strict=True):
            ax.set_ylabel(label)
        part.align_ylabels(axes[:, 0])
    handles = [Line2D([], [], color=colour, label=f"L = {cells}") for cells, colour in colours.items()]
    handles += [Line2D([], [], color="#444444", linewidth=0.9, linestyle=s, label=name) for name, s in SIDES.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), columnspacing=1.4)
    return add_note(figure, note)


def draw_curves(loss, accuracy, curves, colours):
    """Every fold of `curves` into two axes: the loss of both sides, the accuracy of the held-out side."""
    runs = curves.groupby(["genotype", "protocol", "channels", "seed", "cells", "fold"], sort=True)
    look = {"linewidth": 0.7, "alpha": 0.75 if runs.ngroups <= 20 else 0.4}
    for (*_, cells, _), fold in runs:
        look["color"] = colours[cells]
        marks = {"marker": "o", "markersize": 1.5} if len(fold) == 1 else {}
        loss.plot(fold.epoch, fold.train_loss, linestyle=SIDES["training side"], **look, **marks)
        loss.plot(fold.epoch, fold.valid_loss, **look, **marks)
        accuracy.plot(fold.epoch, 100 * fold.valid_acc, **look, **marks)
    for ax in () if runs.ngroups else (loss, accuracy):
        say_empty(ax, "no network", PUBLISHED)
        ax.axis("off")
