"""Events of a night, of any kind of file: where they begin, how long they last, what they say."""

import datetime
from pathlib import Path
from typing import NamedTuple

from sleepkit.recordings.edf import open_edf


class Events(NamedTuple):
    """Annotations in order of time."""

    path: Path  # or a name, for messages
    rows: list  # of (onset in s after `start`, duration in s or None, text)
    start: datetime.datetime | datetime.time | None  # a time where the date is not known
    notes: tuple = ()  # what the user should know


def read_events(source):
    """Read an EDF+ file of annotations."""
    edf = open_edf(source)
    if not (rows := edf.annotations()):
        raise ValueError(f"{source}: no annotations in it, so it is no EDF+ hypnogram; download it again")
    return Events(edf.path, rows, edf.start)
