"""Which files of a folder are a night of whom: PSG and hypnogram, prepared nights, and recordings of one's own."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from sleepkit.epochs import NIGHT_NAME
from sleepkit.recordings.sleep_edf import EDF_NAME, RECORDING

# What a folder is searched for; a single file may be of any kind that MNE-Python reads.
RECORDINGS = (".edf", ".rec", ".bdf", ".npz", ".vhdr", ".fif", ".set", ".gdf", ".cnt", ".nxe")
NAME_IT = "name the folder of the recordings, or get them with `python -m sleepkit fetch`"


class NightFiles(NamedTuple):
    """The files of one night: PSG and hypnogram, or one prepared `.npz`."""

    night: str
    files: tuple = ()
    problem: str = ""  # why they cannot be used

    @property
    def subject(self):  # its number; -1 where the name is not Sleep-EDF's
        return int(match[1]) if (match := RECORDING.match(self.night)) else -1


def find_nights(folder):
    """The nights of a folder (not of its subfolders), EDF pairs or prepared `.npz`, as a list of NightFiles by name.
    What `prepare` wrote next to EDF files is passed over. ValueError for a folder that is missing, empty or mixed."""
    if not (folder := Path(folder)).is_dir():
        raise ValueError(f"{folder}: no such folder; {NAME_IT}")
    edfs, prepared = (_files(folder, (ending,)) for ending in (".edf", ".npz"))
    if edfs:
        if foreign := [path.name for path in prepared if not _written_here(path)]:
            raise ValueError(f"{folder}: holds EDF files and prepared nights ({foreign[0]}); move one kind elsewhere")
        return _pair(edfs)
    if not prepared:
        raise ValueError(f"{folder}: neither EDF files nor prepared .npz nights directly in it; {NAME_IT}")
    return [NightFiles(path.stem, (path,)) if NIGHT_NAME.match(path.stem) else _oddly_named(path) for path in prepared]


def _written_here(path):
    """Whether `prepare` wrote this `.npz`: its mark is inside."""
    try:
        with np.load(path, allow_pickle=False) as night:
            return "prepared_by" in night.files
    except Exception:  # numpy raises a different error for every way of being damaged
        return False


def recordings_in(folder):
    """The recordings of a folder, sorted: files of RECORDINGS that are no hypnograms."""
    found = [path for path in _files(folder, RECORDINGS) if not path.stem.lower().endswith("hypnogram")]
    if not found:
        raise ValueError(f"{folder}: no recording in it (looked for {', '.join(RECORDINGS)}; not in its subfolders)")
    return found


def hypnogram_of(path, folder):
    """The hypnogram in `folder` that belongs to a recording, by Sleep-EDF's or by its own name; None without one."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected the folder of the hypnograms, because the recordings are a folder, too")
    key = path.stem[:6] if RECORDING.match(path.stem) else path.stem
    # With a hyphen: NAME.hypnogram.edf is what scoring writes.
    found = (other for other in sorted(folder.iterdir()) if other.name.lower().endswith("-hypnogram.edf"))
    return next((other for other in found if other.name.lower().startswith(key.lower())), None)


def _files(folder, endings):
    found = (path for path in folder.iterdir() if path.suffix.lower() in endings and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file())


def _oddly_named(path):
    names = "SC4001E0-PSG.edf, SC4001EC-Hypnogram.edf, SC4001E0.npz"
    return NightFiles(path.stem, (path,), f"{path}: not named like {names}; rename it or take it out of the folder")


def _pair(edfs):
    """Pair by recording id, never by the order of the names: suffixes sort differently for PSG and hypnogram."""
    recordings, nights = {}, []
    for path in edfs:
        if match := EDF_NAME.fullmatch(path.name):
            recordings.setdefault(match[1].upper(), ([], []))[match[2].lower() == "hypnogram"].append(path)
        else:
            nights.append(_oddly_named(path))
    for recording, (psgs, hypnograms) in recordings.items():
        several, problem = max(psgs, hypnograms, key=len), ""
        if not psgs:
            problem = f"{hypnograms[0]}: no PSG to this hypnogram; add {recording}..-PSG.edf or take it away"
        elif not hypnograms:
            problem = f"{psgs[0]}: no hypnogram to this PSG; add {recording}..-Hypnogram.edf"
        elif len(several) > 1:
            names = ", ".join(path.name for path in several)
            problem = f"{several[0]}: {len(several)} files for one recording ({names}); keep one of them"
        nights.append(NightFiles((psgs or hypnograms)[0].name.split("-")[0], (*psgs, *hypnograms), problem))
    return sorted(nights, key=lambda night: night.night)
