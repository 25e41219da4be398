"""Labelled 30-s epochs of many nights as arrays, each with an identity that nothing changes."""

import hashlib
import re
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

# The one place where the order of the stages stands: the label of a stage is its position here.
STAGES = ("W", "N1", "N2", "N3", "REM")
EPOCH_SECONDS = 30

NIGHT_NAME = re.compile(r"S([CT])[47](\d\d)(\d)[A-Z][A-Z\d]")
TELEMETRY = 100  # what is added to the numbers of its people: those of sleep-cassette are others, and below 83
IDS_PER_NIGHT = 10_000  # a 24-h night has 2,880 epochs


@dataclass(frozen=True)
class EpochSet:
    """Epochs of one channel; an id depends on the night and the place in it, not on which nights were loaded."""

    x: np.ndarray  # (n, samples) float32, µV
    y: np.ndarray  # (n,) int64, position in STAGES
    subject: np.ndarray  # (n,) int64; str in a data set of one's own
    night: np.ndarray  # (n,) str, "SC4001E0": the name of the prepared file
    id: np.ndarray  # (n,) int64, permanent
    fs: float  # Hz

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        """Epoch `i` as PyTorch's data sets give it: x (1, samples) float32 µV and its stage, an int."""
        return self.x[i][None], int(self.y[i])

    def subset(self, rows):
        """The epochs at `rows` (positions or a boolean mask), in that order."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "fs"})

    def counts(self):
        """Epochs per stage, (5,) int."""
        return np.bincount(self.y, minlength=len(STAGES))

    @cached_property
    def content(self):
        """Twelve hex digits that name these epochs: all that there is of them, in their order."""
        from sleepkit.execution.checkpoint import fingerprint  # imports torch, which scoring may do without

        return fingerprint({"fs": float(self.fs)}, *(getattr(self, f.name) for f in fields(self) if f.name != "fs"))

    @classmethod
    def load(cls, folder, nights=None):
        """Read prepared nights from `folder`, all or those named, in the order of their names. Who slept stands in the
        file, or in a name of Sleep-EDF's (`SC4001E0.npz`). ValueError for a night that is missing, damaged, of another
        length, rate or data set, or the same as another."""
        folder = Path(folder)
        # A name that starts with a dot is a file that a killed process was still writing.
        found = {path.stem: path for path in sorted(folder.glob("[!.]*.npz"))}
        names = sorted(found) if nights is None else sorted(nights)
        missing = [name for name in names if name not in found]
        if not names or missing:
            what = f"no prepared night {', '.join(missing)}" if missing else "no prepared night"
            raise ValueError(f"{folder}: {what}; run the prepare notebook or `python -m sleepkit prepare` first")
        x, fs, dataset, owner, columns = None, None, None, {}, []
        for name in names:
            night = read_prepared(found[name])
            of, subject, number, place = _identity(name, night.own)
            if (dataset := of if dataset is None else dataset) != of:
                both = " and ".join(one or "Sleep-EDF" for one in (dataset, of))
                raise ValueError(f"{folder}: holds nights of {both}; name those of one data set")
            if (other := owner.setdefault((subject, number), name)) != name:
                raise ValueError(f"{found[name]}: the same subject and night as {other}; remove one of the two")
            n, samples = night.x.shape
            if x is None:
                x, fs = np.empty((0, samples), np.float32), night.fs
            if (samples, night.fs) != (x.shape[1], fs):
                others = f"{names[0]} has {x.shape[1]} at {fs:g} Hz; prepare all nights with the same settings"
                raise ValueError(f"{found[name]}: {samples} samples at {night.fs:g} Hz, but {others}")
            # One array that grows: memory need not hold a large data set twice.
            x.resize((len(x) + n, samples), refcheck=False)
            x[-n:] = night.x
            ids = place * IDS_PER_NIGHT + np.arange(n)
            columns.append((night.y, np.full(n, subject), np.full(n, name), ids))
        return cls(x, *map(np.concatenate, zip(*columns, strict=True)), fs=fs)


@dataclass(frozen=True)
class PreparedNight:
    """The epochs of one file."""

    x: np.ndarray  # (n, samples) float32, µV
    y: np.ndarray  # (n,) int64, position in STAGES
    fs: float  # Hz
    channel: str | None  # its label, None where the file does not tell it
    own: tuple | None = None  # (data set, subject, night), texts, of a data set of one's own


def read_prepared(path, whole=True):
    """Read a prepared night: `.npz` with x (n, samples) or (n, samples, 1), y (n,), fs and, if known, ch_label.
    whole : whether every sample must be finite and every label a position in STAGES"""
    again = "prepare the night again from its recording"
    try:
        # numpy leaves a file open that turns out to be damaged; this one is closed whatever happens
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as night:
            x, y, fs = night["x"], night["y"], float(night["fs"].item())
            channel = str(night["ch_label"].item()) if "ch_label" in night.files else None
            own = _own(night)
        if x.dtype.kind not in "fiu" or y.dtype.kind not in "iu" or not 0 < fs < np.inf:
            raise ValueError(f"x is {x.dtype}, y {y.dtype}, fs {fs}; expected numbers, whole numbers and Hz")
    except Exception as error:  # numpy raises a different error for every way of being damaged
        raise ValueError(f"{path}: not a prepared night with x, y and fs ({error}); {again}") from error
    x = x[:, :, 0] if x.ndim == 3 and x.shape[2] == 1 else x
    if x.ndim != 2 or y.shape != x.shape[:1] or not x.size:
        expected = "(n, samples) or (n, samples, 1) and (n,)"
        raise ValueError(f"{path}: x has shape {x.shape}, y {y.shape}; expected {expected}: {again}")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and told below
        x = x.astype(np.float32, copy=False)
    if whole and not np.isfinite(x).all():
        raise ValueError(f"{path}: the signal holds NaN or infinite samples; {again}")
    if whole and (y.min() < 0 or y.max() >= len(STAGES)):
        stages = f"0 to {len(STAGES) - 1} ({', '.join(STAGES)})"
        raise ValueError(f"{path}: labels {y.min()} to {y.max()}; expected {stages}: {again}")
    return PreparedNight(x, y.astype(np.int64), fs, channel, own)


def own_identity(path):
    """(data set, subject, night) of a prepared night of one's own; None for another or a damaged file."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as night:
            return _own(night)
    except Exception:  # numpy raises a different error for every way of being damaged
        return None


def _own(night):
    fields = ("dataset", "subject", "night")
    return tuple(str(night[name].item()) for name in fields) if set(fields) <= set(night.files) else None


def _identity(name, own):
    """Data set, subject and night, and the number with which the night's ids begin: of one's own 48 bits of a hash,
    whoever else is there (two of a million nights share them with a chance of 1 in 500)."""
    if own is None:
        subject, number = parse_night(name)
        return "", subject, number, subject * 10 + number
    return *own, int.from_bytes(hashlib.sha256("\0".join(own).encode()).digest()[:6], "big")


def parse_night(name):
    """Subject and night number of a recording id: "SC4192E0" is subject 19, night 2; "ST7192J0" is of subject 119."""
    if not (match := NIGHT_NAME.match(name)):
        example = "SC4001E0 (SC4, two digits subject, one digit night)"
        raise ValueError(f"{name!r} is not a Sleep-EDF recording id such as {example}")
    return int(match[2]) + TELEMETRY * (match[1] == "T"), int(match[3])
