"""EDF, EDF+ and BDF files: header (checked against the file's size), annotations, one channel in physical units.
Formats: Kemp et al. 1992 (doi:10.1016/0013-4694(92)90009-7), Kemp and Olivan 2003 (10.1016/S1388-2457(03)00123-8)."""

import datetime
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAGIC = {b"0       ": "EDF", b"\xffBIOSEMI": "BDF"}
ENDINGS = (".edf", ".rec", ".bdf")
SAMPLE_BYTES = {"EDF": 2, "BDF": 3}
# Fields of a signal's header and their bytes. Each stands for all signals in turn.
FIELDS = (("label", 16), ("transducer", 80), ("unit", 8), ("low", 8), ("high", 8), ("digital low", 8))
FIELDS += (("digital high", 8), ("filter", 80), ("samples", 8), ("reserved", 32))
MAX_SAMPLES = 1 << 28  # of one channel: 1 GB as float32, a week at 400 Hz
BLOCK = 1 << 20  # bytes read at a time
START = re.compile(r"(\d\d)[.:/ -](\d\d)[.:/ -](\d\d) (\d\d)[.:/ -](\d\d)[.:/ -](\d\d)")
# Time-stamped annotations list (EDF+ 2.2.2): onset, duration if there is one, texts separated by \x14.
TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14([^\0]*?)\x14?\0")
AGAIN = "download, copy or export it again"


class Signal(NamedTuple):
    """One signal's part of the header."""

    label: str
    unit: str
    ranges: tuple  # physical and digital minimum and maximum, four fields as they stand there
    samples: int  # in a data record
    place: int  # of its first byte in a data record
    annotates: bool


