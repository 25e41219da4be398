"""Figures: one function per item; each takes data frames, arrays or genotypes and returns a matplotlib figure."""

from sleepkit.figures.calibration import plot_calibration
from sleepkit.figures.cells import plot_cells
from sleepkit.figures.confusion import plot_confusion
from sleepkit.figures.cost import plot_latency
from sleepkit.figures.curves import plot_search
from sleepkit.figures.filters import plot_importance
from sleepkit.figures.framework import plot_framework
from sleepkit.figures.night import plot_night
from sleepkit.figures.overview import plot_overview, save_overview
from sleepkit.figures.recordings import plot_recording
from sleepkit.figures.removed import plot_removed
from sleepkit.figures.sharpening import plot_sharpening
from sleepkit.figures.style import save
from sleepkit.figures.sweep import plot_sweep
from sleepkit.figures.tradeoff import plot_tradeoff
from sleepkit.figures.training import plot_training

__all__ = [
    "plot_calibration",
    "plot_cells",
    "plot_confusion",
    "plot_framework",
    "plot_importance",
    "plot_latency",
    "plot_night",
    "plot_overview",
    "plot_recording",
    "plot_removed",
    "plot_search",
    "plot_sharpening",
    "plot_sweep",
    "plot_tradeoff",
    "plot_training",
    "save",
    "save_overview",
]
