"""Figures 9 and 10: confusion matrices, published and found in this run."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from sleepkit.epochs import STAGES
from sleepkit.metrics import scores
from sleepkit.paper.figures.style import PAGE, add_note, new_figure, styled
from sleepkit.paper.published import PROTOCOL, published_confusion
from sleepkit.results import of_stage_2

SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#9CC3DC", "#1F5A8A"])
COLUMNS = 3  # matrices side by side, so that counts of five digits read at 7 pt
PUBLISHED_CELLS = (7, 9, 11)
STAGE_NAMES = {False: "Stage 1, full", True: "Stage 2, pruned"}


@styled
def plot_confusion(dataset, found, note=""):
    """Confusion matrices as counts and row percentages: the published ones over those of this run.

    dataset : "edf20" or "edf78"
    found : data frame as confusion.csv, or None. Shown are the networks whose genotype belongs to the data set, each
        epoch scored alone as in the paper (rows with context are left out); the counts of several seeds add up
    returns a matplotlib figure at page width, a row of matrices per stage
    """
    blocks = [(f"Published · {PROTOCOL}", _published(dataset))]
    if found is not None:
        found = found[(found.context == "none") & found.genotype.str.startswith(dataset)]
        for (protocol, genotype), rows in found.groupby(["protocol", "genotype"]):
            blocks.append((f"This run · {genotype} · {protocol}, {_seeds(rows)}", _found(rows)))
    lines = [sum(-(-len(panels) // COLUMNS) for panels in stages) for _, stages in blocks]
    heights = [2.35 * n + 0.25 for n in lines]
    figure = new_figure(PAGE, sum(heights) + 0.25)
    figure.get_layout_engine().set(w_pad=0.06)
    parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (title, stages), n in zip(parts, blocks, lines, strict=True):
        part.suptitle(title, x=0.01, ha="left", fontsize=8, weight="bold", color="#444444")
        axes = part.subplots(n, COLUMNS, squeeze=False)
        row = 0
        for panels in stages:
            for start in range(0, len(panels), COLUMNS):
                line = panels[start : start + COLUMNS]
                for ax, (name, matrix) in zip(axes[row], line, strict=False):
                    draw_confusion(ax, matrix, name)
                axes[row][0].set_ylabel("true stage")
                for ax in axes[row][len(line) :]:
                    ax.remove()
                row += 1
    add_note(figure, note)
    return figure


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
    ax.set_title(
        f"{name}\nACC {100 * values['acc']:.1f}  MF1 {100 * values['mf1']:.1f}  κ {values['kappa']:.3f}",
        fontsize=7.5,
        linespacing=1.3,
    )
    ax.set(xticks=range(len(STAGES)), yticks=range(len(STAGES)), xlabel="predicted stage")
    ax.set_xticklabels(STAGES)
    ax.set_yticklabels(STAGES)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def matrix_of(rows):
    """(5, 5) int, rows true, of the rows of confusion.csv that belong to one network; several seeds add up."""
    table = rows.pivot_table(index="true", columns="predicted", values="n", aggfunc="sum", fill_value=0)
    return table.reindex(index=STAGES, columns=STAGES, fill_value=0).to_numpy()


def _published(dataset):
    return [
        [
            (f"{STAGE_NAMES[model == 'pruned']}, L = {cells}", published_confusion(f"{dataset}_L{cells}_{model}"))
            for cells in PUBLISHED_CELLS
        ]
        for model in ("full", "pruned")
    ]


def _seeds(rows):
    """The seeds whose counts add up, by depth where not all depths have the same, by depth and stage where not all
    stages have."""
    found = {}
    for (cells, pruned), part in rows.groupby(["cells", rows.pruned > 0]):
        seeds = ", ".join(map(str, sorted(part.seed.unique())))
        found[f"L = {cells}", "pruned" if pruned else "full"] = f"{'seeds' if ',' in seeds else 'seed'} {seeds}"
    for length in (0, 1, 2):
        words = {}
        for key, seeds in found.items():
            words.setdefault(", ".join(key[:length]), set()).add(seeds)
        if all(len(seeds) == 1 for seeds in words.values()):
            break
    return "; ".join(f"{key}: {seeds}" if key else seeds for key, (seeds,) in words.items())


def _found(rows):
    """Panels of stage 1 and of stage 2, each a line in the order of depth; a few of them share one line."""
    stages = []
    for again in (False, True):
        part = rows[of_stage_2(rows) == again]
        panels = []
        for (cells, channels, ratio), network in part.groupby(["cells", "channels", "pruned"]):
            removed = f" (−{100 * ratio:.0f} %)" if ratio else ", not pruned"
            name = f"Stage 2{removed}" if again else STAGE_NAMES[False]
            panels.append((f"{name}, L = {cells}, C = {channels}", matrix_of(network)))
        stages.append(panels)
    return stages if sum(map(len, stages)) > COLUMNS else [sum(stages, [])]
