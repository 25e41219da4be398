"""Labelled 30-s epochs of many nights as arrays, each with an identity that nothing changes."""

import re
import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from sleepkit.execution.paths import written

# The one place where the order of the stages stands: the label of a stage is its position here.
STAGES = ("W", "N1", "N2", "N3", "REM")

NIGHT_NAME = re.compile(r"S[CT][47](\d\d)(\d)[A-Z]\d")
IDS_PER_NIGHT = 10_000  # a 24-h night has 2,880 epochs


@dataclass(frozen=True)
class EpochSet:
    """Epochs of one channel.

    x : (n, samples) float32, µV
    y : (n,) int64, position in STAGES
    subject : (n,) int64
    night : (n,) str, "SC4001E0"
    id : (n,) int64, permanent: it depends on the night and the epoch's place in it, not on which nights were loaded
    fs : float, Hz
    """

    x: np.ndarray
    y: np.ndarray
    subject: np.ndarray
    night: np.ndarray
    id: np.ndarray
    fs: float

    def __len__(self):
        return len(self.y)

    def subset(self, rows):
        """The epochs at `rows` (positions or a boolean mask), in that order."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "fs"}
        return EpochSet(**{name: array[rows] for name, array in arrays.items()}, fs=self.fs)

    def counts(self):
        """Epochs per stage, (5,) int."""
        return np.bincount(self.y, minlength=len(STAGES))

    @cached_property
    def content(self):
        """Twelve hex digits that name these epochs: all that there is of them, in their order."""
        from sleepkit.execution.checkpoint import fingerprint  # imports torch, which scoring may do without

        arrays = [getattr(self, field.name) for field in fields(self) if field.name != "fs"]
        return fingerprint({"fs": float(self.fs)}, *arrays)

    @classmethod
    def load(cls, folder, nights=None, mapped=None):
        """Read prepared nights (`SC4001E0.npz`, ...) from `folder`, in the order of their names.

        nights : names to read; None reads all
        mapped : file (.npy) to write the signal to and map into memory from: a data set larger than memory
        Raises ValueError when the folder or a night is missing or damaged, or when nights differ in length or rate
        or two files are of the same night.
        """
        folder = Path(folder)
        # A name that starts with a dot is a file that a killed process was still writing.
        found = {path.stem: path for path in sorted(folder.glob("[!.]*.npz"))}
        names = sorted(found) if nights is None else sorted(nights)
        missing = [name for name in names if name not in found]
        if not names or missing:
            what = f"no prepared night {', '.join(missing)}" if missing else "no prepared night"
            raise ValueError(f"{folder}: {what}; run the prepare notebook or `python -m sleepkit prepare` first")
        parts = []
        for name in names:
            part = _read_night(found[name])
            # A mapped signal is read again when the number of epochs is known; of this reading its shape stays.
            parts.append(part if mapped is None else replace(part, x=np.broadcast_to(np.float32(0), part.x.shape)))
        for name, part in zip(names, parts):
            if (part.x.shape[1], part.fs) != (parts[0].x.shape[1], parts[0].fs):
                raise ValueError(
                    f"{found[name]}: {part.x.shape[1]} samples at {part.fs:g} Hz, but {names[0]} has "
                    f"{parts[0].x.shape[1]} at {parts[0].fs:g} Hz; prepare all nights with the same settings"
                )
        owner = {}
        for name, part in zip(names, parts):
            if (other := owner.setdefault(int(part.id[0]), name)) != name:
                raise ValueError(f"{found[name]}: the same subject and night as {other}; remove one of the two")
        arrays = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(cls)
            if f.name not in ("fs", "x")
        }
        if mapped is None:
            x = np.concatenate([part.x for part in parts])
        else:
            x = _map_signal([found[name] for name in names], (len(arrays["y"]), parts[0].x.shape[1]), Path(mapped))
        return cls(x, **arrays, fs=parts[0].fs)

    def save(self, folder, ch_label="EEG Fpz-Cz"):
        """Write one `.npz` a night in the layout that sleep-staging projects exchange."""
        for name in sorted(set(self.night.tolist())):
            rows = self.night == name
            with written(Path(folder) / f"{name}.npz") as path:
                x, y = self.x[rows][:, :, None].astype(np.float32), self.y[rows].astype(np.int32)
                np.savez(path, x=x, y=y, fs=self.fs, ch_label=ch_label)


def parse_night(name):
    """Subject and night number of a recording id: "SC4192E0" is subject 19, night 2.

    Raises ValueError for a name that is not Sleep-EDF's.
    """
    match = NIGHT_NAME.match(name)
    if not match:
        raise ValueError(
            f"{name!r} is not a Sleep-EDF recording id such as SC4001E0 (SC4, two digits subject, one digit night)"
        )
    return int(match[1]), int(match[2])


def _map_signal(nights, shape, path):
    """Write the signals of all nights into one file, a night at a time, and map it: (n, samples) float32."""
    with written(path) as temporary:
        x, first = np.lib.format.open_memmap(temporary, "w+", np.float32, shape), 0
        for night in nights:
            part = _read_night(night).x
            x[first : first + len(part)] = part
            first += len(part)
        x.flush()
        del x
    return np.load(path, mmap_mode="c")  # copy on write: PyTorch warns of arrays that it must not write to


def _read_night(path):
    subject, number = parse_night(path.stem)
    try:
        # numpy leaves a file open that turns out to be damaged; this one is closed whatever happens
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as night:
            x, y, fs = night["x"], night["y"], float(night["fs"])
    except (KeyError, ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: not a prepared night with x, y and fs ({error}); delete it and prepare it again"
        ) from error
    x = x[:, :, 0] if x.ndim == 3 and x.shape[2] == 1 else x
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(y):
        raise ValueError(
            f"{path}: x has shape {x.shape}, y {y.shape}; expected (n, samples) or (n, samples, 1) and (n,)"
        )
    if not np.isfinite(x).all():
        raise ValueError(
            f"{path}: the signal holds NaN or infinite samples; prepare the night again from its recording"
        )
    if y.min() < 0 or y.max() >= len(STAGES):
        raise ValueError(
            f"{path}: labels {y.min()} to {y.max()}; expected 0 to {len(STAGES) - 1} ({', '.join(STAGES)})"
        )
    n = len(y)
    ids = (subject * 10 + number) * IDS_PER_NIGHT + np.arange(n)
    return EpochSet(
        x.astype(np.float32), y.astype(np.int64), np.full(n, subject), np.full(n, path.stem), ids.astype(np.int64), fs
    )
