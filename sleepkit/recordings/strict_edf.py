"""One channel of an EDF file, with the memory of what is read of it; every doubt is an error that names the file."""

from dataclasses import dataclass
from pathlib import Path

import edfio
import numpy as np

RATE = 100  # Hz, of Sleep-EDF's EEG and EOG and of everything built on them
EPOCH_SECONDS = 30
EPOCH_SAMPLES = RATE * EPOCH_SECONDS
MICROVOLTS = {"uv": 1.0, "µv": 1.0, "mv": 1e3, "v": 1e6}  # of one physical unit


@dataclass(frozen=True)
class Channel:
    """One channel of a file that stays on disk until a stretch of it is asked for.

    start : str, date and time as the header has them
    n_samples : int, length of the recording
    gain, offset : float, µV = digital * gain + offset
    """

    signal: edfio.EdfSignal
    start: str
    n_samples: int
    gain: float
    offset: float

    def digital(self, first, last):
        """Epochs first to last - 1 as the file has them, (last - first, 3000) int16; only these are read."""
        part = self.signal.get_digital_slice(first * EPOCH_SECONDS, last * EPOCH_SECONDS)
        return part.reshape(-1, EPOCH_SAMPLES)

    def microvolts(self, digital):
        """Digital epochs (n, samples) as float32 µV; computed in float64 row by row, so that no large copy is made."""
        x = np.empty(digital.shape, np.float32)
        for row, integers in zip(x, digital, strict=True):
            row[:] = integers * self.gain + self.offset
        return x


def open_channel(path, label):
    """Open channel `label` of an EDF file at 100 Hz.

    Raises ValueError for a file that is no whole EDF, has gaps between its records (EDF+D) or no such channel, and for
    a channel with another rate, a unit that is not a voltage, or a scale that makes every sample the same or NaN.
    """
    edf, start = open_edf(path)
    if edf.reserved.startswith("EDF+D"):
        raise ValueError(f"{path}: recording with interruptions (EDF+D); convert it to a continuous EDF first")
    signals = {signal.label: signal for signal in reversed(edf.signals)}  # of equal labels the first counts
    if label not in signals:
        there = ", ".join(sorted(signals)) or "none"
        raise ValueError(f"{path}: no channel {label!r}; there are: {there}. Name one of these as channel")
    signal = signals[label]
    if round(signal.sampling_frequency, 6) != RATE:
        raise ValueError(
            f"{path}: channel {label!r} has {signal.sampling_frequency:g} Hz, expected {RATE} Hz; "
            "resample the recording or name another channel"
        )
    unit = signal.physical_dimension.strip()
    if unit.lower() not in MICROVOLTS:
        raise ValueError(
            f"{path}: channel {label!r} is in {unit!r}, expected uV, mV or V; correct the unit in the header"
        )
    gain, offset = _scale(path, signal)
    volts = MICROVOLTS[unit.lower()]
    return Channel(signal, start, edf.num_data_records * signal.samples_per_data_record, gain * volts, offset * volts)


def open_edf(path):
    """The file as a lazy edfio.Edf, and its start as text ("24.04.89 16.13.00").

    edfio (0.4) reads a truncated file with a warning and a shortened header; here that is an error, so the header's
    promise is compared with the size before edfio sees the file. Raises ValueError for that and for what is no EDF.
    """
    path = Path(path)
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path}: empty file (0 bytes); download or export it again")
    unreadable = f"{path}: not an EDF file (its header cannot be read); download or export it again"
    with path.open("rb") as file:
        head = file.read(256)
        try:
            n_signals = int(head[252:256])
            lengths = file.read(256 * n_signals)[216 * n_signals : 224 * n_signals]
            samples = sum(int(lengths[8 * i : 8 * i + 8]) for i in range(n_signals))
            header_bytes, n_records = int(head[184:192]), int(head[236:244])
            start = f"{head[168:176].decode('ascii')} {head[176:184].decode('ascii')}"
        except ValueError as error:
            raise ValueError(unreadable) from error
    if head[:8].strip() != b"0" or header_bytes != 256 * (n_signals + 1) or samples < 1:
        raise ValueError(unreadable)
    if n_records < 1:
        raise ValueError(
            f"{path}: the header counts {n_records} data records: the recording was not closed properly; "
            "export or download it again"
        )
    promised = header_bytes + 2 * samples * n_records
    if size != promised:
        state = "truncated" if size < promised else "longer than its header says"
        raise ValueError(
            f"{path}: {state} ({size:,} bytes, the header promises {promised:,}); download or export it again"
        )
    try:
        return edfio.read_edf(path, lazy_load_data=True, header_encoding="latin-1"), start
    except Exception as error:  # a damaged header makes edfio fail in many ways
        raise ValueError(unreadable) from error


def _scale(path, signal):
    """Gain and offset to the physical unit (EDF specification: both ranges name the same two points of one line)."""
    try:
        low, high = signal.physical_min, signal.physical_max
        digital_low, digital_high = signal.digital_min, signal.digital_max
    except ValueError as error:
        raise ValueError(
            f"{path}: the range of channel {signal.label!r} is no number ({error}); correct the header"
        ) from error
    if not np.isfinite([low, high]).all():
        raise ValueError(
            f"{path}: the range of channel {signal.label!r} is {low} to {high}, which makes all samples NaN; "
            "correct the header"
        )
    if low == high or digital_low >= digital_high:
        raise ValueError(
            f"{path}: channel {signal.label!r} is flat by its header (range {low:g} to {high:g}, "
            f"digital {digital_low} to {digital_high}); correct the header or name another channel"
        )
    gain = (high - low) / (digital_high - digital_low)
    return gain, low - digital_low * gain
