"""From recordings to labelled epochs: Sleep-EDF's catalog, download, EDF files, hypnograms, preparation, simulation."""

from typing import TYPE_CHECKING

from sleepkit.execution.extras import lazy

if TYPE_CHECKING:
    from sleepkit.recordings.download import fetch
    from sleepkit.recordings.layout import Layout
    from sleepkit.recordings.preparation import prepare, prepared_of
    from sleepkit.recordings.simulation import simulate
    from sleepkit.recordings.sleep_edf import nights_of

__all__ = ["Layout", "fetch", "nights_of", "prepare", "prepared_of", "simulate"]
_HOMES = {"fetch": "download", "nights_of": "sleep_edf", "prepare": "preparation", "simulate": "simulation"}
_HOMES |= {"Layout": "layout", "prepared_of": "preparation"}
__getattr__ = lazy(__name__, _HOMES)
