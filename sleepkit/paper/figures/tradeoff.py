"""Figure 14: accuracy against parameters and MACs, and what others report."""

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sleepkit.evaluation.protocols import EPOCHWISE, SUBJECTWISE
from sleepkit.paper.figures.style import INK, PAGE, add_note, new_figure, styled
from sleepkit.paper.published import PREPARED_COUNTS, baselines, published_networks
from sleepkit.paper.tables.runs import RATE

DATASETS = {"edf20": "EDF-20", "edf78": "EDF-78"}
QUANTITIES = (("params", 1e3, "parameters, thousands"), ("macs", 1e6, "MACs per epoch, millions"))
SOURCES = {"others": INK, "paper, as published": "#2A6F97", "this run": "#B4540A"}
# Accuracies of different protocols are not comparable; the fill of a mark says which it is.
KINDS = {"subjects apart": ("subjects apart", "full")}
KINDS |= {"test fold": ("epoch chosen on the test fold, or epoch-wise", "none")}
KINDS |= {"not stated": ("personalised or not stated", "left")}
KEYS = ["genotype", "origin", "variant", "protocol", "channels", "cells", "pruned"]
PEER = "AttnSleep at 5 s, merged"  # on the first 5 s of EDF-20; its size there is not stated


@styled
def plot_tradeoff(crossval, parameters, note=""):
    """Accuracy against parameters and multiplications (MACs) per epoch of 30 s, as the paper and others report it, a
    row per data set with a list of the others; then accuracy and size of this run's networks, a row each.

    crossval, parameters : data frames as crossval.csv and parameters.csv of all notebooks, or None
    A mark of this run is a network without context, mean and sd over seeds."""
    found = {} if crossval is None else {name: _found(name, crossval, parameters) for name in DATASETS}
    found = {name: rows for name, rows in found.items() if len(rows)}
    heights = [2.6] * len(DATASETS) + [0.14 * len(rows) + 0.6 for rows in found.values()]
    figure = new_figure(PAGE, sum(heights) + 0.75)
    parts, letters = figure.subfigures(len(heights), 1, height_ratios=heights), iter("abcdef")
    for part, (dataset, name) in zip(parts, DATASETS.items(), strict=False):
        others = _others(dataset)
        points, axes = pd.concat([others, _published(dataset)]), part.subplots(1, 3, width_ratios=(1, 1, 1.2))
        for ax, (column, unit, label) in zip(axes, QUANTITIES, strict=False):
            draw_points(ax, points, column, unit)
            ax.set(title=f"{next(letters)}  {name}, epochs of 30 s", xlabel=label, ylabel="accuracy, %")
        draw_ranking(axes[2], others)
    for part, (dataset, rows) in zip(parts[len(DATASETS) :], found.items(), strict=True):
        ax, seconds = part.subplots(), rows.samples.max() / RATE
        draw_found(ax, rows)
        ax.set_title(f"{next(letters)}  {DATASETS[dataset]}, this run, epochs of {seconds:g} s")
    figure.legend(handles=_key(crossval is not None), loc="outside upper left", ncols=3, columnspacing=1.4)
    rows = " A row of this run: architecture, depth L, share of the filters pruned, training." * bool(found)
    return add_note(figure, note + rows)


def draw_points(ax, points, column, unit):
    """Every network of known `column` into `ax`, a mark, numbered where the list has it."""
    points = points[points[column].notna() & points.acc.notna()]
    sizes = points[column] / unit
    for x, row in zip(sizes, points.itertuples(), strict=True):
        ax.plot(x, row.acc, **_look(row))
        ax.annotate(row.number, (x, row.acc), (4, 0), textcoords="offset points", va="center", fontsize=7)
    ax.set(xscale="log", axisbelow=True, xlim=(sizes.min() / 2.5, sizes.max() * 2.5))
    ax.margins(y=0.12)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(linewidth=0.3, color="#E4E4E4")


def draw_ranking(ax, others):
    """The other methods as a numbered list with accuracy and the fill of their protocol."""
    ax.axis("off")
    ax.set(xlim=(0, 1), ylim=(-max(len(others), 16) - 0.5, 0.5), title="Others, accuracy in %")
    for place, row in enumerate(others.itertuples(), start=1):
        ax.plot(0.02, -place, **_look(row))
        value = "–" if pd.isna(row.acc) else f"{row.acc:.1f}"
        for x, side, text in ((0.12, "right", row.number), (0.15, "left", row.name), (1, "right", value)):
            ax.text(x, -place, text, ha=side, va="center_baseline", fontsize=7)


