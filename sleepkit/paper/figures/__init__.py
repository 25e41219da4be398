"""Figures: one function per item; each takes data frames, arrays or genotypes and returns a matplotlib figure."""

from sleepkit.paper.figures.calibration import plot_calibration
from sleepkit.paper.figures.cells import plot_cells
from sleepkit.paper.figures.confusion import plot_confusion
from sleepkit.paper.figures.cost import plot_latency
from sleepkit.paper.figures.curves import plot_search
from sleepkit.paper.figures.filters import plot_importance
from sleepkit.paper.figures.framework import plot_framework
from sleepkit.paper.figures.night import plot_night
from sleepkit.paper.figures.overview import plot_overview, save_overview
from sleepkit.paper.figures.recordings import plot_recording
from sleepkit.paper.figures.removed import plot_removed
from sleepkit.paper.figures.sharpening import plot_sharpening
from sleepkit.paper.figures.style import save
from sleepkit.paper.figures.sweep import plot_sweep
from sleepkit.paper.figures.tradeoff import plot_tradeoff
from sleepkit.paper.figures.training import plot_training

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
