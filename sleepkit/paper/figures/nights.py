"""Pictures of a night: figure 15, a night that was scored, and what the networks look at."""

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from sleepkit.epochs import IDS_PER_NIGHT, STAGES
from sleepkit.paper.figures.style import HYPNOGRAM, INK, PAGE, STAGE_COLOURS, UPRIGHT, add_note, new_figure, styled

EPOCH_HOURS = 30 / 3600  # an epoch stands for 30 s of sleep, however much of it the network sees
HIGHEST = 30  # Hz of a spectrogram; what sleep is staged by lies below
SEGMENT = 4  # s of signal of each spectrum


@styled
def plot_night(predictions, night=None, note=""):
    """Expert hypnogram, predicted per epoch and with context, and the class probabilities over the night.

    predictions : dict of arrays as predictions.npz: night, y, id (n,); prob, prob_context (n, 5)
    night : its name; None takes the night whose agreement with the expert, with context, is the median"""
    right = pd.Series(predictions["prob_context"].argmax(axis=1) == predictions["y"])
    agreement = right.groupby(predictions["night"]).mean().sort_values(kind="stable")
    if night is None:
        night = agreement.index[(len(agreement) - 1) // 2]
        note = f"Agreement of c with the expert: the median of {len(agreement)} nights. {note}".rstrip()
    if night not in agreement:
        raise ValueError(f"no predictions of night {night!r}; there are {', '.join(sorted(agreement.index))}")
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
    names = ("b  Network, each epoch alone", "c  Network with context, whole night")
    for ax, name, stages in zip(axes[1:], names, (alone, context), strict=False):
        draw_hypnogram(ax, hours, stages, wrong=stages != y)
        share = f"{100 * np.mean(stages == y):.1f} % of {len(y):,} epochs as the expert"
        ax.set_title(f"{name}: {share}; ticks mark the others")
    draw_hypnodensity(axes[3], hours, probabilities)
    axes[3].set(title="d  Class probabilities, each epoch alone", xlabel="time since the first epoch, h")
    axes[3].set_xlim(0, hours[-1] + EPOCH_HOURS)
    figure.align_ylabels(axes)
    return add_note(figure, note)


@styled
def plot_scored(epochs, x, fs, expert=None, title="", note=""):
    """The night as scored: the expert's hypnogram where there is one, the hypnogram, probabilities, spectrogram.

    epochs : data frame with onset (s), stage ("?" where not scored), W ... REM
    x : (n, samples) µV, the signal of each epoch, or its beginning, at `fs` Hz
    expert : (n,) stages by an expert, negative where there is none"""
    hours = epochs["onset"].to_numpy() / 3600
    scored = epochs["stage"].isin(STAGES).to_numpy()
    stages = np.array([STAGES.index(stage) for stage in epochs["stage"][scored]], dtype=int)
    n = 3 if expert is None else 4
    figure = new_figure(PAGE, 1.6 + 1.15 * n)
    axes = figure.subplots(n, 1, sharex=True, height_ratios=[1] * (n - 1) + [1.2])
    upper, density, spectrum = axes[-3:]
    left_out = f", {(~scored).sum()} of {len(scored)} epochs not scored (grey)" if not scored.all() else ""
    wrong, ticks = None, ""
    if expert is not None:
        known = expert >= 0
        draw_hypnogram(axes[0], hours[known], expert[known])
        axes[0].set_title("Expert")
        wrong, ticks = known[scored] & (expert[scored] != stages), "; ticks mark where the expert differs"
    draw_hypnogram(upper, hours[scored], stages, wrong=wrong)
    upper.set_title(f"Scored{left_out}{ticks}")
    draw_hypnodensity(density, hours[scored], epochs.loc[scored, list(STAGES)].to_numpy(float))
    density.set_title("Probabilities of the stages")
    for ax in (upper, density):
        for start in hours[~scored]:
            ax.axvspan(start, start + EPOCH_HOURS, color="#DDDDDD", linewidth=0)
    image = _draw_spectrogram(spectrum, hours, x, fs)
    spectrum.set(xlabel="time since the start of the recording, h", xlim=(0, hours[-1] + EPOCH_HOURS))
    figure.colorbar(image, ax=spectrum, label="dB re 1 µV²/Hz", aspect=12, pad=0.01)
    figure.suptitle(title, x=0.01, ha="left")
    figure.align_ylabels(axes)
    return add_note(figure, note)


@styled
def plot_recording(epochs, night=None, note=""):
    """The hypnogram of one night and, for every stage, the epoch of median amplitude.

    epochs : EpochSet (x in µV);  night : its name, None takes the first one"""
    night = epochs.night[0] if night is None else night
    chosen = epochs.subset(epochs.night == night)
    hours = (chosen.id % IDS_PER_NIGHT) * EPOCH_HOURS
    figure = new_figure(PAGE, 4.6)
    top, *traces = figure.subplots(1 + len(STAGES), 1, height_ratios=(1.6, *[1] * len(STAGES)))
    draw_hypnogram(top, hours, chosen.y)
    top.set_title(f"a  Night {night} as the expert scored it")
    top.set(xlabel="time since the first epoch, h", xlim=(0, hours[-1] + EPOCH_HOURS))
    seconds = np.arange(chosen.x.shape[1]) / chosen.fs
    for ax, stage in zip(traces, HYPNOGRAM, strict=True):
        x = chosen.x[chosen.y == STAGES.index(stage)]
        if len(x):
            median = np.argsort(x.std(axis=1))[len(x) // 2]
            ax.plot(seconds, x[median], color=STAGE_COLOURS[stage], linewidth=0.8)
        ax.set(ylim=(-100, 100), yticks=(-75, 0, 75), xlim=(0, seconds[-1]), xticks=[])
        ax.set_ylabel(stage, **UPRIGHT)
    traces[0].set_title("b  An epoch of each stage, µV")
    end = len(seconds) / chosen.fs
    traces[-1].set(xlabel="time within the epoch, s", xticks=np.linspace(0, end, 6), xlim=(0, end))
    figure.align_ylabels([top, *traces])
    return add_note(figure, note)


def draw_hypnogram(ax, hours, stages, wrong=None):
    """A hypnogram into `ax`, W at the top over REM, N1, N2 and N3; REM is a thick red line.

    hours : (n,) start of each epoch; stages : (n,) position in STAGES; an epoch that is missing leaves a gap
    wrong : (n,) bool, epochs to mark by a tick under the hypnogram"""
    height = np.array([-HYPNOGRAM.index(stage) for stage in STAGES])[stages]
    for rows in _unbroken(hours):
        ax.stairs(height[rows], [*hours[rows], hours[rows[-1]] + EPOCH_HOURS], baseline=None, color=INK, linewidth=0.7)
    rem = np.flatnonzero(np.asarray(stages) == STAGES.index("REM"))
    ax.hlines(height[rem], hours[rem], hours[rem] + EPOCH_HOURS, color=STAGE_COLOURS["REM"], linewidth=3, zorder=3)
    if wrong is not None:
        ax.vlines(hours[wrong] + EPOCH_HOURS / 2, -4.95, -4.6, color="#888888", linewidth=0.4)
    ax.set(yticks=range(0, -len(HYPNOGRAM), -1), yticklabels=HYPNOGRAM, ylim=(-5.05, 0.4))


def draw_hypnodensity(ax, hours, probabilities):
    """Class probabilities (n, 5) as a stack of areas, N3 at the bottom and W at the top, in the stages' colours."""
    order = HYPNOGRAM[::-1]
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    for rows in _unbroken(hours):
        rows, ends = [*rows, rows[-1]], [*hours[rows], hours[rows[-1]] + EPOCH_HOURS]
        stack = [probabilities[rows, STAGES.index(stage)] for stage in order]
        look = {"colors": [STAGE_COLOURS[stage] for stage in order], "linewidth": 0, "rasterized": True}
        ax.stackplot(ends, *stack, step="post", **look)
    ax.set(ylim=(0, 1), ylabel="probability", yticks=(0, 0.5, 1))
    handles = [Patch(color=STAGE_COLOURS[stage], label=stage) for stage in HYPNOGRAM]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1, labelspacing=0.35)


def _unbroken(hours):
    """Positions of the epochs that follow one another without a gap, as a list of arrays."""
    parts = np.split(np.arange(len(hours)), np.flatnonzero(np.diff(hours) > 1.5 * EPOCH_HOURS) + 1)
    return [rows for rows in parts if len(rows)]  # no epoch at all is one empty part


def _draw_spectrogram(ax, hours, x, fs):
    """Power of each epoch up to HIGHEST Hz in dB re 1 µV²/Hz: mean over Hann windows that overlap by half (Welch 1967);
    the colours span the 5th to the 95th percentile."""
    length = min(round(SEGMENT * fs), x.shape[1])
    taper = np.hanning(length)
    segments = np.lib.stride_tricks.sliding_window_view(x, length, axis=1)[:, :: max(1, length // 2)]
    power = np.abs(np.fft.rfft((segments - segments.mean(axis=2, keepdims=True)) * taper, axis=2)) ** 2
    scale = 2 / (fs * (taper**2).sum() * segments.shape[1])
    frequencies = np.fft.rfftfreq(length, 1 / fs)
    shown = (frequencies > 0) & (frequencies <= HIGHEST)
    level = 10 * np.log10((power.sum(axis=1) * scale)[:, shown].T + 1e-6)
    low, high = np.percentile(level, (5, 95))
    extent = (hours[0], hours[-1] + EPOCH_HOURS, frequencies[shown][0], frequencies[shown][-1])
    colours = {"cmap": "viridis", "vmin": low, "vmax": max(high, low + 1)}
    smooth = "nearest" if len(x) < 400 else "auto"  # few epochs stay apart, many are averaged to the width of the page
    ax.set(ylabel="Hz", title="Spectrogram of the signal")
    return ax.imshow(level, aspect="auto", origin="lower", extent=extent, interpolation=smooth, **colours)
