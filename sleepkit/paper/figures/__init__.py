"""Figures: one function per item; each takes data frames, arrays or genotypes and returns a matplotlib figure at page
width, with `note` at its foot."""
# ruff: noqa: F401  the face of the room of figures

from sleepkit.paper.figures.cells import plot_cells
from sleepkit.paper.figures.differences import plot_differences
from sleepkit.paper.figures.framework import plot_framework
from sleepkit.paper.figures.networks import plot_confusion, plot_confusions, plot_training
from sleepkit.paper.figures.nights import plot_night, plot_recording, plot_scored
from sleepkit.paper.figures.overview import plot_overview, save_overview
from sleepkit.paper.figures.pruning import plot_calibration, plot_importance, plot_latency, plot_sweep
from sleepkit.paper.figures.search import plot_removed, plot_search, plot_sharpening
from sleepkit.paper.figures.style import save
from sleepkit.paper.figures.tradeoff import plot_tradeoff
from sleepkit.paper.figures.wearable import plot_wearable
