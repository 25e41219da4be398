"""Figure 12: what makes a filter important."""

from sleepkit.paper.figures.style import FAINT, PAGE, VALID, add_note, new_figure, styled

KINDS = (
    ("full convolutions", lambda layer: not layer.endswith("depthwise")),
    ("depthwise filters", lambda layer: layer.endswith("depthwise")),
)


@styled
def plot_importance(scores, note=""):
    """Capacity against independence of every filter, kept and removed, full convolutions beside depthwise ones.

    scores : data frame layer, capacity (bit), independence, kept
    returns a matplotlib figure at page width
    """
    figure = new_figure(PAGE, 2.9)
    axes = figure.subplots(1, 2)
    for ax, letter, (kind, belongs) in zip(axes, "ab", KINDS):
        rows = scores[scores.layer.map(belongs)]
        size = 12 if len(rows) < 500 else 5
        for kept, colour, marker in ((False, FAINT, "x"), (True, VALID, "o")):
            group = rows[rows.kept == kept]
            label = f"{'kept' if kept else 'removed'}, {len(group)}"
            ax.scatter(
                group.capacity, group.independence, s=size, marker=marker, color=colour, linewidth=0.8, label=label
            )
        ax.set_title(f"{letter}  {len(rows)} {kind} in {rows.layer.nunique()} layers")
        ax.set(xlabel="information capacity, bit", ylabel="independence")
        ax.legend()
    add_note(figure, note)
    return figure
