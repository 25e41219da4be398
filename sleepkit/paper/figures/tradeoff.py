"""Figure 14: accuracy against parameters and MACs, and what others report."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from sleepkit.evaluation.protocols import EPOCHWISE, SUBJECTWISE
from sleepkit.paper.figures.labels import label_marks
from sleepkit.paper.figures.style import INK, PAGE, add_note, new_figure, styled
from sleepkit.paper.published import baselines, published_networks

DATASETS = {"edf20": "EDF-20", "edf78": "EDF-78"}
QUANTITIES = (("params", 1e3, "parameters, thousands"), ("macs", 1e6, "MACs per epoch, millions"))
SOURCES = {"others": INK, "paper, as published": "#2A6F97", "this run": "#B4540A"}
# Accuracies of different protocols are not comparable; the fill of a mark says which it is.
KINDS = {"subjects apart": ("subjects apart", "full")}
KINDS |= {"test fold": ("epoch chosen on the test fold, or epoch-wise", "none")}
KINDS |= {"not stated": ("personalised or not stated", "left")}
KEYS = ["genotype", "origin", "variant", "protocol", "channels", "cells", "pruned"]


@styled
def plot_tradeoff(crossval, parameters, note=""):
    """Accuracy against parameters and multiplications (MACs) per epoch, a row per data set.

    crossval, parameters : data frames as crossval.csv and parameters.csv of all notebooks, or None
    A mark is a network without context, mean and sd over seeds. A list on the right ranks the other methods."""
    figure = new_figure(PAGE, 6.3)
    places = []
    rows = zip(figure.subplots(2, 3, width_ratios=(1, 1, 1.12)), ("ab", "cd"), DATASETS.items(), strict=True)
    for line, letters, (dataset, name) in rows:
        others = _others(dataset)
        points = pd.concat([others, _published(dataset), _found(dataset, crossval, parameters)], ignore_index=True)
        for ax, letter, (column, unit, label) in zip(line, letters, QUANTITIES, strict=False):
            places.append((ax, *draw_points(ax, points, column, unit)))
            ax.set(title=f"{letter}  {name}", xlabel=label, ylabel="accuracy, %")
        draw_ranking(line[2], others)
    figure.legend(handles=_key(crossval is not None), loc="outside upper left", ncols=3, columnspacing=1.4)
    add_note(figure, note)
    figure.draw_without_rendering()  # lays the figure out
    for place in places:
        label_marks(*place)
    return figure


def draw_points(ax, points, column, unit):
    """Every network of known `column` into `ax`, a mark with a bar of one sd; returns x, y, sd, words to label them."""
    points = points[points[column].notna() & points.acc.notna()]
    sizes = points[column] / unit
    for x, row in zip(sizes, points.itertuples(), strict=True):
        look = _look(row.source, row.kind) | {"marker": "D" if row.pruned else "o"}
        ax.errorbar(x, row.acc, None if pd.isna(row.sd) else row.sd, linewidth=0, elinewidth=0.8, **look)
    steps = np.array([step * 10.0**power for power in range(-3, 10) for step in (1, 3)])
    low, high = steps[steps < sizes.min() / 1.3].max(), steps[steps > 1.1 * sizes.max()].min()
    ax.set(xscale="log", xlim=(low, high), axisbelow=True)
    ax.set_xticks(steps[(steps >= low) & (steps <= high)])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}" if size >= 1 else f"{size:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.margins(y=0.12)
    ax.grid(linewidth=0.3, color="#E4E4E4")
    return sizes.to_numpy(), points.acc.to_numpy(), points.sd.to_numpy(float), points.number.tolist()


def draw_ranking(ax, others):
    """The other methods as a numbered list with accuracy and the fill of their protocol."""
    ax.axis("off")
    ax.set(xlim=(0, 1), ylim=(-max(len(others), 16) - 0.5, 0.5), title="Others, accuracy in %")
    for place, row in enumerate(others.itertuples(), start=1):
        ax.plot(0.02, -place, **_look("others", row.kind))
        value = "–" if pd.isna(row.acc) else f"{row.acc:.1f}"
        for x, side, text in ((0.12, "right", row.number), (0.15, "left", row.name), (1, "right", value)):
            ax.text(x, -place, text, ha=side, va="center_baseline", fontsize=7)


def protocol_kind(protocol):
    """Which of KINDS a protocol belongs to, from its words in baselines.csv or crossval.csv."""
    if "best epoch on the test fold" in protocol or protocol == EPOCHWISE.name:
        return "test fold"
    apart = ("subject-wise", SUBJECTWISE.name, "leave-one-subject-out", "grouped by subject", "subject-independent")
    return "subjects apart" if any(word in protocol for word in apart) else "not stated"


def _others(dataset):
    rows = baselines()
    rows = rows[rows.dataset.str.startswith(dataset)].sort_values("acc", ascending=False, kind="stable")
    names = rows.method.str.replace(r" \((\d{4}|.* et al\. \d{4}|data set not named|best of 3 sets)\)", "", regex=True)
    frame = pd.DataFrame({"name": names, "acc": rows.acc, "params": rows.params, "macs": rows.mmacs * 1e6})
    frame = frame.assign(kind=rows.protocol.map(protocol_kind), sd=float("nan"), pruned=False, source="others")
    return frame.assign(number=[str(number) for number in range(1, len(frame) + 1)])


def _published(dataset):
    rows = published_networks(dataset).sort_values("L", kind="stable")
    frame = pd.DataFrame({"acc": 100 * rows.acc, "params": rows.params, "macs": rows.macs, "pruned": rows.stage == 2})
    return frame.assign(kind="test fold", sd=float("nan"), source="paper, as published", number="", name="")


def _found(dataset, crossval, parameters):
    if crossval is None:
        return None
    rows = crossval[(crossval.fold == "pooled") & (crossval.context == "none") & (crossval.dataset == dataset)]
    frame = rows.groupby(KEYS).acc.agg(["mean", "std"]).mul(100).reset_index()
    sizes = parameters[["genotype", "channels", "cells", "pruned", "params", "macs"]].drop_duplicates()
    frame = frame.merge(sizes, on=["genotype", "channels", "cells", "pruned"])
    frame = frame.assign(kind=frame.protocol.map(protocol_kind), source="this run", name=frame.genotype)
    # Of about one size, told apart by words: the variant of training and, where it is not that of all, the search.
    told = {"nested", "searched"} if "published" in set(frame.origin) else {"nested"}
    origins = frame.origin.where(frame.origin.isin(told), "")
    numbers = ["-".join(filter(None, words)) for words in zip(origins, frame.variant, strict=True)]
    return frame.assign(pruned=frame.pruned > 0, number=numbers).rename(columns={"mean": "acc", "std": "sd"})


def _look(source, kind):
    colour = SOURCES[source]
    look = {"color": colour, "marker": "o", "linestyle": "", "markersize": 4.5, "fillstyle": KINDS[kind][1]}
    return look | {"markerfacecoloralt": "white", "markeredgewidth": 0.9, "markeredgecolor": colour}


def _key(found):
    handles = [Line2D([], [], label=source, **_look(source, "subjects apart")) for source in list(SOURCES)[: 2 + found]]
    handles += [Line2D([], [], linestyle="", label=" ")] * (3 - len(handles))  # a column of the legend a kind of handle
    handles += [Line2D([], [], label=words, **_look("others", kind)) for kind, (words, _) in KINDS.items()]
    shapes = (("full network", "o"), ("pruned network", "D"))
    return handles + [Line2D([], [], label=n, **(_look("others", "test fold") | {"marker": m})) for n, m in shapes]
