"""Which nights there are: those of EDF-20 and EDF-78, and those in a folder."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sleepkit.epochs import parse_night

PUBLISHED = Path(__file__).resolve().parent.parent / "paper" / "published" / "epochs_per_recording.csv"
DATASETS = ("edf20", "edf78")
MARK = "sleepkit.recordings 1"  # stands in every file that `prepare` writes; a new number makes all nights anew

# SC4001E0-PSG.edf and SC4001EC-Hypnogram.edf: six characters name the recording, two the equipment and the scorer.
RECORDING = re.compile(r"S[CT][47](\d\d)\d", re.IGNORECASE)
EDF_NAME = re.compile(r"(S[CT][47]\d{3})[A-Z][A-Z0-9]-(PSG|Hypnogram)\.edf", re.IGNORECASE)


@dataclass(frozen=True)
class NightFiles:
    """The files of one night: PSG and hypnogram, or one prepared `.npz`; `problem` says why they cannot be used."""

    night: str
    files: tuple = ()
    problem: str = ""

    @property
    def subject(self):
        """Number of the subject; -1 where the name is not Sleep-EDF's."""
        match = RECORDING.match(self.night)
        return int(match[1]) if match else -1


def nights_of(dataset):
    """Recording ids of "edf20" (39 nights) or "edf78" (153 nights), sorted. ValueError for another name."""
    if dataset not in DATASETS:
        raise ValueError(f"no data set {dataset!r}; there are {' and '.join(DATASETS)}")
    with open(PUBLISHED, newline="") as file:
        return tuple(sorted(row["recording"] for row in csv.DictReader(file) if row["dataset"] == dataset))


def find_nights(folder):
    """The nights of a folder (not of its subfolders), as a list of NightFiles sorted by name.

    The folder holds either EDF pairs or prepared `.npz` nights. Nights that `prepare` itself wrote beside the EDF
    files they come from are passed over. Raises ValueError for a folder that is missing, empty, or holds both kinds.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder; name the folder of the recordings, or get them with `python -m sleepkit fetch`"
        )
    edfs, prepared = (_with_ending(folder, ending) for ending in (".edf", ".npz"))
    if edfs:
        foreign = [path for path in prepared if not written_here(path)]
        if foreign:
            raise ValueError(
                f"{folder}: holds EDF files and prepared nights ({foreign[0].name}), and either could be meant; "
                "move one kind to a folder of its own"
            )
        return _pair(edfs)
    if prepared:
        return [NightFiles(path.stem, (path,), "" if _is_night(path.stem) else _odd_name(path)) for path in prepared]
    raise ValueError(
        f"{folder}: neither EDF files nor prepared .npz nights in it (subfolders are not searched); "
        "name the folder of the recordings, or get them with `python -m sleepkit fetch`"
    )


def written_here(path):
    """Whether `prepare` wrote this `.npz`: its mark is inside. A file that is no `.npz` at all was not written here."""
    try:
        with np.load(path, allow_pickle=False) as night:
            return "prepared_by" in night.files
    except Exception:  # numpy raises a different error for every way of being damaged
        return False


def _with_ending(folder, ending):
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ending and not p.name.startswith("."))


def _is_night(name):
    try:
        parse_night(name)
    except ValueError:
        return False
    return True


def _odd_name(path):
    examples = "SC4001E0-PSG.edf, SC4001EC-Hypnogram.edf, SC4001E0.npz"
    return f"{path}: not named as Sleep-EDF names its files ({examples}); rename it or take it out of the folder"


def _pair(edfs):
    """Pair by recording id, never by the order of the names: suffixes sort differently for PSG and hypnogram."""
    recordings, nights = {}, []
    for path in edfs:
        match = EDF_NAME.fullmatch(path.name)
        if match:
            recordings.setdefault(match[1].upper(), {"psg": [], "hypnogram": []})[match[2].lower()].append(path)
        else:
            nights.append(NightFiles(path.stem, (path,), _odd_name(path)))
    for recording, found in recordings.items():
        psgs, hypnograms = found["psg"], found["hypnogram"]
        night = (psgs or hypnograms)[0].name.split("-")[0]
        problem = ""
        if not psgs:
            problem = f"{hypnograms[0]}: no PSG to this hypnogram; put {recording}..-PSG.edf beside it or take it away"
        elif not hypnograms:
            problem = f"{psgs[0]}: no hypnogram to this PSG; put {recording}..-Hypnogram.edf beside it"
        elif len(psgs) > 1 or len(hypnograms) > 1:
            several = psgs if len(psgs) > 1 else hypnograms
            names = ", ".join(path.name for path in several)
            problem = f"{several[0]}: {len(several)} files for one recording ({names}); keep one of them"
        nights.append(NightFiles(night, (*psgs, *hypnograms), problem))
    return sorted(nights, key=lambda night: night.night)
