"""Figure 6: how the search went."""

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sleepkit.paper.figures.style import PAGE, PUBLISHED, TRAIN, VALID, add_note, new_figure, styled

SOLID, DASHED = "-", (0, (3, 1.2))
HALVES = (  # column here, column in the published table, name, colour, line
    ("train", "train", "training half", TRAIN, SOLID),
    ("valid", "val", "validation half", VALID, DASHED),
)
TITLES = {
    "loss": ("Loss", "cross-entropy"),
    "acc": ("Accuracy", "accuracy, %"),
    "samples": ("Samples left", "% of the half"),
    "operations": ("Operations left", "operations, both cells"),
    "temperature": ("Temperature", "T"),
}


@styled
def plot_search(history, published, samples, note=""):
    """Loss and accuracy of both halves per epoch with the pruning rounds marked, samples, operations and temperature.

    history : data frame, one row per search epoch (history.csv), or None: then the published curves alone
    published : data frame epoch, train_loss, train_acc, val_loss, val_acc
    samples : data frame epoch, n_train, n_valid: the published sizes of the halves from those epochs on
    returns a matplotlib figure at page width
    """
    if history is None:
        figure, rows = new_figure(PAGE, 2.4), [["loss", "acc", "samples"]]
    else:
        figure = new_figure(PAGE, 4.5)
        rows = [["loss"] * 3 + ["acc"] * 3, ["samples"] * 2 + ["operations"] * 2 + ["temperature"] * 2]
    panels = figure.subplot_mosaic(rows, height_ratios=(1.3, 1)[: len(rows)])
    for letter, (name, ax) in zip("abcde", panels.items(), strict=False):
        title, label = TITLES[name]
        ax.set(title=f"{letter}  {title}", xlabel="search epoch", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    _draw_published(panels, published, samples)
    if history is not None:
        _draw_found(panels, history)
    for name in ("acc", "samples"):
        panels[name].yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    figure.legend(handles=_key(history), loc="outside upper left", ncols=3, columnspacing=1.6)
    add_note(figure, note)
    return figure


def _draw_published(panels, published, samples):
    for half, column, _, _, line in HALVES:
        look = {"color": PUBLISHED, "linewidth": 0.7, "linestyle": line}
        for name in ("loss", "acc"):
            panels[name].plot(published.epoch, published[f"{column}_{name}"], **look)
        sizes = samples[f"n_{half}"] / samples[f"n_{half}"].iloc[0]
        # a round takes place between its epoch and the next, where this run's steps and their marks stand, too
        epochs, sizes = [*(samples.epoch - 0.5).clip(1), published.epoch.max()], [*sizes, sizes.iloc[-1]]
        panels["samples"].step(epochs, sizes, where="post", **look)


def _draw_found(panels, history):
    marks = {"marker": "o", "markersize": 2.4}
    for half, _, _, colour, line in HALVES:
        for name in ("loss", "acc"):
            panels[name].plot(history.epoch, history[f"{half}_{name}"], color=colour, linestyle=line, **marks)
        left = history[f"n_{half}"] / history[f"n_{half}"].iloc[0]
        panels["samples"].plot(history.epoch, left, drawstyle="steps-mid", color=colour, linestyle=line, **marks)
    panels["operations"].plot(history.epoch, history.operations, drawstyle="steps-mid", color="#333333", **marks)
    panels["operations"].set_ylim(0, history.operations.max() * 1.08)
    panels["temperature"].plot(history.epoch, history.temperature, color="#333333", **marks)
    panels["temperature"].set_ylim(0, history.temperature.max() * 1.08)
    for epoch in pruning_epochs(history):
        for ax in panels.values():
            ax.axvline(epoch + 0.5, color="#C9A227", linewidth=0.8, linestyle=(0, (1, 1)), zorder=0)


def pruning_epochs(history):
    """Epochs at whose end something was removed, (n,) int."""
    removed = history[["removed_train", "removed_valid", "removed_operations"]].sum(axis=1)
    return history.epoch[removed > 0].to_numpy()


def _key(history):
    if history is None:
        return [
            Line2D([], [], color=PUBLISHED, linewidth=0.7, linestyle=line, label=f"published, {name}")
            for _, _, name, _, line in HALVES
        ]
    sizes = {half: f"{history[f'n_{half}'].iloc[0]:,} samples" for half in ("train", "valid")}
    handles = [
        Line2D([], [], color=colour, linestyle=line, marker="o", markersize=2.4, label=f"{name}, {sizes[half]}")
        for half, _, name, colour, line in HALVES
    ]
    handles.append(Line2D([], [], color="#C9A227", linewidth=0.8, linestyle=(0, (1, 1)), label="pruning round"))
    handles += [
        Line2D([], [], color=PUBLISHED, linewidth=0.7, linestyle=line, label=f"published, {name.split()[0]}")
        for _, _, name, _, line in HALVES
    ]
    return handles
