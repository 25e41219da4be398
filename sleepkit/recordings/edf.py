"""Any EDF, EDF+ or BDF file: its header, and one channel of it in physical units, at whatever rate and with gaps.

The files come from anybody's recorder, so the header is read field by field and nothing in it is believed that the
size of the file does not bear out: a header that promises a thousand million records is refused before memory is
asked for. (Preparing Sleep-EDF is stricter, see `sleepkit.recordings.strict_edf`.)
"""

import datetime
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAGIC = {b"0       ": "EDF", b"\xffBIOSEMI": "BDF"}
ENDINGS = (".edf", ".rec", ".bdf")
SAMPLE_BYTES = {"EDF": 2, "BDF": 3}
# Fields of a signal's header and their bytes; each field stands for all signals one after the other.
FIELDS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "low": 8,
    "high": 8,
    "digital_low": 8,
    "digital_high": 8,
    "filter": 80,
    "samples": 8,
    "reserved": 32,
}
MAX_SAMPLES = 1 << 28  # of one channel: 1 GB as float32, a week at 400 Hz
BLOCK = 1 << 20  # bytes read at a time
DATE = re.compile(r"(\d\d)[.:/ -](\d\d)[.:/ -](\d\d)")
ONSET = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15\d+(?:\.\d*)?)?\x14")  # of a record, at the start of its annotations


@dataclass(frozen=True)
class Signal:
    """One signal's part of the header; `place` is its first byte within a record, `samples` its number per record."""

    label: str
    unit: str
    physical: tuple
    digital: tuple
    samples: int
    place: int


@dataclass(frozen=True)
class Polygraph:
    """Header of a file whose size agrees with it.

    kind : "EDF" or "BDF";  signals : tuple of Signal, the annotation signals among them;  start : datetime or None where it cannot be read
    seconds : float, length of a record;  interrupted : whether records may lie apart (EDF+D)
    notes : what the user should know, tuple of str
    """

    path: Path
    kind: str
    signals: tuple
    records: int
    seconds: float
    header_bytes: int
    record_bytes: int
    start: datetime.datetime | None
    interrupted: bool
    notes: tuple

    def rate(self, signal):
        """Hz, float."""
        return signal.samples / self.seconds

    def channels(self):
        """The signals that are no annotations."""
        return tuple(signal for signal in self.signals if not _annotates(signal))

    def read(self, signal):
        """One signal in the unit of its header, (n,) float32, NaN in the gaps between the records.

        Raises ValueError for a scale that makes no sense, records out of order, and more than MAX_SAMPLES.
        """
        gain, offset = _scale(self.path, self.kind, signal)
        first = np.arange(self.records) * signal.samples  # where each record's samples begin
        if self.interrupted:
            first = np.rint(self._onsets() * self.rate(signal)).astype(np.int64)
        total = int(first[-1]) + signal.samples
        if total > MAX_SAMPLES:
            raise ValueError(
                f"{self.path}: channel {signal.label!r} has {total:,} samples, more than {MAX_SAMPLES:,}; "
                "cut the recording into nights"
            )
        x = np.full(total, np.nan, np.float32)
        for record, raw in self._column(signal):
            places = first[record : record + len(raw)]
            physical = (_integers(raw, self.kind) * gain + offset).astype(np.float32)
            if self.interrupted:
                for place, part in zip(places, physical, strict=True):
                    x[place : place + signal.samples] = part
            else:
                x[places[0] : places[0] + physical.size] = physical.ravel()
        return x

    def _column(self, signal):
        """The bytes of one signal, some records at a time: (number of the first record, (records, bytes) uint8)."""
        width = signal.samples * SAMPLE_BYTES[self.kind]
        step = max(1, BLOCK // self.record_bytes)
        with self.path.open("rb") as file:
            file.seek(self.header_bytes)
            for record in range(0, self.records, step):
                count = min(step, self.records - record)
                block = np.fromfile(file, np.uint8, count * self.record_bytes)
                if block.size < count * self.record_bytes:
                    raise ValueError(f"{self.path}: became shorter while it was read; read it again when it is whole")
                yield record, block.reshape(count, -1)[:, signal.place : signal.place + width]

    def _onsets(self):
        """Start of every record in s after that of the first; from the first annotation of each (EDF+ 2.2.4)."""
        keeper = next((signal for signal in self.signals if _annotates(signal)), None)
        if keeper is None:
            raise ValueError(
                f"{self.path}: says that it has interruptions (EDF+D), but no annotations say where; export it again"
            )
        found = [ONSET.match(row.tobytes()) for _, rows in self._column(keeper) for row in rows]
        if None in found:
            raise ValueError(
                f"{self.path}: data record {found.index(None)} does not say when it begins (EDF+D); export it again"
            )
        onsets = np.array([float(match[1]) for match in found])
        if (np.diff(onsets) < self.seconds - 1e-3).any():
            record = int(np.flatnonzero(np.diff(onsets) < self.seconds - 1e-3)[0]) + 1
            raise ValueError(
                f"{self.path}: data record {record} begins before the one before it has ended; export it again"
            )
        return onsets - onsets[0]


def is_polygraph(path):
    """Whether the file begins as an EDF or BDF does."""
    with Path(path).open("rb") as file:
        return file.read(8) in MAGIC


def open_polygraph(path):
    """Read and check the header. Raises ValueError for what is no EDF or BDF, or whose size is another than it says."""
    path = Path(path)
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path}: empty file (0 bytes); export or copy it again")
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
            raise ValueError(f"{path}: not a readable EDF or BDF file ({why}); export or copy it again") from error
    header_bytes = 256 * (n_signals + 1)
    record_bytes = signals[-1].place + signals[-1].samples * SAMPLE_BYTES[kind]
    notes = ()
    if records == -1 and record_bytes and (size - header_bytes) % record_bytes == 0:
        records = (size - header_bytes) // record_bytes
        notes = (f"the recording was not closed (its header counts -1 records); {records} records are there",)
    _check_size(path, size, header_bytes + records * record_bytes, records, record_bytes)
    plus = head[192:197].decode("latin-1")
    polygraph = Polygraph(
        path, kind, signals, records, seconds, header_bytes, record_bytes, _start(head), plus[3:] == "+D", notes
    )
    if polygraph.channels() and not 1e-4 <= seconds <= 1e6:
        raise ValueError(f"{path}: its data records last {seconds:g} s each, which cannot be; export it again")
    return polygraph


