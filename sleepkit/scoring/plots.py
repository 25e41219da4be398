"""Hypnogram and hypnodensity of a night, into axes of one's own or new ones."""

import matplotlib.pyplot as plt
import numpy as np

from sleepkit.epochs import STAGES
from sleepkit.paper.figures.nights import EPOCH_HOURS, draw_hypnodensity, draw_hypnogram


def plot_hypnogram(stages, ax=None):
    """Draw the stages of a night, one per 30 s, against hours; returns the axes.

    stages : (n,) names ("W", "N1", "N2", "N3", "REM") or positions in STAGES; what is neither leaves a gap
    ax : matplotlib axes; None makes new ones"""
    stages = np.array([STAGES.index(s) if s in STAGES else s for s in np.asarray(stages).tolist()], dtype=object)
    known = np.array([isinstance(s, int) and 0 <= s < len(STAGES) for s in stages], dtype=bool)
    ax = _axes(1)[0] if ax is None else ax
    hours = np.arange(len(stages)) * EPOCH_HOURS
    draw_hypnogram(ax, hours[known], stages[known].astype(int))
    ax.set(xlabel="time, h", xlim=(0, max(len(stages), 1) * EPOCH_HOURS))
    return ax


def plot_hypnodensity(probabilities, ax=None):
    """Draw the probabilities of the stages, one row per 30 s, against hours; returns the axes.

    probabilities : (n, 5), columns as in STAGES; a row with NaN leaves a gap
    ax : matplotlib axes; None makes new ones"""
    probabilities = np.asarray(probabilities, dtype=float)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(STAGES):
        raise ValueError(
            f"probabilities of shape {probabilities.shape}; expected (n, {len(STAGES)}): {', '.join(STAGES)}"
        )
    known = np.isfinite(probabilities).all(axis=1)
    ax = _axes(1)[0] if ax is None else ax
    hours = np.arange(len(probabilities)) * EPOCH_HOURS
    draw_hypnodensity(ax, hours[known], probabilities[known])
    ax.set(xlabel="time, h", xlim=(0, max(len(hours), 1) * EPOCH_HOURS))
    return ax


def plot_scoring(epochs, axes=None):
    """Both, of the data frame of a scored night, into two axes; returns them."""
    axes = _axes(2) if axes is None else axes
    upper, lower = axes
    plot_hypnogram(epochs["stage"], upper).set_xlabel("")
    plot_hypnodensity(epochs[list(STAGES)], lower)
    return axes


def _axes(rows):
    return plt.subplots(rows, 1, figsize=(7.2, 1 + 1.4 * rows), sharex=True, squeeze=False, layout="constrained")[1][
        :, 0
    ]
