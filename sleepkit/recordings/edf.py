"""EDF, EDF+ and BDF files: header, annotations, one channel in physical units, and when each of its records begins.
Formats: Kemp et al. 1992 (doi:10.1016/0013-4694(92)90009-7), Kemp and Olivan 2003 (10.1016/S1388-2457(03)00123-8)."""

import datetime
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sleepkit.recordings.start import edf_start

MAGIC = {b"0       ": "EDF", b"\xffBIOSEMI": "BDF"}
ENDINGS = (".edf", ".rec", ".bdf")
SAMPLE_BYTES = {"EDF": 2, "BDF": 3}
# Fields of a signal's header and their bytes. Each stands for all signals in turn.
FIELDS = (("label", 16), ("transducer", 80), ("unit", 8), ("low", 8), ("high", 8), ("digital low", 8))
FIELDS += (("digital high", 8), ("filter", 80), ("samples", 8), ("reserved", 32))
MAX_SAMPLES = 1 << 28  # of one channel: 1 GB as float32, a week at 400 Hz
BLOCK = 1 << 20  # bytes read at a time
# The letter of µV in UTF-8 (micro sign, Greek mu), Shift-JIS, GB and EUC-JP, EUC-KR, Big5, code page 437, Latin-1.
MICRO = re.compile(rb"^(?:\xc2\xb5|\xce\xbc|\x83\xca|\xa6\xcc|\xa5\xec|\xa3g|\xe6|\xb5)(?=V)", re.IGNORECASE)
JITTER = 0.1  # s by which a record may begin before the last has ended, without its clock having been set back
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
    """Header of a file, and what it says about time."""

    path: Path
    kind: str  # "EDF" or "BDF"
    signals: tuple  # of Signal, with those of annotations
    records: int  # whole ones that are there
    record_bytes: int
    seconds: float  # of a data record
    later: float  # s from the start in the header to the first sample: the onset of the first record (EDF+ 2.2.4)
    start: datetime.datetime | datetime.time | None  # of the first sample, see `start_of`
    onsets: np.ndarray | None  # of every record, s after the first sample, where they may lie apart (EDF+D)
    notes: tuple  # what the user should know: what is wrong with the file's size, or with its clock

    def rate(self, signal):  # Hz
        return signal.samples / self.seconds

    def channels(self):  # the signals that are no annotations
        return tuple(signal for signal in self.signals if not signal.annotates)

    def read(self, signal, first=0, last=None, factor=1.0):
        """Samples `first` to `last` - 1 of one signal, in the unit of its header times `factor`: (n,) float32, NaN in
        the gaps between records. Only the records that hold these samples are read."""
        gain, offset = (factor * part for part in _scale(self, signal))
        starts = np.arange(self.records) * signal.samples  # where each record's samples begin
        if self.onsets is not None:
            gaps = np.rint(np.minimum(self.onsets * self.rate(signal), 1e18)).astype(np.int64) - starts
            starts += np.maximum.accumulate(gaps)  # rounded onsets must not let records overlap by a sample
        last = int(starts[-1]) + signal.samples if last is None else last
        if last - first > MAX_SAMPLES:
            asked = f"{self.path}: channel {signal.label!r} has {last - first:,} samples"
            raise ValueError(f"{asked}, more than {MAX_SAMPLES:,}; cut the recording into nights")
        begin, end = np.searchsorted(starts + signal.samples, first, "right"), np.searchsorted(starts, last)
        origin = starts[begin:end].min(initial=first)
        x = np.full((starts[begin:end] + signal.samples).max(initial=last) - origin, np.nan, np.float32)
        for record, raw in self._records(signal, begin, end):
            with np.errstate(over="ignore"):  # a range beyond float32 is no EEG, and told by its amplitude
                physical = (_integers(raw, self.kind) * gain + offset).astype(np.float32)
            places = starts[record : record + len(raw)] - origin
            if self.onsets is not None:
                x[places[:, None] + np.arange(signal.samples)] = physical
            else:
                x[places[0] : places[0] + physical.size] = physical.ravel()
        return x[first - origin : last - origin]

    def annotations(self):
        """Sorted list of (onset in s after the first sample, duration in s or None, text), without time keepers."""
        found = []
        for signal in self.signals:
            for row in self._rows(signal) if signal.annotates else ():
                if TAL.sub(b"", row).strip(b"\0"):
                    raise ValueError(f"{self.path}: its annotations cannot be read; {AGAIN}")
                for onset, duration, texts in TAL.findall(row):
                    first, *others = _text(texts).split("\x14")
                    times = round(float(onset) - self.later, 12), float(duration) if duration else None
                    found += [(*times, text) for text in (first, *others) if text]  # time keepers have none
        return sorted(found, key=lambda annotation: annotation[0])

    def _rows(self, signal, end=None):  # bytes of annotations in each record, with the zero that ends the last one
        found = self._records(signal, 0, self.records if end is None else end)
        return [row.tobytes() + b"\0" for _, rows in found for row in rows]

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

    def with_times(self, head, interrupted):
        """With what 256 bytes of the header and the first annotation of every record say about time (EDF+ 2.2.4)."""
        keeper, onsets, notes = next((signal for signal in self.signals if signal.annotates), None), None, ()
        if interrupted and self.channels():
            onsets, notes = _end_to_end(self._record_onsets(keeper), self.seconds)
        first = TAL.match(self._rows(keeper, 1)[0]) if keeper else None
        keeps = first and (onsets is not None or first[3].split(b"\x14")[0] == b"")  # only an empty text keeps time
        later = float(np.clip(float(first[1]), -1e12, 1e12)) if keeps else 0.0
        recording, date, clock = (head[a:b].decode("latin-1") for a, b in ((88, 168), (168, 176), (176, 184)))
        start = edf_start(date, clock, recording, later)
        if start is None and later:
            notes += (f"the first sample lies {later:g} s after the start in the header, which is not known",)
        return self._replace(later=later, start=start, onsets=onsets, notes=(*self.notes, *notes))

    def _record_onsets(self, keeper):
        """Start of every record in s after that in the header, by the first annotation of each."""
        found = [TAL.match(row) for row in self._rows(keeper)] if keeper else [None]
        if None in found:
            where = f"data record {found.index(None)} does not say when it begins"
            raise ValueError(f"{self.path}: has interruptions (EDF+D), but {where}; export it again")
        return np.clip([float(match[1]) for match in found], -1e12, 1e12)


