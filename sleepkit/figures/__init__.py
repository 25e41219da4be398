"""Figures: one function per item; each takes data frames, arrays or genotypes and returns a matplotlib figure."""

from sleepkit.figures.cells import plot_cells
from sleepkit.figures.confusion import plot_confusion
from sleepkit.figures.curves import plot_search
from sleepkit.figures.filters import plot_importance
from sleepkit.figures.framework import plot_framework
from sleepkit.figures.night import plot_night
from sleepkit.figures.recordings import plot_recording
from sleepkit.figures.style import save

__all__ = [
    "plot_cells",
    "plot_confusion",
    "plot_framework",
    "plot_importance",
    "plot_night",
    "plot_recording",
    "plot_search",
    "save",
]
