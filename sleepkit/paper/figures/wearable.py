"""Figure 18, beyond the paper: memory of the networks on a microcontroller, and the share of time that they take."""

from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from sleepkit.paper.figures.style import FULL, INK, PAGE, PRUNED, add_note, new_figure, styled
from sleepkit.paper.tables.wearable import CLASSES, CLOCKS, device_costs

NETWORKS = {"full": FULL, "pruned": PRUNED}  # the distilled one has the pruned one's size
TYPES = {"float32": "full", "int8": "none"}  # how a mark is filled
WINDOWS = {5: "o", 30: "s"}
SHADES = ("#DCE6EC", "#EAF0F3", "#F6F8F9")  # of the classes of devices, smallest first


@styled
def plot_wearable(costs, note=""):
    """Flash against RAM with classes of devices, and the share of real time at two clocks, a row per network.

    costs : data frame as wearable.csv"""
    rows = device_costs(costs)
    rows = rows[rows.network.isin(list(NETWORKS))]
    figure = new_figure(PAGE, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    draw_memory(left, rows)
    draw_time(right, rows)
    return add_note(figure, note)


def draw_memory(ax, rows):
    """Every network as a mark on axes of flash and RAM; a box is what a class of devices has."""
    for (ram, flash, mhz, device), shade in reversed(list(zip(CLASSES, SHADES, strict=True))):
        ax.add_patch(Rectangle((1, 1), flash - 1, ram - 1, facecolor=shade, edgecolor="#9AA7AE", linewidth=0.6))
        ax.text(0.97 * flash, 0.95 * ram, f"{device}, {mhz} MHz", ha="right", va="top", fontsize=7, color="#5F6B72")
    for row in rows.itertuples():
        ax.plot(row.flash, row.ram, **_look(row.network, row.type, row.window))
    ax.set(xscale="log", yscale="log", xlim=(32, 3000), ylim=(24, 2400))
    ax.set(title="a  Memory", xlabel="flash, kB", ylabel="RAM, kB", axisbelow=True)
    for axis, values in ((ax.xaxis, (64, 128, 256, 512, 1024, 2048)), (ax.yaxis, (32, 64, 128, 256, 512, 1024, 2048))):
        axis.set_ticks(values, [f"{value:,}" for value in values])
        axis.set_ticks([], minor=True)
    handles = [Line2D([], [], label=name, **_look(name, "float32", 5)) for name in NETWORKS]
    grey = {"color": INK, "markeredgecolor": INK}
    handles += [Line2D([], [], label=kind, **(_look("full", kind, 5) | grey)) for kind in TYPES]
    handles += [Line2D([], [], label=f"windows of {s} s", **(_look("full", "float32", s) | grey)) for s in WINDOWS]
    ax.figure.legend(handles=handles, loc="outside upper left", ncols=6, columnspacing=1.2, handletextpad=0.3)


def draw_time(ax, rows):
    """The share of an epoch's 30 s that its stage takes at the slowest and the fastest clock."""
    names = [f"{row.network}, {row.type}, {row.window:.0f} s" for row in rows.itertuples()]
    for place, row in enumerate(rows.to_dict("records")):
        low, high = row[f"share{CLOCKS[-1]}"], row[f"share{CLOCKS[0]}"]
        ax.plot((low, high), (-place, -place), color=NETWORKS[row["network"]], linewidth=1)
        ax.plot((low, high), (-place, -place), "|", color=NETWORKS[row["network"]], markersize=7)
        ax.text(1.15 * high, -place, f"{high:.2g} %", va="center_baseline", fontsize=7)
    ax.set(xscale="log", title="b  Share of real time", xlabel=f"% of 30 s, from {CLOCKS[-1]} MHz to {CLOCKS[0]} MHz")
    ax.set_yticks([-place for place in range(len(names))], names)
    ax.margins(x=0.2)


def _look(network, kind, window):
    colour = NETWORKS[network]
    look = {"color": colour, "marker": WINDOWS[int(window)], "linestyle": "", "markersize": 5.5}
    return look | {"fillstyle": TYPES[kind], "markeredgecolor": colour, "markeredgewidth": 1.1}