def draw_found(ax, rows):
    """Accuracy of this run's networks into `ax`, the largest on top, with their sizes on the right."""
    look = {"textcoords": "offset points", "ha": "right", "va": "center", "fontsize": 7}
    for place, row in enumerate(rows.itertuples()):
        ax.errorbar(row.acc, place, xerr=None if pd.isna(row.sd) else row.sd, elinewidth=0.8, **_look(row))
    sizes = [["parameters", *rows.params.map("{:,.0f}".format)], ["MACs, M", *(rows.macs / 1e6).map("{:.1f}".format)]]
    for right, texts in zip((50, 95), sizes, strict=True):  # points
        for place, text in enumerate(texts, start=-1):
            text = text.replace("nan", "not stated")
            ax.annotate(text, (1, place), (right, 0), ax.get_yaxis_transform(), **look)
    ax.set(yticks=range(len(rows)), yticklabels=rows.name, ylim=(len(rows) - 0.4, -0.6), xlabel="accuracy, %")
    ax.grid(linewidth=0.3, color="#E4E4E4")


def protocol_kind(protocol):
    """Which of KINDS a protocol belongs to, from its words in baselines.csv or crossval.csv."""
    if "best epoch on the test fold" in protocol or protocol == EPOCHWISE.name:
        return "test fold"
    apart = ("subject-wise", SUBJECTWISE.name, "leave-one-subject-out", "grouped by subject", "subject-independent")
    return "subjects apart" if any(word in protocol for word in apart) else "not stated"


def _others(dataset):
    rows = baselines()
    rows = rows[rows.dataset == dataset].sort_values("acc", ascending=False, kind="stable")
    names = rows.method.str.replace(r" \((\d{4}|.* et al\. \d{4}|data set not named|best of 3 sets)\)", "", regex=True)
    frame = pd.DataFrame({"name": names, "acc": rows.acc, "params": rows.params, "macs": rows.mmacs * 1e6})
    frame = frame.assign(kind=rows.protocol.map(protocol_kind), pruned=False, source="others")
    return frame.assign(number=[str(number) for number in range(1, len(frame) + 1)])


def _published(dataset):
    rows = published_networks(dataset).sort_values("L", kind="stable")
    frame = pd.DataFrame({"acc": 100 * rows.acc, "params": rows.params, "macs": rows.macs, "pruned": rows.stage == 2})
    return frame.assign(kind="test fold", source="paper, as published", number="")


def _found(dataset, crossval, parameters):
    """This run's networks, the largest first; with a peer, where that was tested on the same epochs."""
    rows = crossval[(crossval.fold == "pooled") & (crossval.context == "none") & (crossval.dataset == dataset)]
    frame = rows.groupby(KEYS).acc.agg(["mean", "std"]).mul(100).reset_index()
    sizes = parameters[["genotype", "channels", "cells", "pruned", "params", "macs", "samples"]].drop_duplicates()
    frame = frame.merge(sizes, on=["genotype", "channels", "cells", "pruned"])
    shares = frame.pruned.map(lambda share: f"{100 * share:.0f} % pruned" if share else "")
    words = zip(frame.origin, frame.cells, shares, frame.variant, strict=True)
    names = [", ".join(filter(None, (origin, f"L = {cells}", *more))) for origin, cells, *more in words]
    frame = frame.assign(kind=frame.protocol.map(protocol_kind), source="this run", name=names)
    frame = frame.assign(pruned=frame.pruned > 0).rename(columns={"mean": "acc", "std": "sd"})
    if dataset == "edf20" and (frame.samples == 500).any() and rows.n.max() == sum(PREPARED_COUNTS[dataset].values()):
        peer = baselines().query("method == @PEER").assign(name="AttnSleep at 5 s", pruned=False)
        peer = peer.assign(kind="test fold", source="others")
        frame = pd.concat([frame, peer.reindex(columns=frame.columns)])
    return frame.sort_values(["params", "acc"], ascending=False, kind="stable", na_position="first")


def _look(row):
    look = {"color": SOURCES[row.source], "marker": "D" if row.pruned else "o", "linestyle": "", "markersize": 4.5}
    return look | {"fillstyle": KINDS[row.kind][1], "markerfacecoloralt": "white", "markeredgewidth": 0.9}


def _key(found):
    def handle(label, source="others", kind="subjects apart", pruned=False):
        return Line2D([], [], label=label, **_look(pd.Series({"source": source, "kind": kind, "pruned": pruned})))

    handles = [handle(source, source) for source in list(SOURCES)[: 2 + found]]
    handles += [Line2D([], [], linestyle="", label=" ")] * (3 - len(handles))  # a column of the legend a kind of handle
    handles += [handle(words, kind=kind) for kind, (words, _) in KINDS.items()]
    return handles + [handle("full network", kind="test fold"), handle("pruned network", kind="test fold", pruned=True)]
