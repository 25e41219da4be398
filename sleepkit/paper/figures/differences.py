"""The differences behind the answers of the README and of the page of results, as a forest plot."""

from sleepkit.paper.figures.style import FULL, INK, PAGE, PRUNED, add_note, new_figure, styled

# Panel -> rows: comparison in differences.csv, words. Of the published architecture with L = 7.
PANELS = {
    "Against AttnSleep": (
        ("full - AttnSleep", "full network"),
        ("pruned - AttnSleep", "half of the filters removed"),
        ("ensemble - AttnSleep", "the same, distilled"),
        ("ensemble - AttnSleep, context", "the same, both with context"),
    ),
    "Against the full network": (
        ("pruned - full", "half of the filters removed"),
        ("distilled - full", "distilled from it, four more epochs"),
        ("distilled - full distilled", "the same, full network trained as long"),
        ("ensemble - full", "distilled from three full networks"),
    ),
}


@styled
def plot_differences(differences, note=""):
    """Differences of accuracy with their 95 % intervals over subjects, a row a comparison.

    differences : data frame as differences.csv of EDF-20
    returns a matplotlib figure at page width
    """
    rows = differences[(differences.genotype == "edf20-published") & (differences.cells == 7)]
    rows = rows[rows.metric == "acc"].set_index("comparison")
    figure = new_figure(PAGE, 3.0)
    axes = figure.subplots(len(PANELS), 1, sharex=True)
    for ax, (title, compared) in zip(axes, PANELS.items(), strict=True):
        shown = [(name, words) for name, words in compared if name in rows.index]
        for place, (name, _) in enumerate(shown):
            mean, low, high = 100 * rows.loc[name, ["difference", "low", "high"]].astype(float)
            colour = FULL if name.startswith("full -") else PRUNED
            ax.errorbar(mean, -place, xerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=2)
            text = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "−").replace("−0.0", "0.0")
            ax.text(1.02, -place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=7)
        ax.axvline(0, color=INK, linewidth=0.7)
        ax.set_yticks([-place for place in range(len(shown))], [words for _, words in shown])
        ax.set(title=title, ylim=(0.6 - len(shown), 0.6))
        ax.grid(axis="x", linewidth=0.3, color="#E4E4E4")
    axes[-1].set_xlabel("difference of accuracy, points")
    return add_note(figure, note)
