"""Figures 2 to 5: the cells of a genotype, published over found."""

from itertools import accumulate

from matplotlib import lines, patches
from matplotlib.path import Path

from sleepkit.paper.figures.layout import layered
from sleepkit.paper.figures.style import FAINT, INK, PAGE, add_note, draw_box, new_figure, styled

# Label and colour of an operation. The number is the kernel size; the key under the figure spells out the rest.
FAMILIES = {
    "sep": ("#CFE5F5", "sep: separable convolution"),
    "dil": ("#FBE3C0", "dil: dilated separable convolution"),
    "conv": ("#E6DDF0", "conv: plain convolution"),
    "pool": ("#DDEBDA", "max, avg: pooling"),
    "skip": ("#EEEEEE", "skip: identity"),
}
SIGNALS = {0: "#B4540A", 1: "#2A6F97"}  # the two inputs keep a colour along their way; everything else is grey
WIDTHS = {"state": 0.26, "op": 0.44, "wire": 0.0, "out": 0.34}
MARGIN = 0.12
BOX = {"edgecolor": INK, "linewidth": 0.6, "zorder": 3}
TO_OUTPUT = {"color": FAINT, "linestyle": (0, (3, 1.5)), "linewidth": 0.9}


@styled
def plot_cells(published, found, kind, note=""):
    """The cell `kind` ("normal" or "reduce") of two genotypes, one over the other, at page width.

    published, found : Genotype; one of them may be None"""
    genotypes = {"published": published, "found in this run": found}
    cells = {label: getattr(genotype, kind) for label, genotype in genotypes.items() if genotype is not None}
    places = {label: layered(entries)[0].values() for label, entries in cells.items()}
    heights = {label: max(y) - min(y) + 0.75 for label, y in places.items()}
    total = top = sum(heights.values()) + 0.75
    figure = new_figure(PAGE, total, layout="none")
    name = {"normal": "Normal cell", "reduce": "Reduction cell"}[kind]
    for letter, (label, entries) in zip("ab", cells.items(), strict=False):
        top -= heights[label]
        ax = figure.add_axes((0, top / total, 1, heights[label] / total), label=label)
        draw_cell(ax, entries, PAGE, heights[label])
        ax.text(MARGIN, heights[label] - 0.08, f"{letter}  {name}, {label}", va="top", fontsize=8, weight="bold")
    shown = {_family(operation) for entries in cells.values() for operation, _ in entries}
    looks = [look for family, look in FAMILIES.items() if family in shown]
    handles = [patches.Patch(facecolor=colour, edgecolor=INK, linewidth=0.5, label=words) for colour, words in looks]
    handles.append(lines.Line2D([], [], label="to the output", **TO_OUTPUT))
    place = {"loc": "lower left", "bbox_to_anchor": (0.01, 0.36 / total), "borderaxespad": 0}
    figure.legend(handles=handles, ncols=4, columnspacing=1.2, **place)
    return add_note(figure, note)


def draw_cell(ax, entries, width, height):
    """Draw a cell into `ax`, whose units become inches: a labelled box per operation, a line per connection."""
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    y, segments = layered(entries)
    middle = (height - 0.25) / 2 - (max(y.values()) + min(y.values())) / 2
    y = {vertex: value + middle for vertex, value in y.items()}
    colours = {v: SIGNALS.get(v.index, "#666666") if v.kind in ("state", "wire") else "#666666" for v in y}
    x = _columns(y, width)
    fed = sorted((right.layer, left.index) for left, right in segments if right.kind == "op")
    last = {state: layer for layer, state in fed}  # of its operations; beyond it a line only goes to the output
    for left, right in segments:
        _draw_segment(ax, left, right, x, y, last, colours[left])
    inside = {"ha": "center", "va": "center_baseline", "fontsize": 7, "zorder": 4}
    for vertex in y:
        centre = (x[vertex][0], y[vertex])
        if vertex.kind == "state":
            ax.add_patch(patches.Circle(centre, 0.105, fc="white", ec=colours[vertex], zorder=3, linewidth=0.9))
            if vertex.index < 2:
                label = f"$c_{{k-{2 - vertex.index}}}$"
                ax.text(centre[0] - 0.15, centre[1], label, ha="right", va="center", fontsize=9, zorder=4)
            else:
                ax.text(*centre, str(vertex.index - 2), **inside)
        elif vertex.kind == "op":
            name = entries[vertex.index][0]
            corner = (centre[0] - WIDTHS["op"] / 2, centre[1] - 0.17 / 2)
            draw_box(ax, corner, WIDTHS["op"], 0.17, 0.04, facecolor=FAMILIES[_family(name)][0], **BOX)
            ax.text(*centre, short_name(name), **inside)
        elif vertex.kind == "out":
            ends = [y[left] for left, right in segments if right == vertex]
            centre, tall = (centre[0], (max(ends) + min(ends)) / 2), max(max(ends) - min(ends) + 0.17, 0.62)
            draw_box(ax, (centre[0] - 0.09, centre[1] - tall / 2), 0.18, tall, 0.04, facecolor="white", **BOX)
            ax.text(*centre, "concat", rotation=90, **inside | {"va": "center"})
            ax.text(centre[0] + 0.13, centre[1], r"$c_k$", ha="left", va="center", fontsize=9)


def short_name(operation):
    """The label of an operation: "sep_conv_1x5" is "sep 5"."""
    return f"{operation.split('_')[0]} {operation[-1]}" if operation[-1].isdigit() else operation.split("_")[0]


def _family(operation):
    return "pool" if "pool" in operation else operation.split("_")[0]


def _columns(y, width):
    """Centre and half width of every vertex's column, in inches: equal gaps between the columns."""
    layers = sorted({vertex.layer for vertex in y})
    widths = {layer: max(WIDTHS[vertex.kind] for vertex in y if vertex.layer == layer) for layer in layers}
    gap = (width - 0.42 - 0.22 - sum(widths.values())) / (len(layers) - 1)
    lefts = dict(zip(layers, accumulate((wide + gap for wide in widths.values()), initial=0.42), strict=False))
    return {v: (lefts[v.layer] + widths[v.layer] / 2, widths[v.layer] / 2) for v in y}


def _draw_segment(ax, left, right, x, y, last, colour):
    """A curve between two columns that leaves and arrives level; through its column a passing line runs level too."""
    reach = {"state": 0.105, "op": WIDTHS["op"] / 2, "out": 0.09}
    start = x[left][0] + reach.get(left.kind, x[left][1])
    end = x[right][0] - reach.get(right.kind, x[right][1])
    arrival = y[left] if right.kind == "out" else y[right]
    begin, stop = x[left][0] + x[left][1], x[right][0] - x[right][1]
    middle = (begin + stop) / 2
    points = [(start, y[left]), (begin, y[left]), (middle, y[left]), (middle, arrival), (stop, arrival), (end, arrival)]
    codes = [Path.MOVETO, Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4, Path.LINETO, Path.LINETO]
    if right.kind == "wire":
        points.append((x[right][0] + x[right][1], arrival))
    to_output = right.kind == "out" or (right.kind == "wire" and right.layer >= last.get(right.index, 0))
    look = TO_OUTPUT | {"zorder": 1} if to_output else {"color": colour, "linewidth": 1.1, "zorder": 2}
    ax.add_patch(patches.PathPatch(Path(points, codes[: len(points)]), fill=False, **look))
