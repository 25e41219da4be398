"""A night as a network takes it: 30-s epochs, cut into the windows that it was trained on."""

import datetime
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sleepkit.recordings.channel import read_trace
from sleepkit.recordings.quality import bad_seconds, windows_scored

EPOCH_SECONDS = 30
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
        """(epochs,) bool: epochs of which at least half of the windows can be scored."""
        return self.good.mean(axis=1) >= 0.5


def read_night(path, fs, samples, channel=None):
    """Read a recording (see `read_trace`), or a prepared `.npz` night, for a network of `samples` samples at `fs` Hz.

    A prepared night that holds only the first seconds of its epochs gives an epoch as many windows as fit.
    Raises ValueError that names the file and the cure.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        return _read_prepared(path, fs, samples, channel)
    windows = _windows(EPOCH_SECONDS * fs, samples, path)
    trace = read_trace(path, channel)
    seconds = len(trace.x) / trace.fs
    n = int(seconds / EPOCH_SECONDS + 1e-6)
    if not n:
        raise ValueError(
            f"{path}: {seconds:.3g} s of signal, less than one epoch of {EPOCH_SECONDS} s; nothing to score"
        )
    notes = list(trace.notes)
    if (rest := seconds - n * EPOCH_SECONDS) > 1e-3:
        notes.append(f"the last {rest:.3g} s are no whole epoch and were left out")
    x, note = _without_offset(trace.x[: round(n * EPOCH_SECONDS * trace.fs)], trace.fs)
    notes += note
    if abs(trace.fs - fs) > 1e-6:
        x = _resampled(x, n * windows * samples)
        notes.append(f"resampled from {trace.fs:g} to {fs:g} Hz")
        if trace.fs < fs:
            notes.append(f"nothing above {trace.fs / 2:g} Hz is in the signal, which the network is used to")
    bad = trace.bad[: n * EPOCH_SECONDS].reshape(n, EPOCH_SECONDS)
    return Night(
        x.reshape(n, windows, samples),
        windows_scored(bad, windows),
        fs,
        trace.channel,
        trace.start,
        None,
        tuple(notes),
    )


def _windows(length, samples, path):
    if length < samples or length % samples:
        raise ValueError(
            f"{path}: its epochs have {length:g} samples, and the network takes {samples}; "
            "name a model that was trained on epochs of this length"
        )
    return int(length // samples)


def _read_prepared(path, fs, samples, channel):
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as night:
            x, y, rate = night["x"], night["y"], float(night["fs"])
            label = str(night["ch_label"]) if "ch_label" in night.files else "one channel"
    except Exception as error:  # numpy raises a different error for every way of being damaged
        raise ValueError(f"{path}: not a prepared night with x, y and fs ({error}); prepare it again") from error
    x = x[:, :, 0] if x.ndim == 3 and x.shape[2] == 1 else x
    if x.ndim != 2 or not x.size or y.shape != x.shape[:1] or x.dtype.kind not in "fiu" or y.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: x is {x.dtype} {x.shape}, y {y.dtype} {y.shape}; expected numbers (n, samples) and stages (n,)"
        )
    if channel is not None and channel != label:
        raise ValueError(f"{path}: no channel {channel!r}; there is: {label}. Name this one")
    if abs(rate - fs) > 1e-6:
        raise ValueError(f"{path}: {rate:g} Hz, and the network takes {fs:g} Hz; score the recording itself instead")
    windows = _windows(x.shape[1], samples, path)
    x = x.astype(np.float32)
    seconds = x.shape[1] / rate
    whole = max(1, int(seconds))
    bad = bad_seconds(x.ravel(), x.shape[1] / whole).reshape(len(x), whole)
    labels = np.where((y >= 0) & (y < 5), y, -1).astype(np.int64)
    notes = ["a prepared night: epochs that were dropped when it was prepared are missing, and onsets count on"]
    if seconds < EPOCH_SECONDS:
        notes.append(f"of each epoch {seconds:g} s are there, and the stage is that of these")
    return Night(
        np.nan_to_num(x).reshape(len(x), windows, samples),
        windows_scored(bad, windows) if whole % windows == 0 else np.ones((len(x), windows), bool),
        fs,
        label,
        None,
        labels,
        tuple(notes),
    )


def _without_offset(x, fs):
    """The signal without direct current, and a note, where the amplifier passed it; otherwise as it is.

    A first-order high-pass at 0.5 Hz, as Sleep-EDF's recorder had: that is what the networks were trained on.
    """
    length = round(EPOCH_SECONDS * fs)
    means = x[: len(x) // length * length].reshape(-1, length).mean(axis=1)
    offset = float(np.median(np.abs(means)))
    if offset <= OFFSET:
        return x, []
    from scipy.signal import butter, lfilter, lfilter_zi

    b, a = butter(1, 0.5, "highpass", fs=fs)
    filtered = lfilter(b, a, x.astype(np.float64), zi=lfilter_zi(b, a) * x[0])[0].astype(np.float32)
    note = f"the signal lies {offset:.0f} µV from zero (median epoch): high-passed at 0.5 Hz"
    return filtered, [note]


def _resampled(x, length):
    """By MNE-Python, polyphase where the rates have a small common ratio, which takes a fraction of an FFT's memory."""
    from mne.filter import resample

    small = max(length, len(x)) // math.gcd(length, len(x)) <= 1000
    method = "polyphase" if small else "fft"
    y = resample(x.astype(np.float64), up=length, down=len(x), method=method, verbose="ERROR")
    return y.astype(np.float32)