def parse_start(text):
    """ "24.04.89 16.13.00" as a datetime (1985 to 2084); None where it is no date."""
    date, time = (DATE.fullmatch(part.strip()) for part in (text[:8], text[9:17]))
    if not date or not time:
        return None
    day, month, year = map(int, date.groups())
    try:
        return datetime.datetime(year + (1900 if year >= 85 else 2000), month, day, *map(int, time.groups()))
    except ValueError:
        return None


def _start(head):
    return parse_start(f"{head[168:176].decode('latin-1')} {head[176:184].decode('latin-1')}")


def _annotates(signal):
    return signal.label in ("EDF Annotations", "BDF Annotations")


def _signals(header, n, sample_bytes):
    """The signals' headers, in their order."""
    if len(header) < 256 * n:
        raise ValueError("it ends within the header")
    fields, at = {}, 0
    for name, width in FIELDS.items():
        fields[name] = [header[at + width * i : at + width * (i + 1)] for i in range(n)]
        at += width * n
    signals, place = [], 0
    for i in range(n):
        samples = _integer(fields["samples"][i])
        if samples < 0:
            raise ValueError(f"signal {i + 1} has {samples} samples in a record")
        signals.append(
            Signal(
                fields["label"][i].decode("latin-1").strip(" \0"),
                fields["unit"][i].decode("latin-1").strip(" \0"),
                tuple(fields[name][i] for name in ("low", "high")),  # read as numbers for the channel that is wanted
                tuple(fields[name][i] for name in ("digital_low", "digital_high")),
                samples,
                place,
            )
        )
        place += samples * sample_bytes
    return tuple(signals)


def _check_size(path, size, promised, records, record_bytes):
    if records < 1 or not record_bytes:
        raise ValueError(f"{path}: no data in it (the header counts {records} records); export it again")
    if size != promised:
        state = "truncated" if size < promised else "longer than its header says"
        raise ValueError(f"{path}: {state} ({size:,} bytes, the header promises {promised:,}); export or copy it again")


def _scale(path, kind, signal):
    """Gain and offset to the physical unit: both ranges name the same two points of one line (EDF specification)."""
    where = f"{path}: channel {signal.label!r}"
    try:
        low, high = map(_number, signal.physical)
        digital_low, digital_high = map(_number, signal.digital)
    except ValueError as error:
        raise ValueError(f"{where}: a range in its header is no number ({error}); correct the header") from error
    bound = 1 << (8 * SAMPLE_BYTES[kind] - 1)
    if low == high or not -bound <= digital_low < digital_high < bound:
        raise ValueError(
            f"{where}: its header maps {digital_low:g} to {digital_high:g} onto {low:g} to {high:g}, which is no "
            "scale; correct the header or name another channel"
        )
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
    value = float(text)
    if not np.isfinite(value):
        raise ValueError(f"{text!r} is too large")
    return value


def _integer(field):
    value = _number(field)
    if value % 1:
        raise ValueError(f"{value:g} is no whole number")
    return int(value)
