"""From recordings to labelled epochs: Sleep-EDF's catalog, download, EDF files, hypnograms, preparation, simulation."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sleepkit.recordings.download import fetch
    from sleepkit.recordings.preparation import prepare
    from sleepkit.recordings.simulation import simulate
    from sleepkit.recordings.sleep_edf import nights_of

__all__ = ["fetch", "nights_of", "prepare", "simulate"]
_HOMES = {"fetch": "download", "nights_of": "sleep_edf", "prepare": "preparation", "simulate": "simulation"}


def __getattr__(name):  # what a function needs is imported when it is first asked for
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
