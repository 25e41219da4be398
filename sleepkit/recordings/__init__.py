"""Sleep-EDF nights on disk: which belong to EDF-20 and EDF-78, download, and the way from EDF to labelled epochs."""

from sleepkit.recordings.catalog import nights_of
from sleepkit.recordings.download import fetch
from sleepkit.recordings.preparation import prepare

__all__ = ["fetch", "nights_of", "prepare"]
