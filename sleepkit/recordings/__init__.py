"""Sleep-EDF nights on disk: which belong to EDF-20 and EDF-78, download, and the way from EDF to labelled epochs."""

from sleepkit.recordings.download import fetch
from sleepkit.recordings.preparation import prepare
from sleepkit.recordings.sleep_edf import nights_of

__all__ = ["fetch", "nights_of", "prepare"]
