"""Figure 13: how much can go, and whether it matters what goes."""

from sleepkit.paper.figures.style import PAGE, add_note, new_figure, styled

# method in sweep.csv: name, colour, marker, line
METHODS = {
    "importance": ("importance (capacity and independence)", "#2A6F97", "o", "-"),
    "distilled": ("importance, then distilled from the full one", "#3C8D6E", "P", (0, (6, 1.2, 1.2, 1.2))),
    "l1": ("L1 norm", "#E39B3A", "s", (0, (4, 1.2))),
    "random": ("at random", "#8A4FA3", "^", (0, (1.2, 1))),
    "scratch": ("as wide, trained from scratch", "#C2553A", "v", (0, (6, 1.5))),
    "released": ("mask of the released code, nothing removed", "#6B6B6B", "D", (0, (4, 1, 1, 1))),
}
SCORES = (("acc", "accuracy, %"), ("mf1", "macro-F1, %"))
APART = 0.35  # percent of the axis between the methods' marks at one ratio, so that their bars do not hide each other


@styled
def plot_sweep(sweep, note=""):
    """Accuracy and macro-F1 against the share of filters removed, mean and sd over seeds, a line per method.

    sweep : data frame as sweep.csv: method, ratio (0 to 0.9), seed, acc, mf1, n
    Raises ValueError for a method that is not one of METHODS. returns a matplotlib figure at page width
    """
    unknown = sorted(set(sweep.method) - set(METHODS))
    if unknown:
        raise ValueError(f"sweep.csv: unknown method {', '.join(unknown)}; known are {', '.join(METHODS)}")
    shown = [method for method in METHODS if method in set(sweep.method)]
    figure = new_figure(PAGE, 3.3)
    axes = figure.subplots(1, 2)
    for ax, letter, (score, label) in zip(axes, "ab", SCORES, strict=True):
        for place, method in enumerate(shown):
            name, colour, marker, line = METHODS[method]
            over_seeds = sweep[sweep.method == method].groupby("ratio")[score]
            mean, sd = 100 * over_seeds.mean(), 100 * over_seeds.std(ddof=1).fillna(0)
            x = 100 * mean.index + APART * (place - (len(shown) - 1) / 2)
            look = {"color": colour, "marker": marker, "linestyle": line, "linewidth": 1.1, "elinewidth": 0.7}
            ax.errorbar(x, mean, sd, capsize=1.5, capthick=0.7, label=name, **look)
        name = label.split(",")[0]
        ax.set(title=f"{letter}  {name[0].upper()}{name[1:]}", xlabel="filters removed, %", ylabel=label)
        ax.set_xticks(sorted(100 * sweep.ratio.unique()))
        ax.grid(axis="y", linewidth=0.3, color="#E4E4E4")
    seeds = sweep.seed.nunique()
    bars = f"bars: ± 1 sd over {seeds} seeds" if seeds > 1 else "one seed"
    title = f"{bars}; scored on {sweep.n.iloc[0]:,} test epochs"
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, title=title, alignment="left"
    )
    add_note(figure, note)
    return figure
