"""Which files of a folder are a night of whom: PSG and hypnogram, prepared nights, and recordings of one's own."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sleepkit.epochs import NIGHT_NAME, own_identity, parse_night
from sleepkit.recordings.edf import ENDINGS, holds_annotations_alone
from sleepkit.recordings.sleep_edf import EDF_NAME

# What a folder is searched for; a single file may be of any kind that MNE-Python reads.
RECORDINGS = (".edf", ".rec", ".bdf", ".npz", ".vhdr", ".fif", ".set", ".gdf", ".cnt", ".nxe")
HYPNOGRAMS = (".edf", ".csv", ".tsv", ".txt", ".xml", ".annot", ".eannot")
# What stands at the end of a name beside what a recording and its hypnogram share, the plainest first.
RECORDING_ENDS = re.compile(r"[-_ ](psg|raw|eeg)$", re.IGNORECASE)
HYPNOGRAM_ENDS = ("hyp|hypnogram", "stages?|staging|scor(e|es|ed|ing)", "events|annot(ations?)?|labels|nsrr|profusion")
HYPNOGRAM_ENDS = [re.compile(f"([-_ ]sleep)?[-_ ](sleep)?({ends})$", re.IGNORECASE) for ends in HYPNOGRAM_ENDS]
SLEEP_EDF = re.compile(r"S[CT][47]\d{3}[A-Z][A-Z0-9]", re.IGNORECASE)
SCORED_HERE = (b"onset,stage,W,N1,N2,N3,REM", b"scored by sleepkit")
# Of FIF: second and later files of one recording, as MNE and as BIDS name them, and what holds no recording.
LATER_PART = re.compile(r"(.+)-\d+|.+_split-(\d+)_.+")
NO_RAW = re.compile(r"[-_](epo|ave|evoked|cov|fwd|inv|ica|proj|trans|eve|annot|src|bem|info|tfr)$", re.IGNORECASE)
NAME_IT = "name the folder of the recordings, or get them with `python -m sleepkit fetch`"


class NightFiles(NamedTuple):
    """The files of one night: PSG and hypnogram, or one prepared `.npz`."""

    night: str
    files: tuple = ()
    problem: str = ""  # why they cannot be used

    @property
    def subject(self):  # its number; -1 where the name is not Sleep-EDF's
        return parse_night(self.night.upper())[0] if NIGHT_NAME.match(self.night.upper()) else -1


class OwnNight(NamedTuple):
    """A night of one's own: a recording and its hypnogram, or one prepared `.npz`."""

    night: str  # name of its prepared file
    subject: str
    number: str  # which of the person's nights
    dataset: str
    files: tuple
    problem: str = ""  # why they cannot be used


def find_nights(folder):
    """The nights of a folder (not of its subfolders), EDF pairs or prepared `.npz`, as a list of NightFiles by name;
    what was prepared from a data set of one's own is an OwnNight.
    What `prepare` wrote next to EDF files is passed over. ValueError for a folder that is missing, empty or mixed."""
    if not (folder := Path(folder)).is_dir():
        raise ValueError(f"{folder}: no such folder; {NAME_IT}")
    edfs, prepared = (_files(folder, (ending,)) for ending in (".edf", ".npz"))
    if edfs:
        if foreign := [path.name for path in prepared if "prepared_by" not in (_fields_of(path) or ())]:
            raise ValueError(f"{folder}: holds EDF files and prepared nights ({foreign[0]}); move one kind elsewhere")
        return _pair(edfs)
    if not prepared:
        raise ValueError(f"{folder}: neither EDF files nor prepared .npz nights directly in it; {NAME_IT}")
    return [_prepared(path) for path in prepared]


def _prepared(path):
    if own := own_identity(path):
        dataset, subject, number = own
        return OwnNight(path.stem, subject, number, dataset, (path,))
    return NightFiles(path.stem, (path,)) if NIGHT_NAME.match(path.stem) else _oddly_named(path)


def _fields_of(path):
    """Names of the fields of a `.npz`, None where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as night:
            return set(night.files)
    except Exception:  # numpy raises a different error for every way of being damaged
        return None


def recordings_in(folder):
    """The recordings of a folder, sorted: files of RECORDINGS that are no hypnograms, later parts of another file, or
    something else that shares an ending."""
    found = [path for path in _files(folder, RECORDINGS) if is_recording(path)]
    if not found:
        raise ValueError(f"{folder}: no recording in it (looked for {', '.join(RECORDINGS)}; not in its subfolders)")
    return found


def is_recording(path):
    """Whether a file of RECORDINGS is a recording, by its name or its content; a damaged one is, so that it is told."""
    ending, part = path.suffix.lower(), LATER_PART.fullmatch(path.stem)
    if path.stem.lower().endswith("hypnogram") or (ending in ENDINGS and holds_annotations_alone(path)):
        return False
    if ending == ".fif":
        later = part and (int(part[2]) > 1 if part[2] else path.with_stem(part[1]).exists())
        return not (later or NO_RAW.search(path.stem))
    return ending != ".npz" or _fields_of(path) is None or {"x", "y", "fs"} <= _fields_of(path)


def hypnogram_of(path, folder):
    """The hypnogram in `folder` of a recording's name (SC4001EC-Hypnogram.edf of SC4001E0-PSG.edf, SN001_scoring.edf or
    SN001.xml of SN001.edf), None without one. Names are equal, or not, without what HYPNOGRAM and RECORDING end them
    with; of several that fit, the most plainly named counts. ValueError where that leaves more than one."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected the folder of the hypnograms, because the recordings are a folder, too")
    name, ranked = _shared_name(RECORDING_ENDS.sub("", path.stem)), {}
    for other in _files(folder, HYPNOGRAMS):
        found = ((i, ends.search(other.stem)) for i, ends in enumerate(HYPNOGRAM_ENDS))
        rank, match = next((one for one in found if one[1]), (len(HYPNOGRAM_ENDS), None))
        cuts = (
            {match.start(), match.end(1)} - {-1} if match else {None}
        )  # with and without _sleep, which may be either's
        if name in {_shared_name(other.stem[:cut]) for cut in cuts} and (match or not _no_hypnogram(other)):
            ranked.setdefault(rank, []).append(other)
    found = ranked[min(ranked)] if ranked else [None]
    if len(found) > 1:
        names = ", ".join(other.name for other in found)
        raise ValueError(f"{path}: {len(found)} hypnograms in {folder} have its name ({names}); keep one of them there")
    return found[0]


def _shared_name(name):
    """What the names of a recording and of its hypnogram have in common; of Sleep-EDF's it is six characters."""
    return (name[:6] if SLEEP_EDF.fullmatch(name) else name).casefold()


def _no_hypnogram(path):
    """Whether a file that is called as a recording is one, or was written by scoring it."""
    if path.suffix.lower() in ENDINGS:
        return not holds_annotations_alone(path)
    return any(mark in path.read_bytes()[: 1 << 20] for mark in SCORED_HERE)


def _files(folder, endings):
    found = (path for path in folder.iterdir() if path.suffix.lower() in endings and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file())


def _oddly_named(path):
    names, own = "SC4001E0-PSG.edf, SC4001EC-Hypnogram.edf, SC4001E0.npz", "of a data set of your own, say who is who"
    problem = f"{path}: not named like {names}; rename it or take it out of the folder, or, {own} (--subject, --table)"
    return NightFiles(path.stem, (path,), problem)


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