def holds_annotations_alone(path):
    """Whether a file is an EDF or BDF without a signal, as hypnograms are; a damaged one is none."""
    try:
        return all(signal.annotates for signal in _header(Path(path))[2])
    except ValueError:
        return False


def open_edf(path):
    """Read and check the header. Of a file whose size is another than its header says, the whole data records that are
    there count, and a note says so. Raises ValueError for what is no EDF or BDF, or holds no data."""
    path = Path(path)
    head, kind, signals, counted, seconds = _header(path)
    length = signals[-1].place + signals[-1].samples * SAMPLE_BYTES[kind]
    records, notes = _whole_records(path, 256 * (len(signals) + 1), length, counted)
    if not 1e-4 <= seconds <= 1e6 and not all(signal.annotates for signal in signals):
        raise ValueError(f"{path}: its data records last {seconds:g} s each, which cannot be; export it again")
    edf = EdfFile(path, kind, signals, records, length, seconds, 0.0, None, None, notes)
    return edf.with_times(head, interrupted=head[195:197] == b"+D")


def _header(path):
    """First 256 bytes, "EDF" or "BDF", tuple of Signal, number of data records as counted there, seconds of each."""
    if not path.stat().st_size:
        raise ValueError(f"{path}: empty file (0 bytes); {AGAIN}")
    with path.open("rb") as file:
        head = file.read(256)
        try:
            kind = MAGIC[head[:8]]
            n_signals = _integer(head[252:256])
            if not 1 <= n_signals <= 9999 or _integer(head[184:192]) != 256 * (n_signals + 1):
                raise ValueError("the length of the header does not fit the number of signals")
            signals = _signals(file.read(256 * n_signals), n_signals, SAMPLE_BYTES[kind])
            return head, kind, signals, _integer(head[236:244]), _number(head[244:252])
        except (KeyError, ValueError) as error:
            why = "it does not begin as one" if isinstance(error, KeyError) else error
            raise ValueError(f"{path}: not a readable EDF or BDF file ({why}); {AGAIN}") from error


def _whole_records(path, begin, length, counted):
    """Number of the whole data records from byte `begin` on, without empty ones that the header does not count."""
    body, known = path.stat().st_size - begin, max(counted, 0)
    there = body // length if length else 0
    if counted < -1 or not there:
        state = f"truncated within its first data record, {max(body, 0):,} bytes" if counted > 0 < length else "no data"
        raise ValueError(f"{path}: {state} in it (the header counts {counted} records); {AGAIN}")
    if there > known:
        beyond = np.memmap(path, np.uint8, "r", begin + known * length, (there - known, length)).any(axis=1)
        there = known + int(np.flatnonzero(beyond).max(initial=-1)) + 1
    rest = body - there * length
    if counted > there:
        state = f"truncated: the header promises {counted:,} data records, and {there:,} whole ones are there"
    elif known < there or not there:
        state = f"not closed: the header counts {counted:,} data records, and {there:,} are there"
    else:
        state = f"longer than its header says: {rest:,} bytes behind the last data record are left out"
    return there, (state,) * (counted != there or rest > 0)


def _end_to_end(onsets, seconds):
    """Where records lie so that none begins before the last has ended: onsets (n,) s -> (n,) s after the first, notes.

    Clocks that jitter or run fast overlap by milliseconds; one that was set back goes on from where it was."""
    places, early = onsets - onsets[0], seconds - np.diff(onsets)
    if early.max(initial=0) <= 1e-6:
        return places, ()
    back, end = 0.0, 0.0
    for i, place in enumerate(places.tolist()):
        if end - (place + back) > JITTER:
            back = end - place
        places[i] = max(end, place + back)
        end = places[i] + seconds
    if (most := early.max()) > 1:
        at = 1 + int(early.argmax())
        return places, (f"the clock goes back by {most:.6g} s before data record {at}, which was laid behind the last",)
    several = f"{(early > 1e-6).sum():,} data records begin before the last has ended, by {1000 * most:.3g} ms at most"
    return places, (f"{several}: they were laid end to end",)


def _signals(header, n, sample_bytes):
    if len(header) < 256 * n:
        raise ValueError("it ends within the header")
    fields = np.frombuffer(header, [(name, f"S{width}", n) for name, width in FIELDS])[0]
    signals, place = [], 0
    for label, _, unit, *ranges, _, samples, _ in zip(*fields, strict=True):
        label, unit = (text.decode("latin-1").strip(" \0") for text in (label, MICRO.sub(b"\xb5", unit.strip())))
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


def _text(raw):  # EDF+ asks for UTF-8, and much software writes what it has
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


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
