"""The differences behind the answers of the README and of the page of results, as a forest plot."""

from sleepkit.paper.figures.style import FULL, INK, PAGE, PRUNED, add_note, new_figure, styled

# Panel -> rows: comparison in differences.csv, words.
PANELS = {
    "Against AttnSleep": (
        ("full - AttnSleep", "full network"),
        ("pruned - AttnSleep", "half of the filters removed"),
        ("ensemble - AttnSleep", "the same, distilled from three full ones"),
        ("ensemble - AttnSleep, context", "the same, both with context"),
    ),
    "Against the full network": (
        ("pruned - full", "half of the filters removed"),
        ("distilled - full", "distilled from it, four more epochs"),
        ("distilled - full distilled", "the same, the full one trained as long"),
        ("ensemble - full", "distilled from three full networks"),
    ),
}


@styled
def plot_differences(differences, note):
    """Differences of accuracy with 95 % intervals over subjects, a row a comparison.

    differences : data frame as differences.csv, of one network;  note : end of the note at the foot"""
    rows = differences[differences.metric == "acc"].set_index("comparison")
    panels = {title: [row for row in compared if row[0] in rows.index] for title, compared in PANELS.items()}
    panels = {title: shown for title, shown in panels.items() if shown}
    figure = new_figure(PAGE, 0.7 + 0.29 * sum(map(len, panels.values())))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (title, shown) in zip(axes, panels.items(), strict=True):
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
    known = rows.loc[[name for shown in panels.values() for name, _ in shown]]
    seeds = " or ".join(map(str, sorted(set(known.seeds))))
    text = f"{known.subjects.max()} people, in folds that keep them apart; number of training seeds: {seeds}"
    return add_note(figure, f"{text}; 95 % bootstrap intervals over people. {note}")
