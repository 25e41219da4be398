"""Figure 18, beyond the paper: memory of the networks on a microcontroller, and the share of time that they take."""

from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from sleepkit.paper.figures.style import FULL, INK, PAGE, PRUNED, add_note, new_figure, styled
from sleepkit.paper.tables.wearable import CLASSES, CLOCKS, device_costs

NETWORKS = {"full": FULL, "pruned": PRUNED}  # the distilled one has the pruned one's size
FILLS, MARKS = {"float32": "full", "int8": "none"}, {5: "o", 30: "s"}
LEAST = 32, 24  # kB of flash and RAM where the axes begin
SHADES = ("#DCE6EC", "#EAF0F3", "#F6F8F9")  # of the classes of devices, smallest first


@styled
def plot_wearable(costs, note=""):
    """Flash and RAM against what classes of devices have, and the share of an epoch's 30 s that its stage takes.

    costs : data frame as wearable.csv"""
    rows = device_costs(costs)
    rows = rows[rows.network.isin(list(NETWORKS))]
    figure = new_figure(PAGE, 3.3)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    draw_memory(left, rows)
    draw_time(right, rows)
    looks = {name: {"network": name} for name in NETWORKS} | {kind: {"kind": kind} for kind in FILLS}
    looks |= {f"windows of {seconds} s": {"window": seconds} for seconds in MARKS}
    handles = [Line2D([], [], label=label, **_look(**look)) for label, look in looks.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=6, columnspacing=1.2, handletextpad=0.3)
    return add_note(figure, note)


def draw_memory(ax, rows):
    """Every network as a mark on axes of flash and RAM; a box is what a device of a class has."""
    smaller = (LEAST[1], *(ram for ram, *_ in CLASSES))  # boxes overlap: a class is named above the one before it
    for (ram, flash, mhz, device), shade, floor in list(zip(CLASSES, SHADES, smaller, strict=False))[::-1]:
        ax.add_patch(Rectangle((1, 1), flash - 1, ram - 1, facecolor=shade, edgecolor="#9AA7AE", linewidth=0.6))
        ax.text(0.95 * flash, 1.08 * floor, f"{device}, {mhz} MHz", ha="right", fontsize=7, color="#5F6B72")
    for row in rows.itertuples():
        ax.plot(row.flash, row.ram, **_look(row.network, row.type, row.window))
    ax.set(xscale="log", yscale="log", xlim=(LEAST[0], 2800), ylim=(LEAST[1], 2000))
    ax.set(title="a  Memory", xlabel="flash, kB", ylabel="RAM, kB")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks([2**power for power in range(5, 12)], [f"{2**power:,}" for power in range(5, 12)])
        axis.set_ticks([], minor=True)


def draw_time(ax, rows):
    """The share of time at the slowest and the fastest of the clocks, joined by a line, a row per network."""
    places = [-place for place in range(len(rows))]
    for place, row in zip(places, rows.to_dict("records"), strict=True):
        ends = [row[f"share{mhz}"] for mhz in (CLOCKS[0], CLOCKS[-1])]
        look = _look(row["network"], row["type"], row["window"])
        ax.plot(ends, (place, place), **look | {"linestyle": "-", "linewidth": 1})
        ax.text(1.25 * ends[0], place, f"{ends[0]:.0f} %", va="center_baseline", fontsize=7)
    ax.set(xscale="log", title="b  Share of real time", xlabel=f"% of 30 s, at {CLOCKS[-1]} and at {CLOCKS[0]} MHz")
    ax.set_yticks(places, [f"{row.network}, {row.type}, {row.window:.0f} s" for row in rows.itertuples()])
    ax.set_xticks((0.3, 1, 3, 10, 30), ("0.3", "1", "3", "10", "30"))
    ax.set_xticks([], minor=True)
    ax.margins(x=0.2)


def _look(network=None, kind="float32", window=5):
    colour = NETWORKS.get(network, INK)
    look = {"color": colour, "marker": MARKS[int(window)], "linestyle": "", "fillstyle": FILLS[kind], "markersize": 5.5}
    return look | {"markeredgecolor": colour, "markeredgewidth": 1.1}
