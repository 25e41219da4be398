"""Figure 11: how the networks trained, fold by fold."""

from itertools import product

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sleepkit.paper.figures.style import PAGE, PUBLISHED, add_note, new_figure, styled

PANELS = tuple(product((("edf20", "EDF-20"), ("edf78", "EDF-78")), ((False, "stage 1"), (True, "stage 2"))))
DEPTHS = ("#2A6F97", "#E39B3A", "#8A4FA3", "#5B8C5A", "#B4540A", "#444444")  # colours of the depths, shallow first
HELD_OUT = {"epochwise": "test fold", "subjectwise": "validation subjects"}
DASHED = (0, (2.5, 1.2))


@styled
def plot_training(found, published, note=""):
    """Loss and accuracy per training epoch, a line per fold: the published folds over those of this run.

    found : data frame as training_curves.csv of all notebooks, or None; its held-out side are validation subjects
        (subjectwise) or the test fold (epochwise). Networks that were distilled or trained with hum are left out: their
        training side has other targets or other signals, and so another loss
    published : data frame dataset, layers, model, fold, epoch, train_loss, val_loss, val_acc; held out is the test fold
    returns a matplotlib figure at page width
    """
    blocks = [("Published, held out: test fold", _published(published))]
    if found is not None:
        sides = [f"{HELD_OUT[protocol]} ({protocol})" for protocol in sorted(found.protocol.unique())]
        shown = _found(found)
        blocks.append((f"This run, held out: {', '.join(sides)}", shown))
        if len(shown) < (found.context == "none").sum():
            note = f"{note} Networks that were distilled or trained with hum are not shown."
    depths = sorted({depth for _, curves in blocks for depth in curves.cells.unique()})
    colours = dict(zip(depths, (DEPTHS * len(depths))[: len(depths)], strict=True))
    figure = new_figure(PAGE, 2.9 * len(blocks) + 0.5)
    parts = figure.subfigures(len(blocks), 1, squeeze=False)[:, 0]
    for part, letter, (title, curves) in zip(parts, "ab", blocks, strict=False):
        part.suptitle(f"{letter}  {title}", x=0.01, ha="left", fontsize=8, weight="bold")
        axes = part.subplots(2, len(PANELS), sharex="col", sharey="row")
        for lines, ((dataset, name), (pruned, stage)) in zip(axes.T, PANELS, strict=True):
            mine = curves[curves.genotype.str.startswith(dataset) & (curves.pruned == pruned)]
            draw_curves(*lines, mine, colours)
            lines[0].set_title(f"{name}, {stage}", weight="normal", fontsize=7.5, pad=3)
            lines[1].set_xlabel("training epoch")
            lines[1].xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        for ax, label in zip(axes[:, 0], ("cross-entropy", "accuracy, %"), strict=True):
            ax.set_ylabel(label)
        part.align_ylabels(axes[:, 0])
    figure.legend(handles=_key(colours), loc="outside upper left", ncols=len(colours) + 2, columnspacing=1.4)
    add_note(figure, note)
    return figure


def draw_curves(loss, accuracy, curves, colours):
    """Every fold of `curves` into two axes: the loss of both sides, the accuracy of the held-out side."""
    runs = curves.groupby(["genotype", "protocol", "channels", "seed", "cells", "fold"], sort=True)
    look = {"linewidth": 0.7, "alpha": 0.75 if runs.ngroups <= 20 else 0.4}
    for (*_, cells, _), fold in runs:
        look["color"] = colours[cells]
        marks = {"marker": "o", "markersize": 1.5} if len(fold) == 1 else {}
        loss.plot(fold.epoch, fold.train_loss, linestyle=DASHED, **look, **marks)
        loss.plot(fold.epoch, fold.valid_loss, **look, **marks)
        accuracy.plot(fold.epoch, 100 * fold.valid_acc, **look, **marks)
    if not runs.ngroups:
        for ax in (loss, accuracy):
            ax.text(0.5, 0.5, "no network", transform=ax.transAxes, ha="center", va="center", color=PUBLISHED)
            ax.axis("off")


def _published(curves):
    """The published curves under the names of training_curves.csv."""
    names = {"layers": "cells", "val_loss": "valid_loss", "val_acc": "valid_acc"}
    keys = {"genotype": curves.dataset + "-published", "pruned": curves.model == "pruned"}
    return curves.rename(columns=names).assign(**keys, protocol="epochwise", channels=0, seed=0)


def _found(curves):
    shown = (curves.context == "none") & ~curves.genotype.str.contains("-distilled|-ensemble|-hum")
    return curves[shown].assign(pruned=curves.pruned > 0)


def _key(colours):
    handles = [Line2D([], [], color=colour, label=f"L = {cells}") for cells, colour in colours.items()]
    sides = (("training side", DASHED), ("held-out side", "-"))
    return handles + [Line2D([], [], color="#444444", linewidth=0.9, linestyle=s, label=name) for name, s in sides]
