"""Figure 1: the two-stage framework, drawn from patches."""

import numpy as np
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.path import Path

from sleepkit.paper.figures.style import INK, PAGE, TRAIN, VALID, add_note, draw_box, new_figure, styled

SEARCH, PRUNE = ("#EAF3F8", "#2A6F97"), ("#FBF1E3", "#B4540A")  # panel, ink of stage 1 and of stage 2
OPERATIONS = ("#3B8BC4", "#E39B3A", "#6AA67A", "#9A6FB8")
GONE = "#D9D9D9"
LABEL = {"fontsize": 7, "va": "center"}
CENTRED = LABEL | {"ha": "center"}


@styled
def plot_framework(note=""):
    """Stage 1, a search with data and operation pruning by turns, over stage 2, the scoring and removal of filters."""
    height = 4.75 + (0.22 if note else 0)
    figure = new_figure(PAGE, height, layout="none")
    ax = figure.add_axes((0, (height - 4.75) / height, 1, 4.75 / height))
    ax.set(xlim=(0, PAGE), ylim=(0, 4.75))
    ax.axis("off")
    first = (2.5, 2.15, 4.47, "Stage 1", "search the architecture, and prune data and operations on the way", SEARCH)
    second = (0.1, 2.1, 0.26, "Stage 2", "prune the filters of the network that was found", PRUNE)
    for y, tall, head, title, text, colours in (first, second):
        draw_box(ax, (0.1, y), PAGE - 0.2, tall, 0.1, linewidth=0, facecolor=colours[0])
        ax.text(0.25, head, title, fontsize=9, weight="bold", va="center", color=colours[1])
        ax.text(0.85, head, text, fontsize=7.5, va="center", color="#444444")
    _search(ax)
    _filters(ax)
    return add_note(figure, note)


def _search(ax):
    ink = SEARCH[1]
    _epochs(ax, 0.25, 3.02)
    _box(ax, 1.72, 2.95, 1.42, 1.2, "Search network", ink)
    _states(ax, ((1.86, 3.6), (3.0, 3.6)))  # joined by every candidate operation, as wide as its weight
    for colour, bend, width in zip(OPERATIONS, (0.36, 0.12, -0.12, -0.36), (2.1, 1.82, 1.68, 1.4), strict=True):
        _arrows(
            ax, [(1.93, 3.6, 2.93, 3.6)], colour, arrowstyle="-", linewidth=width, connectionstyle=f"arc3,rad={bend}"
        )
    ax.text(2.43, 3.15, r"$w = \mathrm{softmax}(\alpha / T)$", **CENTRED)
    _box(ax, 3.68, 3.62, 1.62, 0.53, "Data pruning (BDP)", ink, "by variance of error")
    _box(ax, 3.68, 2.95, 1.62, 0.53, "Operation pruning (DOP)", ink, r"weight below $\mu\,/\,|O|$")
    _box(ax, 5.75, 2.95, 1.2, 1.2, "Genotype", ink)
    states = np.array([(5.95, 3.72), (5.95, 3.22), (6.37, 3.6), (6.75, 3.32)])
    for colour, ends in zip(OPERATIONS, ((0, 2), (1, 2), (2, 3), (1, 3)), strict=True):
        ax.plot(*states[list(ends)].T, color=colour, linewidth=2, zorder=1)
    _states(ax, states)
    ways = (1.42, 3.55, 1.70, 3.55), (3.16, 3.72, 3.66, 3.9), (4.49, 3.61, 4.49, 3.49), (3.66, 3.2, 3.16, 3.38)
    _arrows(ax, (*ways, (5.32, 3.55, 5.73, 3.55)), ink)
    ax.text(3.41, 3.55, "every\n5 epochs", color=ink, **CENTRED)
    steps = "the validation half teaches the weights of operations (α), the training half those of the network."
    ax.text(0.27, 2.68, f"By turns: {steps}", color="#555555", **LABEL)


def _epochs(ax, x, y):
    """Two stacks of short traces: the halves of the data."""
    random = np.random.default_rng(3)
    halves = ("training half", TRAIN, 0.68, 11, 0.05), ("validation half", VALID, 0, 4, 0.10)
    for label, colour, up, speed, strength in halves:
        top = y + up
        for shift in (0.08, 0.04, 0):
            ax.add_patch(Rectangle((x + shift, top + shift - 0.05), 1.05, 0.34, fc="white", ec=colour, linewidth=0.8))
        time = np.linspace(0, 1, 160)
        trace = strength * np.sin(2 * np.pi * speed * time) * (0.6 + 0.4 * np.sin(7 * time))
        trace += 0.02 * random.standard_normal(160)
        ax.plot(x + 0.04 + 0.97 * time, top + 0.12 + 0.9 * trace, color=colour, linewidth=0.6)
        ax.text(x, top - 0.13, label, color=colour, **LABEL)


