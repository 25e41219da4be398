"""An expert's scoring of a night: read from files of every kind, laid onto the 30-s epochs of a recording."""

import datetime
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS, STAGES
from sleepkit.recordings.annotations import read_events
from sleepkit.recordings.stage_names import MOVEMENT, NO_STAGE, UNSCORED, labels_of, names_of, plain
from sleepkit.recordings.start import DAY, seconds_of_day

OVERLAP = 1.0  # s by which stages may overlap, as where a program rounds its times; the later one counts
FAR = 3600  # s between the starts of recording and hypnogram from which on it is said
DOUBT = "are they of one night, and do their clocks agree?"
SHOWN = 5  # texts in a note


class Hypnogram(NamedTuple):
    """Stages in order of time, none over another; what is unscored is not among them."""

    path: Path  # or a name, for messages
    onsets: np.ndarray  # (n,) float, s after `start`
    durations: np.ndarray  # (n,) float, s
    stages: np.ndarray  # (n,) int, position in STAGES or MOVEMENT
    start: datetime.datetime | datetime.time | None  # None: with the recording; a time where the date is not known
    notes: tuple  # what the user should know

    @property
    def end(self):  # s after `start` at which the last stage ends
        return float((self.onsets + self.durations)[self.stages >= 0].max(initial=0))

    def epochs(self, n, start=None):
        """Labels of the `n` epochs of a recording: each has the stage of most of its time, of equal shares the first.

        start : of the recording, as in `Hypnogram`. Where one of the two has no start they begin together; where one
            has no date, their clocks are compared, and of the days that leaves open the one with most in common counts
        returns (n,) int, position in STAGES, UNSCORED or MOVEMENT, and notes for the user
        ValueError where the two are of different nights by their dates"""
        possible, notes = _offsets(self, start)
        shifts = {shift: _shares(self, n, shift) for shift in possible}
        shift = max(shifts, key=lambda shift: shifts[shift][0][:, : len(STAGES)].sum())
        if abs(shift) >= FAR:
            when = f"{abs(shift) / 3600:.1f} h {'after' if shift > 0 else 'before'} the recording"
            notes.append(f"the hypnogram starts {when}: {DOUBT}")
        shares, first = shifts[shift]
        labels = np.array([*range(len(STAGES)), MOVEMENT, UNSCORED])[(shares - 1e-9 * first).argmax(axis=1)]
        return labels, [*notes, *_compared(self, shares, labels)]


def read_hypnogram(source, stages=None):
    """Read a hypnogram of any kind that `read_events` knows, told by its content.

    source : path, mne.Annotations, or mne.io.Raw
    stages : a user's own names of stages, a dict or the path of a yaml file (see `stage_names.names_of`)
    ValueError for damage, a file without stages, two stages at one time"""
    names, own = names_of(stages)
    events = read_events(source, lambda text: plain(text) in names)
    labels, notes = labels_of([text for *_, text in events.rows], names, own)
    left_out = Counter(text for (*_, text), label in zip(events.rows, labels, strict=True) if label < UNSCORED)
    if not (labels >= 0).any():
        cure = "name a hypnogram, or say which text is which stage with --stages"
        raise ValueError(f"{events.path}: no sleep stage in it, but {_shown(left_out) or 'nothing'}; {cure}")
    if left_out:
        notes.append(f"no stages of sleep, and passed over: {_shown(left_out)}")
    kept = labels != NO_STAGE
    onsets, durations = (np.array(part, float)[kept] for part in list(zip(*events.rows, strict=True))[:2])
    if not np.isfinite(onsets).all() or np.isinf(durations).any():
        raise ValueError(f"{events.path}: a stage begins or ends at no finite time; correct the hypnogram")
    if (lacking := ~(durations > 0)).any():  # None is NaN
        durations[lacking] = _until_next(onsets, labels[kept])[lacking]
        notes.append("stages without a duration were taken to last until the next one")
    staged = _without_overlap(events.path, onsets, durations, labels[kept])
    return Hypnogram(events.path, *staged, events.start, (*events.notes, *notes))


def _shown(counts):
    """The most common texts and how often they occur."""
    shown = [f"{number} {text!r}" for text, number in counts.most_common(SHOWN)]
    return ", ".join(shown + [f"{len(counts) - SHOWN} others"] * (len(counts) > SHOWN))


