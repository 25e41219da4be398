"""Figure 15: one night as an expert, the network, and the network with context score it."""

import numpy as np
from matplotlib.patches import Patch

from sleepkit.epochs import IDS_PER_NIGHT, STAGES
from sleepkit.paper.figures.style import HYPNOGRAM, INK, PAGE, STAGE_COLOURS, add_note, new_figure, styled

EPOCH_HOURS = 30 / 3600  # an epoch stands for 30 s of sleep, however much of it the network sees


@styled
def plot_night(predictions, night=None, note=""):
    """Expert hypnogram, predicted per epoch and with context, and the class probabilities over the night.

    predictions : dict of arrays as predictions.npz: night, y, id (n,); prob, prob_context (n, 5)
    night : its name; None takes the first one
    Raises ValueError for a night that is not among them. returns a matplotlib figure at page width
    """
    known = sorted(set(predictions["night"].tolist()))
    night = known[0] if night is None else night
    if night not in known:
        raise ValueError(f"no predictions of night {night!r}; there are {', '.join(known)}")
    rows = np.flatnonzero(predictions["night"] == night)
    rows = rows[np.argsort(predictions["id"][rows])]
    place = predictions["id"][rows] % IDS_PER_NIGHT
    hours = (place - place[0]) * EPOCH_HOURS
    y, probabilities = predictions["y"][rows], predictions["prob"][rows].astype(float)
    alone, context = probabilities.argmax(axis=1), predictions["prob_context"][rows].argmax(axis=1)

    figure = new_figure(PAGE, 5.0)
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(1, 1, 1, 1.1))
    draw_hypnogram(axes[0], hours, y)
    axes[0].set_title(f"a  Expert, night {night}")
    for ax, letter, name, stages in (
        (axes[1], "b", "Network, each epoch alone", alone),
        (axes[2], "c", "Network with context, whole night", context),
    ):
        draw_hypnogram(ax, hours, stages, wrong=stages != y)
        share = f"{100 * np.mean(stages == y):.1f} % of {len(y):,} epochs as the expert"
        ax.set_title(f"{letter}  {name}: {share}; ticks mark the others")
    draw_hypnodensity(axes[3], hours, probabilities)
    axes[3].set_title("d  Class probabilities, each epoch alone")
    axes[3].set(xlabel="time since the first epoch, h", xlim=(0, hours[-1] + EPOCH_HOURS))
    handles = [Patch(color=STAGE_COLOURS[stage], label=stage) for stage in HYPNOGRAM]
    axes[3].legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1, labelspacing=0.35)
    figure.align_ylabels(axes)
    add_note(figure, note)
    return figure


def draw_hypnogram(ax, hours, stages, wrong=None):
    """A hypnogram into `ax`, W at the top over REM, N1, N2 and N3; REM is a thick red line.

    hours : (n,) start of each epoch; stages : (n,) position in STAGES; an epoch that is missing leaves a gap
    wrong : (n,) bool, epochs to mark by a tick under the hypnogram
    """
    height = np.array([-HYPNOGRAM.index(stage) for stage in STAGES])[stages]
    for rows in _unbroken(hours):
        ax.stairs(height[rows], [*hours[rows], hours[rows[-1]] + EPOCH_HOURS], baseline=None, color=INK, linewidth=0.7)
    rem = np.flatnonzero(np.asarray(stages) == STAGES.index("REM"))
    ax.hlines(height[rem], hours[rem], hours[rem] + EPOCH_HOURS, color=STAGE_COLOURS["REM"], linewidth=3, zorder=3)
    if wrong is not None:
        ax.vlines(hours[wrong] + EPOCH_HOURS / 2, -4.95, -4.6, color="#888888", linewidth=0.4)
    ax.set(yticks=range(0, -len(HYPNOGRAM), -1), ylim=(-5.05, 0.4))
    ax.set_yticklabels(HYPNOGRAM)
    return ax


def draw_hypnodensity(ax, hours, probabilities):
    """Class probabilities (n, 5) as a stack of areas, N3 at the bottom and W at the top, in the stages' colours."""
    order = HYPNOGRAM[::-1]
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    for rows in _unbroken(hours):
        rows, ends = [*rows, rows[-1]], [*hours[rows], hours[rows[-1]] + EPOCH_HOURS]
        stack = [probabilities[rows, STAGES.index(stage)] for stage in order]
        ax.stackplot(ends, *stack, colors=[STAGE_COLOURS[stage] for stage in order], step="post", linewidth=0)
    ax.set(ylim=(0, 1), ylabel="probability", yticks=(0, 0.5, 1))
    return ax


def _unbroken(hours):
    """Positions of the epochs that follow one another without a gap, as a list of arrays."""
    parts = np.split(np.arange(len(hours)), np.flatnonzero(np.diff(hours) > 1.5 * EPOCH_HOURS) + 1)
    return [rows for rows in parts if len(rows)]  # no epoch at all is one empty part
