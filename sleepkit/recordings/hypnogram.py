"""An expert's scoring: the annotations of an EDF+ hypnogram, laid onto 30-s epochs."""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS
from sleepkit.recordings.edf import open_edf

UNSCORED, MOVEMENT = -1, -2
# Names by Rechtschaffen and Kales, whose stages 3 and 4 are the AASM's N3, and the AASM's own.
STAGE_NAMES = {"W": 0, "1": 1, "2": 2, "3": 3, "4": 3, "N1": 1, "N2": 2, "N3": 3, "R": 4, "?": UNSCORED}
LABELS = {f"Sleep stage {name}": label for name, label in STAGE_NAMES.items()} | {"Movement time": MOVEMENT}


class Hypnogram(NamedTuple):
    """An expert's scoring of a night."""

    path: Path
    bouts: tuple  # of (first epoch, epoch after the last, label), in order of time, without the unscored ones
    start: str  # date and time as in the header


def read_hypnogram(path):
    """Read an EDF+ hypnogram. ValueError for damage, unknown labels, bouts that overlap or lie off the 30-s grid."""
    edf = open_edf(path)
    if not (annotations := edf.annotations()):
        raise ValueError(f"{path}: no annotations in it, so it is no EDF+ hypnogram; download it again")
    bouts = [_bout(path, *found) for found in annotations if LABELS.get(found[2]) != UNSCORED]
    for (_, end, _), (first, _, _) in pairwise(bouts):
        if first < end:
            raise ValueError(f"{path}: two stages are scored at second {first * EPOCH_SECONDS}; correct the hypnogram")
    return Hypnogram(edf.path, tuple(bouts), edf.start)


def labels_of(hypnogram, seconds, psg):
    """Labels of the whole epochs of a PSG of `seconds`, (seconds // 30,) int: position in STAGES, UNSCORED or MOVEMENT.
    Official hypnograms run on to 24 h, unscored. ValueError where a *scored* epoch begins after the end of `psg`."""
    labels = np.full(int(seconds // EPOCH_SECONDS), UNSCORED)
    for first, end, label in hypnogram.bouts:
        if label >= 0 and (end - 1) * EPOCH_SECONDS >= seconds:
            ends = f"{psg} ends at second {seconds:g}; one is of another night or was cut: download both again"
            raise ValueError(f"{hypnogram.path}: stages are scored up to second {end * EPOCH_SECONDS}, but {ends}")
        labels[first:end] = label
    return labels


def _bout(path, onset, duration, text):
    where = f"{path}: annotation {text!r} at second {onset:g}"
    if text not in LABELS:
        raise ValueError(f"{where} is no known stage; expected {', '.join(LABELS)}: rename or remove it")
    first, length = onset / EPOCH_SECONDS, (duration or 0) / EPOCH_SECONDS
    if first < 0 or length <= 0 or first % 1 or length % 1:
        lasts = "has no duration" if duration is None else f"lasts {duration:g} s"
        raise ValueError(f"{where} {lasts}; expected whole {EPOCH_SECONDS}-s epochs: correct the hypnogram")
    return int(first), int(first + length), LABELS[text]
