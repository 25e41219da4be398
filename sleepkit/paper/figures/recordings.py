"""What the networks look at: the stages of one night, and an epoch of each stage as a trace."""

import numpy as np

from sleepkit.epochs import IDS_PER_NIGHT, STAGES
from sleepkit.paper.figures.night import EPOCH_HOURS, draw_hypnogram
from sleepkit.paper.figures.style import HYPNOGRAM, PAGE, STAGE_COLOURS, add_note, new_figure, styled


@styled
def plot_recording(epochs, night=None, note=""):
    """The hypnogram of one night and, for every stage, the epoch of median amplitude.

    epochs : EpochSet (x in µV);  night : its name, None takes the first one
    returns a matplotlib figure at page width
    """
    name = epochs.night[0] if night is None else night
    chosen = epochs.subset(epochs.night == name)
    hours = (chosen.id % IDS_PER_NIGHT) * EPOCH_HOURS
    figure = new_figure(PAGE, 4.6)
    top, *traces = figure.subplots(1 + len(STAGES), 1, height_ratios=(1.6, *[1] * len(STAGES)))
    draw_hypnogram(top, hours, chosen.y)
    top.set_title(f"a  Night {name} as the expert scored it")
    top.set(xlabel="time since the first epoch, h", xlim=(0, hours[-1] + EPOCH_HOURS))
    seconds = np.arange(chosen.x.shape[1]) / chosen.fs
    for ax, stage in zip(traces, HYPNOGRAM):
        rows = np.flatnonzero(chosen.y == STAGES.index(stage))
        if len(rows):
            amplitude = chosen.x[rows].std(axis=1)
            ax.plot(
                seconds,
                chosen.x[rows[np.argsort(amplitude)[len(rows) // 2]]],
                color=STAGE_COLOURS[stage],
                linewidth=0.8,
            )
        ax.set(ylim=(-100, 100), yticks=(-75, 0, 75), xlim=(0, seconds[-1]), xticks=[])
        ax.set_ylabel(stage, rotation=0, ha="right", va="center")
    traces[0].set_title("b  An epoch of each stage, µV")
    traces[-1].set(xlabel="time within the epoch, s", xticks=np.linspace(0, len(seconds) / chosen.fs, 6))
    traces[-1].set_xlim(0, len(seconds) / chosen.fs)
    figure.align_ylabels([top, *traces])
    add_note(figure, note)
    return figure