def _until_next(onsets, labels):
    """Seconds until the next onset, the last one an epoch. Where neighbours have one stage it is a list of epochs, not
    of changes: none lasts longer than the usual distance, so that an epoch that is not in the list stays unscored."""
    later = np.searchsorted(onsets, onsets, "right")
    lasts = np.append(onsets, np.nan)[later] - onsets
    known = lasts[np.isfinite(lasts)]
    if not len(known) or not (labels[1:] == labels[:-1])[np.diff(onsets) > 0].any():
        return np.where(np.isfinite(lasts), lasts, EPOCH_SECONDS)
    lengths, counts = np.unique(np.round(known, 2), return_counts=True)
    return np.fmin(lasts, lengths[counts.argmax()])


def _without_overlap(path, onsets, durations, labels):
    """Onsets, durations and labels without the unscored; of stages that overlap a little, the earlier one is cut."""
    ends, staged = onsets + durations, np.flatnonzero(labels >= 0)
    for last, i in pairwise(staged.tolist()):
        if onsets[i] < ends[last]:
            if labels[i] == labels[last]:
                ends[i] = max(ends[i], ends[last])
            elif ends[last] - onsets[i] > OVERLAP:
                raise ValueError(f"{path}: two stages are scored at second {onsets[i]:g}; correct the hypnogram")
            ends[last] = onsets[i]
    kept = labels != UNSCORED
    return onsets[kept], (ends - onsets)[kept], labels[kept]


def _shares(hypnogram, n, shift):
    """Seconds of every epoch in each stage, in movement and unscored, and at which second of it each begins: two arrays
    (n, 7); what has no time begins at the epoch's end."""
    shares, first = np.zeros((n, len(STAGES) + 2)), np.full((n, len(STAGES) + 2), float(EPOCH_SECONDS))
    for onset, duration, label in zip(hypnogram.onsets + shift, hypnogram.durations, hypnogram.stages, strict=True):
        begin, end = np.clip((onset, onset + duration), 0, n * EPOCH_SECONDS)
        rows = np.arange(int(begin // EPOCH_SECONDS), int(-(-end // EPOCH_SECONDS)))
        inside = np.maximum(begin - EPOCH_SECONDS * rows, 0)
        place = label if label >= 0 else len(STAGES)
        shares[rows, place] += np.minimum(end - EPOCH_SECONDS * rows, EPOCH_SECONDS) - inside
        first[rows, place] = np.minimum(first[rows, place], inside)
    for place in (-2, -1):  # movement has what the stages leave
        rest = EPOCH_SECONDS - shares[:, :place].sum(axis=1)
        shares[:, place] = np.minimum(shares[:, place], rest) if place == -2 else rest
    return shares, first


def _offsets(hypnogram, start):
    """Seconds from the start of a recording to that of the hypnogram, the possible ones, the nearest first; notes."""
    if start is None or hypnogram.start is None:
        which = "hypnogram" if hypnogram.start is None else "recording"
        return [0.0], [f"the {which} does not say when it starts: the hypnogram was taken to start with the recording"]
    if isinstance(hypnogram.start, datetime.datetime) and isinstance(start, datetime.datetime):
        if abs(seconds := (hypnogram.start - start).total_seconds()) > DAY:
            starts = f"{hypnogram.path}: starts {hypnogram.start}, the recording {start}"
            cure = "if a date was altered, set both to 01.01.85, which stands for an unknown one"
            raise ValueError(f"{starts}; the two are not of one night: {cure}")
        return [seconds], []
    seconds = (seconds_of_day(hypnogram.start) - seconds_of_day(start)) % DAY
    said = "the date of the recording or of the hypnogram is not known: their clocks were compared"
    return sorted((seconds, seconds - DAY), key=abs), [said]


def _compared(hypnogram, shares, labels):
    """Notes on what was lost between the seconds that the expert scored and the epochs that have a stage."""
    notes, scored, mixed = [], hypnogram.stages >= 0, (shares.max(axis=1) < EPOCH_SECONDS - OVERLAP).sum()
    told, inside = float(hypnogram.durations[scored].sum()), float(shares[:, : len(STAGES)].sum())
    read = EPOCH_SECONDS * int((labels >= 0).sum())
    if mixed:
        notes.append(f"{mixed} epochs are not of one stage throughout: each took the stage of most of its time")
    if told - inside >= EPOCH_SECONDS:
        notes.append(f"{told - inside:g} of {told:g} s that the expert scored lie outside of the recording")
    if 2 * inside < told:
        notes.append(f"less than half of what the expert scored is in the recording: {DOUBT}")
    if abs(read - inside) >= EPOCH_SECONDS:
        notes.append(f"the expert scored {inside:g} s of the recording, and epochs of {read} s have a stage")
    return notes
