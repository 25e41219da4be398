"""One channel of any recording in µV: which one is meant, and what the reader should know about its signal."""

import datetime
import math
import re
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS
from sleepkit.execution.extras import extras
from sleepkit.recordings.edf import ENDINGS, MAGIC, MAX_SAMPLES, open_edf
from sleepkit.recordings.quality import PLAUSIBLE, amplitude_problem, bad_seconds
from sleepkit.recordings.start import start_of

DEFAULT = "Fpz-Cz"  # of Sleep-EDF, on which the networks are trained
# Of one physical unit; casefold() makes the micro sign a Greek mu.
PREFIXES = {"n": 1e-3, "nano": 1e-3, "u": 1.0, "\u03bc": 1.0, "micro": 1.0, "m": 1e3, "milli": 1e3, "": 1e6}
MICROVOLTS = {prefix + volt: factor for prefix, factor in PREFIXES.items() for volt in ("v", "volt", "volts")}
LOST = ("", "?v", "ï¿½v")  # no unit, or µV after a program that could not write µ
OFFSET = 50  # µV from zero in the median epoch: no scalp EEG, but an amplifier that passes direct current
LOWEST_RATE = 32  # Hz: below, spindles (up to 16 Hz) are not in the signal


class Channel(NamedTuple):
    """One channel of a recording, or the difference of two."""

    x: np.ndarray  # (n,) float32 µV, interpolated across gaps
    fs: float  # Hz
    name: str  # "A - B" for a derivation
    bad: np.ndarray  # (seconds,) bool: flat, clipped or not recorded
    start: datetime.datetime | datetime.time | None  # of the first sample, see `start_of`
    notes: tuple  # what the user should know
    unit: str = ""  # as the file has it


def read_channel(path, channel=None):
    """Read a channel, or the difference of two (see `find_channel`), of an EDF, BDF or what MNE-Python reads."""
    if not (path := Path(path)).is_file():
        raise ValueError(f"{path}: no such file; name a recording or a folder of recordings")
    with path.open("rb") as file:
        ours = path.suffix.lower() in ENDINGS or file.read(8) in MAGIC
    ((x, fs, name, unit), *second), start, notes = (_by_edf if ours else _by_mne)(path, channel)
    if fs < LOWEST_RATE:
        raise ValueError(f"{path}: channel {name!r} has {fs:g} Hz; EEG needs {LOWEST_RATE} Hz or more: name another")
    bad = bad_seconds(x, fs)
    for other, other_fs, other_name, _ in second:
        if other_fs != fs or len(other) != len(x):
            rates = f"{name!r} has {fs:g} Hz and {other_name!r} {other_fs:g} Hz"
            raise ValueError(f"{path}: {rates}, so they cannot be subtracted; name two channels of one rate")
        x, name = x - other, f"{name} - {other_name}"
        bad |= bad_seconds(other, fs) | bad_seconds(x, fs)
    if problem := amplitude_problem(x, fs, bad):
        cure = "correct the unit in the header, or name another channel; nothing was done with it"
        raise ValueError(f"{path}: channel {name!r} has a {problem}; {cure}")
    known = np.isfinite(x)
    if known.any() and not known.all():  # what was not recorded is not scored, but a step would ring on both sides
        x[~known] = np.interp(np.flatnonzero(~known), np.flatnonzero(known), x[known])
    return Channel(np.nan_to_num(x, copy=False), fs, name, bad, start, tuple(notes), unit)


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


def find_channel(labels, wanted=None, where=""):
    """Position of the channel that is wanted, or positions of the two whose difference it is.
    wanted : a label ("EEG Fpz-Cz"; case, a leading EEG and a trailing -Ref do not matter), a pattern that fits one of
        the labels ("*Fpz*"), a derivation ("Fpz - Cz"), or several of these, of which the first that is there is meant
        ("C4-M1, C3-M2"); None is Fpz-Cz or, in a recording of one channel, that one
    returns (i,) or (i, j), the channel being i minus j; of equal labels the first counts"""
    name = DEFAULT if wanted is None else wanted
    for one in dict.fromkeys([name, *(part.strip() for part in name.split(","))]):
        if (found := _position(labels, one, where)) is not None:
            return (found,)
        for parts in (re.split(r"\s+-\s+", one), re.split(r"\s*-\s*", one)):
            if len(parts) == 2 and all(parts):
                pair = tuple(_position(labels, part, where) for part in parts)
                if None not in pair and pair[0] != pair[1]:
                    return pair
    if wanted is None and len(labels) == 1:
        return (0,)
    there = ", ".join(labels) or "none"
    raise ValueError(f"{where}no channel {name!r}; there are: {there}. Name one of these, or two of them as 'A - B'")


