"""A night as a network takes it: 30-s epochs, cut into the windows that it was trained on."""

import datetime
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS, STAGES, read_prepared
from sleepkit.execution.extras import extras
from sleepkit.recordings.channel import read_channel
from sleepkit.recordings.quality import bad_seconds, epochs_scored, windows_scored

OFFSET = 50  # µV from zero in the median epoch: no scalp EEG, but an amplifier that passes direct current


@dataclass(frozen=True)
class Night:
    """x : (epochs, windows, samples) float32 µV;  good : (epochs, windows) bool, neither flat nor clipped
    fs : Hz, of x;  channel : str;  start : datetime or None
    labels : (epochs,) int expert stages where the file holds them, else None;  notes : tuple of str
    """

    x: np.ndarray
    good: np.ndarray
    fs: float
    channel: str
    start: datetime.datetime | None
    labels: np.ndarray | None
    notes: tuple

    @property
    def scored(self):
        """(epochs,) bool."""
        return epochs_scored(self.good)


def read_night(path, fs, samples, channel=None):
    """Read a recording (see `read_channel`), or a prepared `.npz` night, for a network of `samples` samples at `fs` Hz.

    A prepared night that holds only the first seconds of its epochs gives an epoch as many windows as fit.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        return _from_prepared(path, fs, samples, channel)
    windows = _windows(EPOCH_SECONDS * fs, samples, path)
    found = read_channel(path, channel)
    seconds = len(found.x) / found.fs
    n = int(seconds / EPOCH_SECONDS + 1e-6)
    if not n:
        raise ValueError(f"{path}: {seconds:.3g} s of signal, less than one epoch of {EPOCH_SECONDS} s")
    notes = list(found.notes)
    if (rest := seconds - n * EPOCH_SECONDS) > 1e-3:
        notes.append(f"the last {rest:.3g} s are no whole epoch and were left out")
    x, offset = _without_offset(found.x[: round(n * EPOCH_SECONDS * found.fs)], found.fs)
    if offset > OFFSET:
        notes.append(f"the signal lies {offset:.0f} µV from zero (median epoch): high-passed at 0.5 Hz")
    if abs(found.fs - fs) > 1e-6:
        x = _resampled(x, n * windows * samples)
        notes.append(f"resampled from {found.fs:g} to {fs:g} Hz")
        if found.fs < fs:
            notes.append(f"nothing above {found.fs / 2:g} Hz is in the signal, which the network is used to")
    good = windows_scored(found.bad[: n * EPOCH_SECONDS].reshape(n, EPOCH_SECONDS), windows)
    return Night(x.reshape(n, windows, samples), good, fs, found.name, found.start, None, tuple(notes))


def _windows(length, samples, path):
    if length < samples or length % samples:
        lengths = f"its epochs have {length:g} samples, and the network takes {samples}"
        raise ValueError(f"{path}: {lengths}; name a model that was trained on epochs of this length")
    return int(length // samples)


def _from_prepared(path, fs, samples, channel):
    night = read_prepared(path, whole=False)  # an epoch without a signal or a stage is passed over, no error
    label = night.channel or "one channel"
    if channel is not None and channel != label:
        raise ValueError(f"{path}: no channel {channel!r}; there is: {label}. Name this one")
    if abs(night.fs - fs) > 1e-6:
        raise ValueError(f"{path}: {night.fs:g} Hz, and the network takes {fs:g} Hz; score the recording itself")
    n, length = night.x.shape
    windows, seconds = _windows(length, samples, path), length / night.fs
    whole = max(1, int(seconds))
    bad = bad_seconds(night.x.ravel(), length / whole).reshape(n, whole)
    good = windows_scored(bad, windows) if whole % windows == 0 else np.ones((n, windows), bool)
    labels = np.where((night.y >= 0) & (night.y < len(STAGES)), night.y, -1)
    notes = ["a prepared night: epochs that were dropped when it was prepared are missing, and onsets count on"]
    if seconds < EPOCH_SECONDS:
        notes.append(f"of each epoch {seconds:g} s are there, and the stage is that of these")
    return Night(np.nan_to_num(night.x).reshape(n, windows, samples), good, fs, label, None, labels, tuple(notes))


def _without_offset(x, fs):
    """The signal, high-passed where its median epoch lies more than OFFSET from zero, and how far that was in µV.

    First order at 0.5 Hz, as Sleep-EDF's recorder had it: that is what the networks were trained on.
    """
    length = round(EPOCH_SECONDS * fs)
    means = x[: len(x) // length * length].reshape(-1, length).mean(axis=1)
    offset = float(np.median(np.abs(means)))
    if offset <= OFFSET:
        return x, offset
    from scipy.signal import butter, lfilter, lfilter_zi

    b, a = butter(1, 0.5, "highpass", fs=fs)
    filtered = lfilter(b, a, x.astype(np.float64), zi=lfilter_zi(b, a) * x[0])[0]
    return filtered.astype(np.float32), offset


def _resampled(x, length):
    """By MNE-Python, polyphase where the rates have a small common ratio, which takes a fraction of an FFT's memory."""
    with extras():
        from mne.filter import resample

    method = "polyphase" if max(length, len(x)) // math.gcd(length, len(x)) <= 1000 else "fft"
    return resample(x.astype(np.float64), up=length, down=len(x), method=method, verbose="ERROR").astype(np.float32)