def _filters(ax):
    ink = PRUNE[1]
    columns = (0.25, 1.62, 3.42, 4.62, 5.75)
    kernels = np.random.default_rng(5).uniform(0.15, 1, (6, 5))
    kernels[4] = kernels[1] * 0.9
    kernels[3] = 0.55
    _box(ax, columns[0], 0.42, 1.05, 1.42, "Trained network", ink)
    _kernels(ax, columns[0] + 0.2, 0.56, kernels)
    capacity, independence = np.array([0.75, 0.6, 0.9, 0.35, 0.55, 0.8]), np.array([0.8, 0.3, 0.7, 0.5, 0.25, 0.95])
    importance = (capacity + independence) / 2
    gone = tuple(np.argsort(importance)[:3])
    upper = (1.19, "Capacity", "entropy of its\nkernels' norms", capacity)
    lower = (0.42, "Independence", "distance to\nthe others", independence)
    for y, name, words, values in (upper, lower):
        _box(ax, columns[1], y, 1.38, 0.65, name, ink)
        ax.text(columns[1] + 0.08, y + 0.17, words, linespacing=1.1, **LABEL)
        _bars(ax, columns[1] + 0.93, y + 0.05, values)
    _box(ax, columns[2], 0.67, 0.84, 0.92, "Importance", ink, "weighted sum", 0.66)
    _bars(ax, columns[2] + 0.24, 0.75, importance, gone)
    _box(ax, columns[3], 0.42, 0.78, 1.42, "Prune", ink)
    _kernels(ax, columns[3] + 0.1, 0.56, kernels, gone)
    _box(ax, columns[4], 0.42, 1.2, 1.42, "Fine-tune", ink, "half the filters", 0.15)
    _kernels(ax, columns[4] + 0.12, 0.78, np.delete(kernels, gone, axis=0))
    ways = (1.32, 1.3, 1.60, 1.5), (1.32, 0.95, 1.60, 0.75), (3.02, 1.5, 3.40, 1.25), (3.02, 0.75, 3.40, 1.0)
    _arrows(ax, (*ways, (4.28, 1.13, 4.60, 1.13), (5.42, 1.13, 5.73, 1.13)), ink)
    for x, y, word in ((3.24, 1.5, r"$\lambda$"), (3.12, 0.66, r"$1-\lambda$")):
        ax.text(x, y, word, ha="left", va="center", fontsize=8, color=ink)
    way = Path([(6.35, 2.94), (6.35, 2.35), (0.775, 2.35), (0.775, 1.86)])
    ax.add_patch(FancyArrowPatch(path=way, color="#666666", arrowstyle="-|>", mutation_scale=8))
    ax.text(0.87, 2.02, "train from scratch", color="#555555", **LABEL)


def _box(ax, x, y, width, height, title, ink, words="", up=0.14):
    draw_box(ax, (x, y), width, height, 0.05, linewidth=0.8, facecolor="white", edgecolor=ink)
    ax.text(x + width / 2, y + height - 0.13, title, ha="center", va="center", fontsize=7.5, weight="bold")
    ax.text(x + width / 2, y + up, words, **CENTRED)


def _arrows(ax, ways, colour, **look):
    """ways : (x, y) of the start and of the end of each arrow."""
    look = {"arrowstyle": "-|>", "mutation_scale": 8, "linewidth": 1, "shrinkA": 0, "shrinkB": 0} | look
    for way in ways:
        ax.add_patch(FancyArrowPatch(way[:2], way[2:], color=colour, **look))


def _states(ax, centres):
    for centre in centres:
        ax.add_patch(Circle(centre, 0.07, facecolor="white", edgecolor=INK, linewidth=0.8, zorder=3))


def _kernels(ax, x, y, kernels, gone=()):
    """Filters as rows of squares, darker where the kernel is stronger; those that go are crossed out."""
    size, step = 0.11, 0.165
    for row, filter_ in enumerate(kernels):
        bottom = y + step * (len(kernels) - 1 - row)
        for column, strength in enumerate(filter_):
            colour = GONE if row in gone else (0.71, 0.33, 0.04, 0.15 + 0.8 * strength)
            ax.add_patch(Rectangle((x + size * 1.08 * column, bottom), size, size, facecolor=colour, linewidth=0))
        if row in gone:
            ax.plot((x - 0.03, x + 1.08 * size * 5 + 0.02), (bottom + size / 2,) * 2, color="#555555", linewidth=0.9)


def _bars(ax, x, y, values, gone=()):
    for row, value in enumerate(values):
        colour = GONE if row in gone else "#D98A4B"
        bottom = y + 0.07 * (len(values) - 1 - row)
        ax.add_patch(Rectangle((x, bottom), 0.38 * value, 0.05, facecolor=colour, linewidth=0))