class EdfFile(NamedTuple):
    """Header of a file whose size agrees with it."""

    path: Path
    kind: str  # "EDF" or "BDF"
    signals: tuple  # of Signal, with those of annotations
    records: int
    record_bytes: int
    seconds: float  # of a data record
    start: str  # date and time as in the header
    interrupted: bool  # records may lie apart (EDF+D)
    notes: tuple  # what the user should know

    def rate(self, signal):  # Hz
        return signal.samples / self.seconds

    def channels(self):  # the signals that are no annotations
        return tuple(signal for signal in self.signals if not signal.annotates)

    def read(self, signal, first=0, last=None, factor=1.0):
        """Samples `first` to `last` - 1 of one signal, in the unit of its header times `factor`: (n,) float32, NaN in
        the gaps between records. Only the records that hold these samples are read."""
        gain, offset = (factor * part for part in _scale(self, signal))
        starts = np.arange(self.records) * signal.samples  # where each record's samples begin
        if self.interrupted:
            gaps = np.rint(np.minimum(self._onsets() * self.rate(signal), 1e18)).astype(np.int64) - starts
            starts += np.maximum.accumulate(gaps)  # rounded onsets must not let records overlap by a sample
        last = int(starts[-1]) + signal.samples if last is None else last
        if last - first > MAX_SAMPLES:
            asked = f"{self.path}: channel {signal.label!r} has {last - first:,} samples"
            raise ValueError(f"{asked}, more than {MAX_SAMPLES:,}; cut the recording into nights")
        begin, end = np.searchsorted(starts + signal.samples, first, "right"), np.searchsorted(starts, last)
        origin = starts[begin:end].min(initial=first)
        x = np.full((starts[begin:end] + signal.samples).max(initial=last) - origin, np.nan, np.float32)
        for record, raw in self._records(signal, begin, end):
            physical = _integers(raw, self.kind) * gain + offset
            places = starts[record : record + len(raw)] - origin
            if self.interrupted:
                x[places[:, None] + np.arange(signal.samples)] = physical
            else:
                x[places[0] : places[0] + physical.size] = physical.ravel()
        return x[first - origin : last - origin]

    def annotations(self):
        """Sorted list of (onset in s after the first sample, duration in s or None, text), without time keepers."""
        found, begin = [], None
        for signal in self.signals:
            for row in self._rows(signal) if signal.annotates else ():
                if TAL.sub(b"", row).strip(b"\0"):
                    raise ValueError(f"{self.path}: its annotations cannot be read; {AGAIN}")
                for onset, duration, texts in TAL.findall(row):
                    first, *others = texts.decode("utf-8", "replace").split("\x14")
                    begin = (0.0 if first else float(onset)) if begin is None else begin
                    times = round(float(onset) - begin, 12), float(duration) if duration else None
                    found += [(*times, text) for text in (first, *others) if text]  # time keepers have none
        return sorted(found, key=lambda annotation: annotation[0])

    def _rows(self, signal):  # bytes of annotations in each record, with the zero that ends the last one
        return [row.tobytes() + b"\0" for _, rows in self._records(signal, 0, self.records) for row in rows]

    def _records(self, signal, begin, end):
        """Bytes of one signal in records begin to end - 1, in blocks: (number of the first, (records, bytes) uint8)."""
        width, length = signal.samples * SAMPLE_BYTES[self.kind], self.record_bytes
        step = max(1, BLOCK // length)
        with self.path.open("rb") as file:
            file.seek(256 * (len(self.signals) + 1) + int(begin) * length)
            for record in range(begin, end, step):
                count = min(step, end - record)
                block = np.fromfile(file, np.uint8, count * length)
                if block.size < count * length:
                    raise ValueError(f"{self.path}: became shorter while it was read; read it again when it is whole")
                yield record, block.reshape(count, -1)[:, signal.place : signal.place + width]

    def _onsets(self):
        """Start of every record in s after that of the first, by the first annotation of each (EDF+ 2.2.4)."""
        keeper = next((signal for signal in self.signals if signal.annotates), None)
        found = [TAL.match(row) for row in self._rows(keeper)] if keeper else [None]
        if None in found:
            where = f"data record {found.index(None)} does not say when it begins"
            raise ValueError(f"{self.path}: has interruptions (EDF+D), but {where}; export it again")
        onsets = np.array([float(match[1]) for match in found])
        if len(early := np.flatnonzero(np.diff(onsets) < self.seconds - 1e-3)):
            raise ValueError(f"{self.path}: data record {early[0] + 1} begins before the last ended; export it again")
        return onsets - onsets[0]


def open_edf(path):
    """Read and check the header. Raises ValueError for what is no EDF or BDF, or whose size is another than it says."""
    path = Path(path)
    if not (size := path.stat().st_size):
        raise ValueError(f"{path}: empty file (0 bytes); {AGAIN}")
    with path.open("rb") as file:
        head = file.read(256)
        try:
            kind = MAGIC[head[:8]]
            n_signals = _integer(head[252:256])
            if not 1 <= n_signals <= 9999 or _integer(head[184:192]) != 256 * (n_signals + 1):
                raise ValueError("the length of the header does not fit the number of signals")
            signals = _signals(file.read(256 * n_signals), n_signals, SAMPLE_BYTES[kind])
            records, seconds = _integer(head[236:244]), _number(head[244:252])
        except (KeyError, ValueError) as error:
            why = "it does not begin as one" if isinstance(error, KeyError) else error
            raise ValueError(f"{path}: not a readable EDF or BDF file ({why}); {AGAIN}") from error
    length = signals[-1].place + signals[-1].samples * SAMPLE_BYTES[kind]
    body, notes = size - 256 * (n_signals + 1), ()
    if records == -1 and length and body and body % length == 0:
        records = body // length
        notes = (f"the recording was not closed (its header counts -1 records); {records} records are there",)
    if records < 1 or not length:
        raise ValueError(f"{path}: no data in it (the header counts {records} records); export it again")
    if body != (promised := records * length):
        state = "truncated" if body < promised else "longer than its header says"
        raise ValueError(f"{path}: {state} ({body:,} bytes of data, the header promises {promised:,}); {AGAIN}")
    if not 1e-4 <= seconds <= 1e6 and not all(signal.annotates for signal in signals):
        raise ValueError(f"{path}: its data records last {seconds:g} s each, which cannot be; export it again")
    date, clock = head[168:176].decode("latin-1"), head[176:184].decode("latin-1")
    return EdfFile(path, kind, signals, records, length, seconds, f"{date} {clock}", head[195:197] == b"+D", notes)


def parse_start(text):
    """ "24.04.89 16.13.00" as a datetime (1985 to 2084); None where it is no date."""
    try:
        day, month, year, *time = map(int, match.groups() if (match := START.fullmatch(text)) else ())
        return datetime.datetime(year + (1900 if year >= 85 else 2000), month, day, *time)
    except ValueError:
        return None


def _signals(header, n, sample_bytes):
    if len(header) < 256 * n:
        raise ValueError("it ends within the header")
    fields = np.frombuffer(header, [(name, f"S{width}", n) for name, width in FIELDS])[0]
    signals, place = [], 0
    for label, _, unit, *ranges, _, samples, _ in zip(*fields, strict=True):
        label, unit = (field.decode("latin-1").strip(" \0") for field in (label, unit))
        if (count := _integer(samples)) < 0:
            raise ValueError(f"signal {label!r} has {count} samples in a record")
        annotates = label in ("EDF Annotations", "BDF Annotations")
        signals.append(Signal(label, unit, tuple(ranges), count, place, annotates))
        place += count * sample_bytes
    return tuple(signals)


def _scale(edf, signal):
    """Gain and offset to the physical unit: both ranges name the same two points of one line (EDF specification)."""
    where, bound = f"{edf.path}: channel {signal.label!r}", 1 << (8 * SAMPLE_BYTES[edf.kind] - 1)
    try:
        low, high, digital_low, digital_high = map(_number, signal.ranges)
    except ValueError as error:
        raise ValueError(f"{where}: a range in its header is no number ({error}); correct the header") from error
    if low == high or not -bound <= digital_low < digital_high < bound:
        maps = f"its header maps {digital_low:g} to {digital_high:g} onto {low:g} to {high:g}"
        raise ValueError(f"{where}: {maps}, which is no scale; correct the header or name another channel")
    gain = (high - low) / (digital_high - digital_low)
    return gain, low - digital_low * gain


def _integers(raw, kind):
    """(records, bytes) uint8 -> (records, samples) int, little endian."""
    if kind == "EDF":
        return np.ascontiguousarray(raw).view("<i2")
    low, middle, high = (raw[:, i::3].astype(np.int32) for i in range(3))
    value = low | middle << 8 | high << 16
    return value - ((value & 0x800000) << 1)


def _number(field):
    text = field.decode("latin-1").strip(" \0").replace(",", ".")  # some recorders write decimal commas
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        raise ValueError(f"{text!r} is no number")
    if not np.isfinite(value := float(text)):
        raise ValueError(f"{text!r} is too large")
    return value


def _integer(field):
    if (value := _number(field)) % 1:
        raise ValueError(f"{value:g} is no whole number")
    return int(value)