def _position(labels, name, where):
    """Position of the one label that `name` is or fits; None where there is none."""
    for form in (str, _plain):
        if form(name) in (forms := [form(label) for label in labels]):
            return forms.index(form(name))
    fits = [i for i, label in enumerate(labels) if fnmatchcase(label.casefold(), name.casefold())]
    if len(fits) > 1:
        several = ", ".join(labels[i] for i in fits)
        raise ValueError(f"{where}{len(fits)} channels fit {name!r}: {several}. Name one of them")
    return fits[0] if fits else None


def _plain(label):
    """ "EEG Fpz - Cz" and "FPZ-CZ" are one channel, and so are "EEG C3-Ref" and "C3"."""
    text = re.sub(r"\s*-\s*", "-", " ".join(label.casefold().split()))
    return re.sub(r"^eeg[ :_]?(?=.)|-ref$", "", text).strip()


def twins(labels, position):
    """A list with what to say where other channels bear the name of the one at `position`; empty where none does."""
    same = [i for i, label in enumerate(labels) if _plain(label) == _plain(labels[position])]
    if len(same) == 1:
        return []
    several = f"{len(same)} channels are called {labels[position]!r} (numbers {', '.join(str(i + 1) for i in same)})"
    return [f"{several}: number {position + 1} was taken"]


def microvolts_of(path, signal):
    """Factor from a signal's unit to µV, None where the header names none. ValueError for a unit of something else."""
    if (unit := signal.unit.casefold()) not in (*MICROVOLTS, *LOST):
        cure = "expected uV, mV or V; name another channel or correct the unit in the header"
        raise ValueError(f"{path}: channel {signal.label!r} is in {signal.unit!r}, {cure}")
    return MICROVOLTS.get(unit)


def _by_edf(path, channel):
    """By our own reader: list of (x in µV, Hz, label), start, list of notes."""
    edf = open_edf(path)
    channels, notes, signals = edf.channels(), list(edf.notes), []
    labels = [signal.label for signal in channels]
    for position in find_channel(labels, channel, f"{path}: "):
        signal = channels[position]
        notes += twins(labels, position)
        if not signal.samples:
            raise ValueError(f"{path}: channel {signal.label!r} has no samples; name another channel")
        factor = microvolts_of(path, signal)
        x = edf.read(signal, factor=factor or 1.0)
        if not np.isfinite(x).any():
            raise ValueError(f"{path}: the range of channel {signal.label!r} is beyond all numbers; correct the header")
        if factor is None:
            # The unit by which the signal has the amplitude of EEG; µV where none does.
            sd, units = float(np.nanstd(x)), {"µV": 1.0, "mV": 1e3, "V": 1e6}
            unit = next((unit for unit in units if PLAUSIBLE[0] <= sd * units[unit] <= PLAUSIBLE[1]), "µV")
            x *= np.float32(units[unit])
            lacks = f"no unit in the header{f' but {signal.unit!r}' if signal.unit else ''}"
            notes.append(f"channel {signal.label!r} has {lacks}; by its amplitude it was taken as {unit}")
        signals.append((x, edf.rate(signal), signal.label, signal.unit or "none"))
    if gaps := int(np.isnan(signals[0][0]).sum()):
        notes.append(f"{gaps / signals[0][1]:.0f} s lie in interruptions of the recording and are not scored")
    return signals, edf.start, notes


def _by_mne(path, channel):
    """The same by MNE-Python, which knows some twenty formats; it is imported only here, as it takes a second."""
    with extras():
        import mne
    with warnings.catch_warnings(action="ignore"):  # about what does not concern one channel's samples
        try:
            raw = mne.io.read_raw(path, preload=False, verbose="ERROR")
            labels, fs, date = list(raw.ch_names), float(raw.info["sfreq"]), raw.info["meas_date"]
            # A recording that was cropped keeps the date of the whole and counts its samples from there.
            start = start_of(date and date.date(), date and date.time(), raw.first_samp / fs)
        except Exception as error:  # every reader of a damaged or foreign file raises its own
            why = f"neither EDF, BDF nor what MNE-Python reads ({' '.join(str(error).split())[:200]})"
            raise ValueError(f"{path}: {why}; export it as EDF+") from error
        if raw.n_times > MAX_SAMPLES:
            raise ValueError(f"{path}: {raw.n_times:,} samples, more than {MAX_SAMPLES:,}; cut it into nights")
        signals, notes = [], []
        for position in find_channel(labels, channel, f"{path}: "):
            notes += twins(labels, position)
            try:
                x = (raw.get_data(picks=[position])[0] * 1e6).astype(np.float32)
            except Exception as error:
                raise ValueError(f"{path}: its data cannot be read ({error}); export it as EDF+") from error
            signals.append((x, fs, labels[position], "V"))  # as MNE gives every format
    return signals, start, notes
