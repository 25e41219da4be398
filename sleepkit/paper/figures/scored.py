"""The picture of a scored night: hypnogram over hypnodensity over spectrogram."""

import numpy as np
from matplotlib.patches import Patch

from sleepkit.epochs import STAGES
from sleepkit.paper.figures.night import EPOCH_HOURS, draw_hypnodensity, draw_hypnogram
from sleepkit.paper.figures.style import HYPNOGRAM, PAGE, STAGE_COLOURS, add_note, new_figure, styled

HIGHEST = 30  # Hz; what sleep is staged by lies below
SEGMENT = 4  # s of signal of each spectrum


@styled
def plot_scored(epochs, x, fs, expert=None, title="", note=""):
    """The night as scored: the expert's hypnogram where there is one, the hypnogram, its probabilities, the signal.

    epochs : data frame with onset (s), stage ("?" where not scored), W ... REM
    x : (n, samples) µV, the signal of each epoch, or its beginning, at `fs` Hz
    expert : (n,) stages by an expert, negative where there is none
    returns a matplotlib figure at page width
    """
    hours = epochs["onset"].to_numpy() / 3600
    scored = epochs["stage"].isin(STAGES).to_numpy()
    stages = np.array([STAGES.index(stage) for stage in epochs["stage"][scored]], dtype=int)
    rows = ([] if expert is None else ["expert"]) + ["stages", "probabilities", "spectrum"]
    figure = new_figure(PAGE, 1.6 + 1.15 * len(rows))
    axes = dict(zip(rows, figure.subplots(len(rows), 1, sharex=True, height_ratios=[1] * (len(rows) - 1) + [1.2])))
    if expert is not None:
        known = expert >= 0
        draw_hypnogram(axes["expert"], hours[known], expert[known])
        axes["expert"].set_title("Expert")
    wrong = None if expert is None else (expert[scored] >= 0) & (expert[scored] != stages)
    draw_hypnogram(axes["stages"], hours[scored], stages, wrong=wrong)
    left_out = f", {(~scored).sum()} of {len(scored)} epochs not scored (grey)" if not scored.all() else ""
    axes["stages"].set_title(f"Scored{left_out}" + ("" if expert is None else "; ticks mark where the expert differs"))
    draw_hypnodensity(axes["probabilities"], hours[scored], epochs.loc[scored, list(STAGES)].to_numpy(float))
    axes["probabilities"].set_title("Probabilities of the stages")
    for name in ("stages", "probabilities"):
        for start in hours[~scored]:
            axes[name].axvspan(start, start + EPOCH_HOURS, color="#DDDDDD", linewidth=0)
    image = _draw_spectrogram(axes["spectrum"], hours, x, fs)
    axes["spectrum"].set(xlabel="time since the start of the recording, h", xlim=(0, hours[-1] + EPOCH_HOURS))
    figure.colorbar(image, ax=axes["spectrum"], label="dB re 1 µV²/Hz", aspect=12, pad=0.01)
    handles = [Patch(color=STAGE_COLOURS[stage], label=stage) for stage in HYPNOGRAM]
    axes["probabilities"].legend(
        handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1, labelspacing=0.35
    )
    figure.suptitle(title, x=0.01, ha="left")
    figure.align_ylabels(list(axes.values()))
    add_note(figure, note)
    return figure


def _draw_spectrogram(ax, hours, x, fs):
    """Power of each epoch up to HIGHEST Hz in dB; the colours span the 5th to the 95th percentile."""
    frequencies, power = _spectra(x, fs)
    shown = (frequencies > 0) & (frequencies <= HIGHEST)
    level = 10 * np.log10(power[:, shown].T + 1e-6)
    low, high = np.percentile(level, (5, 95))
    extent = (hours[0], hours[-1] + EPOCH_HOURS, frequencies[shown][0], frequencies[shown][-1])
    colours = {"cmap": "viridis", "vmin": low, "vmax": max(high, low + 1)}
    smooth = "nearest" if len(x) < 400 else "auto"  # few epochs stay apart, many are averaged to the width of the page
    image = ax.imshow(level, aspect="auto", origin="lower", extent=extent, interpolation=smooth, **colours)
    ax.set(ylabel="Hz")
    ax.set_title("Spectrogram of the signal")
    return image


def _spectra(x, fs):
    """Frequencies (m,) in Hz and power (n, m) in µV²/Hz: mean over Hann windows that overlap by half (Welch 1967)."""
    length = min(round(SEGMENT * fs), x.shape[1])
    taper = np.hanning(length)
    starts = range(0, x.shape[1] - length + 1, max(1, length // 2))
    power = np.zeros((len(x), length // 2 + 1))
    for start in starts:
        segment = x[:, start : start + length]
        power += np.abs(np.fft.rfft((segment - segment.mean(axis=1, keepdims=True)) * taper, axis=1)) ** 2
    scale = 2 / (fs * (taper**2).sum() * len(starts))
    return np.fft.rfftfreq(length, 1 / fs), power * scale
