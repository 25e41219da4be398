"""The whole epochs of a channel at another rate, as networks take them: one way for preparing and for scoring."""

import math

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS
from sleepkit.execution.extras import extras

SETTLED = 5  # µV from zero that the median epoch of Sleep-EDF's own nights may lie
DRIFT = 20  # µV, median distance of an epoch's mean from the recording's, from which on a signal drifts
OFFSET = 50  # µV from zero in the median epoch: no scalp EEG, but an amplifier that passes direct current


def whole_epochs(found, fs, where=""):
    """The whole 30-s epochs of a `Channel` at `fs` Hz, and notes on what was done: (n, 30 * fs) float32 µV, a list.
    ValueError, which begins with `where`, for a signal of less than one epoch."""
    seconds = len(found.x) / found.fs
    if not (n := int(seconds / EPOCH_SECONDS + 1e-6)):
        raise ValueError(f"{where}{seconds:.3g} s of signal, less than one epoch of {EPOCH_SECONDS} s")
    notes, length = list(found.notes), n * round(EPOCH_SECONDS * fs)
    if (rest := seconds - n * EPOCH_SECONDS) > 1e-3:
        notes.append(f"the last {rest:.3g} s are no whole epoch and were left out")
    x = found.x[: round(n * EPOCH_SECONDS * found.fs)]
    x, more = brought_to(fs, x, found.fs, length, round(EPOCH_SECONDS * found.fs))
    return x.reshape(n, -1), notes + more


def brought_to(rate, x, fs, length, epoch):
    """A signal at `fs` Hz without its offset, as `length` samples at another rate; and notes on what was done to it.
    epoch : samples of an epoch as they are"""
    x, offset, drifts = without_offset(x, fs, epoch)
    notes = [f"the signal lies {offset:.0f} µV from zero (median epoch): subtracted"] * (abs(offset) > OFFSET)
    notes += ["the signal drifts: high-passed at 0.5 Hz"] * drifts
    if abs(fs - rate) > 1e-6:
        with extras():
            from mne.filter import resample
        # Polyphase, where the rates have a small common ratio, takes a fraction of an FFT's memory.
        method = "polyphase" if max(length, len(x)) // math.gcd(length, len(x)) <= 1000 else "fft"
        x = resample(x.astype(np.float64), up=length, down=len(x), method=method, verbose="ERROR").astype(np.float32)
        notes.append(f"resampled from {fs:g} to {rate:g} Hz")
        if fs < rate:
            notes.append(f"nothing above {fs / 2:g} Hz is in the signal, which the network is used to")
    return x, notes


def without_offset(x, fs, epoch):
    """The signal without its constant offset, high-passed where it drifts: (n,) float32 µV -> (n,), offset in µV, bool.

    Only what drifts is high-passed, as Sleep-EDF's recorder does: a filter takes slow waves away, too.
    epoch : samples of an epoch"""
    means = x[: len(x) // epoch * epoch].reshape(-1, epoch).mean(axis=1)
    offset = float(np.median(means))
    drifts = bool(np.median(np.abs(means - offset)) > DRIFT)
    if abs(offset) > SETTLED:
        x = x - np.float32(offset)
    if drifts:
        from scipy.signal import butter, lfilter, lfilter_zi

        b, a = butter(1, 0.5, "highpass", fs=fs)
        x = lfilter(b, a, x.astype(np.float64), zi=lfilter_zi(b, a) * x[0])[0].astype(np.float32)
    return x, offset, drifts
