"""The whole epochs of a channel at another rate, as networks take them: one way for preparing and for scoring."""

import math

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS
from sleepkit.execution.extras import extras

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
    x, offset = _without_offset(found.x[: round(n * EPOCH_SECONDS * found.fs)], found.fs)
    if offset > OFFSET:
        notes.append(f"the signal lies {offset:.0f} µV from zero (median epoch): high-passed at 0.5 Hz")
    if abs(found.fs - fs) > 1e-6:
        with extras():
            from mne.filter import resample
        # Polyphase, where the rates have a small common ratio, takes a fraction of an FFT's memory.
        method = "polyphase" if max(length, len(x)) // math.gcd(length, len(x)) <= 1000 else "fft"
        x = resample(x.astype(np.float64), up=length, down=len(x), method=method, verbose="ERROR").astype(np.float32)
        notes.append(f"resampled from {found.fs:g} to {fs:g} Hz")
        if found.fs < fs:
            notes.append(f"nothing above {found.fs / 2:g} Hz is in the signal, which the network is used to")
    return x.reshape(n, -1), notes


def _without_offset(x, fs):
    """The signal, high-passed where its median epoch lies more than OFFSET from zero, and how far that was in µV."""
    length = round(EPOCH_SECONDS * fs)
    means = x[: len(x) // length * length].reshape(-1, length).mean(axis=1)
    if (offset := float(np.median(np.abs(means)))) > OFFSET:
        from scipy.signal import butter, lfilter, lfilter_zi

        b, a = butter(1, 0.5, "highpass", fs=fs)  # as Sleep-EDF's recorder, whose signal the networks know
        x = lfilter(b, a, x.astype(np.float64), zi=lfilter_zi(b, a) * x[0])[0].astype(np.float32)
    return x, offset
