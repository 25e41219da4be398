"""One EEG channel of any recording in µV, with what the reader should know about it."""

import datetime
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sleepkit.recordings.edf import ENDINGS, MAX_SAMPLES, is_polygraph, open_polygraph
from sleepkit.recordings.montage import find_channel
from sleepkit.recordings.quality import PLAUSIBLE, bad_seconds

MICROVOLTS = {"nv": 1e-3, "uv": 1.0, "µv": 1.0, "μv": 1.0, "âµv": 1.0, "mv": 1e3, "v": 1e6}  # of one physical unit
LOWEST_RATE = 32  # Hz: below, spindles (up to 16 Hz) are not in the signal


@dataclass(frozen=True)
class Trace:
    """x : (n,) float32 µV, interpolated across gaps;  fs : Hz;  channel : its name, "A - B" for a derivation
    bad : (seconds,) bool, flat, clipped or not recorded;  start : datetime or None;  notes : tuple of str
    """

    x: np.ndarray
    fs: float
    channel: str
    bad: np.ndarray
    start: datetime.datetime | None
    notes: tuple


def read_trace(path, channel=None):
    """Read one channel, or the difference of two (see `find_channel`), of an EDF, EDF+, BDF or what MNE-Python reads.

    Raises ValueError that names the file and the cure.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; name a recording or a folder of recordings")
    ours = path.suffix.lower() in ENDINGS or is_polygraph(path)
    signals, start, notes = (_from_polygraph if ours else _from_mne)(path, channel)
    (x, fs, name), *second = signals
    if fs < LOWEST_RATE:
        raise ValueError(f"{path}: channel {name!r} has {fs:g} Hz; EEG needs {LOWEST_RATE} Hz or more: name another")
    bad = bad_seconds(x, fs)
    if second:
        other, other_fs, other_name = second[0]
        if other_fs != fs or len(other) != len(x):
            raise ValueError(
                f"{path}: {name!r} has {fs:g} Hz and {other_name!r} {other_fs:g} Hz, so they cannot be subtracted; "
                "name two channels of one rate"
            )
        bad |= bad_seconds(other, fs)
        x, name = x - other, f"{name} - {other_name}"
        bad |= bad_seconds(x, fs)
    return Trace(_bridged(x), fs, name, bad, start, notes)


def _from_polygraph(path, channel):
    polygraph = open_polygraph(path)
    channels = polygraph.channels()
    notes, signals = list(polygraph.notes), []
    for position in _find(path, [signal.label for signal in channels], channel):
        signal = channels[position]
        if not signal.samples:
            raise ValueError(f"{path}: channel {signal.label!r} has no samples; name another channel")
        unit = signal.unit.casefold()
        if unit and unit not in MICROVOLTS:
            raise ValueError(
                f"{path}: channel {signal.label!r} is in {signal.unit!r}, expected uV, mV or V; "
                "name another channel or correct the unit in the header"
            )
        x = polygraph.read(signal)
        factor = MICROVOLTS[unit] if unit else _guessed_unit(x)
        if not unit:
            known = {1.0: "µV", 1e3: "mV", 1e6: "V"}[factor]
            notes.append(
                f"channel {signal.label!r} has no unit in the header; by its amplitude it was taken as {known}"
            )
        x *= np.float32(factor)
        if not np.isfinite(x).any():
            raise ValueError(f"{path}: the range of channel {signal.label!r} is beyond all numbers; correct the header")
        signals.append((x, polygraph.rate(signal), signal.label))
    gaps = int(np.isnan(signals[0][0]).sum())
    if gaps:
        notes.append(f"{gaps / signals[0][1]:.0f} s lie in interruptions of the recording and are not scored")
    return signals, polygraph.start, tuple(notes)


def _from_mne(path, channel):
    """By MNE-Python, which knows some twenty formats; it is imported only here, as it takes a second."""
    import mne

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what does not concern one channel's samples
        try:
            raw = mne.io.read_raw(path, preload=False, verbose="ERROR")
            labels, fs, start = list(raw.ch_names), float(raw.info["sfreq"]), raw.info["meas_date"]
        except Exception as error:  # every reader of a damaged or foreign file raises its own
            why = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{path}: neither EDF nor BDF, and MNE-Python cannot read it ({why}); export it as EDF+"
            ) from error
        if raw.n_times > MAX_SAMPLES:
            raise ValueError(f"{path}: {raw.n_times:,} samples, more than {MAX_SAMPLES:,}; cut it into nights")
        signals = []
        for position in _find(path, labels, channel):
            try:
                x = (raw.get_data(picks=[position])[0] * 1e6).astype(np.float32)
            except Exception as error:
                raise ValueError(f"{path}: its data cannot be read ({error}); export it as EDF+") from error
            signals.append((x, fs, labels[position]))
    return signals, start and start.replace(tzinfo=None), ()


def _find(path, labels, channel):
    try:
        return find_channel(labels, channel)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _guessed_unit(x):
    """Factor to µV by which the signal has the amplitude of EEG; 1 where none does."""
    sd = float(np.nanstd(x)) if np.isfinite(x).any() else 0.0
    return next((factor for factor in (1.0, 1e3, 1e6) if PLAUSIBLE[0] <= sd * factor <= PLAUSIBLE[1]), 1.0)


def _bridged(x):
    """Gaps filled along a straight line: what stands there is not scored, but a step would ring on both sides."""
    missing = ~np.isfinite(x)
    if missing.any() and not missing.all():
        x = x.copy()
        x[missing] = np.interp(np.flatnonzero(missing), np.flatnonzero(~missing), x[~missing])
    return np.nan_to_num(x, copy=False)
