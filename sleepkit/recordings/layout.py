"""Which files are a night of whom in a data set of one's own: a BIDS folder, patterns of file names, or a table."""

import csv
import glob
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sleepkit.recordings.dataset import OwnNight, hypnogram_of, is_recording, recordings_in
from sleepkit.recordings.sleep_edf import DATASETS

BIDS_RECORDING = re.compile(r"((sub-[^_]+).*)_eeg\.(edf|bdf|vhdr|set)", re.IGNORECASE)  # sub-01[_ses-1]..._eeg.edf
BIDS_SCORINGS = ("_hypnogram.tsv", "_stages.tsv", "_events.tsv")  # of several the first that is there
COLUMNS = ("recording", "hypnogram", "subject")  # of a table; night is a fourth that may be missing
WHO = "who is who decides what is held out: say as subject which part of a path names the person, such as 'S(\\d+)'"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the files of a data set belong together. A folder in BIDS layout needs nothing of this.
    recordings : pattern of recordings below the folder ("*.edf", "**/psg.edf"); in BIDS of the names that count
    hypnograms : a recording's hypnogram as seen from its folder, with {stem} for the recording's name
        ("{stem}_score.txt"); empty: the one beside it that bears its name
    subject : regular expression of the person in a recording's path, of which the first group counts, if it has one
    table : csv with the columns COLUMNS and perhaps night, a row a night; its paths start from the folder
    dataset : name of the data set, by which notebooks find its nights;  rate : Hz, to which signals are resampled
    stages : yaml file of further names of stages"""

    recordings: str = ""
    hypnograms: str = ""
    subject: str = ""
    table: str | Path = ""
    dataset: str = "own"
    rate: float = 100
    stages: str | Path = ""

    def __post_init__(self):
        require_own(self.dataset)
        if not 32 <= self.rate <= 10_000:
            raise ValueError(f"rate={self.rate}: expected 32 to 10,000 Hz")
        try:
            re.compile(self.subject), self.hypnograms.format(stem="")
        except (re.error, LookupError, ValueError) as error:
            given = f"subject={self.subject!r}, hypnograms={self.hypnograms!r}: no regular expression, or no pattern"
            raise ValueError(f"{given} ({error}); of a pattern {{stem}} is all that is filled in") from error


def require_own(dataset):
    """ValueError for a name that a data set of one's own cannot have: labels of results are cut at hyphens."""
    if dataset in DATASETS or not re.fullmatch(r"[A-Za-z]\w*", dataset, re.ASCII):
        what = f"letters, digits and _, a letter first, and not {' or '.join(DATASETS)}, which are Sleep-EDF's"
        raise ValueError(f"dataset {dataset!r}: expected {what}")


def is_bids(folder):
    """Whether a folder is laid out as BIDS asks: subjects' folders, or a description of the data set."""
    folder = Path(folder)
    return (folder / "dataset_description.json").is_file() or any(path.is_dir() for path in folder.glob("sub-*"))


def own_nights(folder, layout):
    """The nights of a data set of one's own, as a list of OwnNight by name; one without a hypnogram has a problem.
    ValueError for a folder without recordings, and where it is not said who is who."""
    if not (folder := Path(folder)).is_dir():
        raise ValueError(f"{folder}: no such folder; name the folder of the recordings")
    if layout.table:
        rows = _from_table(folder, Path(layout.table))
    else:
        rows = _from_bids(folder, layout) if is_bids(folder) and not layout.subject else _by_patterns(folder, layout)
    nights = [_night(row, layout.dataset) for row in rows]
    counts, found = Counter(night.night for night in nights), []
    for night in nights:
        several = f"{night.files[0]}: {counts[night.night]} recordings are night {night.number} of {night.subject}"
        cure = "tell them apart by a column night of a table, or leave out all but one by a pattern of recordings"
        found.append(night._replace(problem=f"{several}; {cure}") if counts[night.night] > 1 else night)
    return sorted(found)


def _night(row, dataset):
    """(recording, hypnogram or why there is none, subject, number) -> OwnNight."""
    recording, hypnogram, subject, number = row
    # Prepared files of several people lie in one folder: the name begins with the person's.
    name = number if re.match(re.escape(subject) + "($|[^A-Za-z0-9])", number) else f"{subject}_{number}"
    night = OwnNight(re.sub(r"[^\w.-]+", "-", name).strip(".-"), subject, number, dataset, (recording, hypnogram))
    if isinstance(hypnogram, str):
        return night._replace(files=(recording,), problem=f"{recording}: {hypnogram}")
    missing = next((path for path in night.files if not path.is_file()), None)
    return night._replace(problem=f"{missing}: no such file; correct the table") if missing else night


def _from_table(folder, table):
    try:
        rows = pd.read_csv(table, sep=None, engine="python", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{table}: not a table of columns {', '.join(COLUMNS)} ({error})") from error
    rows = rows.rename(columns=str.strip).map(str.strip)
    if missing := [name for name in COLUMNS if name not in rows]:
        raise ValueError(f"{table}: no column {', '.join(missing)}; it has {', '.join(rows.columns)}")
    empty = (rows[list(COLUMNS)] == "").any(axis=1)
    if rows.empty or empty.any():
        where = f"row {empty.idxmax() + 2} has an empty field" if len(rows) else "it has no row"
        raise ValueError(f"{table}: {where}; every night has a {', a '.join(COLUMNS)}")
    nights = rows["night"] if "night" in rows else [""] * len(rows)
    named = zip(*(rows[name] for name in COLUMNS), nights, strict=True)
    return [(folder / path, folder / scoring, who, night or Path(path).stem) for path, scoring, who, night in named]


def _from_bids(folder, layout):
    rows = []
    for path in sorted(path for person in folder.glob("sub-*") for path in person.rglob("*") if path.is_file()):
        match = BIDS_RECORDING.fullmatch(path.name)
        if match and (not layout.recordings or path.match(layout.recordings)):
            beside = (path.with_name(match[1] + ending) for ending in BIDS_SCORINGS if not layout.hypnograms)
            scoring = next(filter(Path.is_file, beside), None) or _hypnogram(path, layout)
            rows.append((path, scoring, match[2], match[1]))
    if not rows:
        pattern = layout.recordings or "sub-*_eeg.edf, .bdf, .vhdr or .set"
        raise ValueError(f"{folder}: in BIDS layout, but without a recording {pattern}")
    return rows


def _by_patterns(folder, layout):
    if not layout.subject:
        raise ValueError(f"{folder}: {WHO}")
    paths = folder.glob(layout.recordings) if layout.recordings else recordings_in(folder)
    if not (paths := sorted(path for path in paths if path.is_file() and is_recording(path))):
        cure = "'**/*.edf' looks into its subfolders"
        raise ValueError(f"{folder}: no recording fits recordings={layout.recordings!r}; {cure}")
    rows = []
    for path in paths:
        if not (match := re.search(layout.subject, (name := path.relative_to(folder).as_posix()))):
            raise ValueError(f"{path}: subject={layout.subject!r} finds nobody in {name!r}; {WHO}")
        rows.append((path, _hypnogram(path, layout), match[1] if match.re.groups else match[0], path.stem))
    return rows


def _hypnogram(recording, layout):
    """The hypnogram of a recording, or why there is none: by a template, else by its name."""
    if not layout.hypnograms:
        try:
            return (
                hypnogram_of(recording, recording.parent)
                or "no hypnogram of its name beside it; say where (hypnograms)"
            )
        except ValueError as error:  # several
            return str(error)
    pattern = layout.hypnograms.format(stem=glob.escape(recording.stem))
    found = sorted(glob.glob(f"{glob.escape(str(recording.parent))}/{pattern}"))
    if len(found) == 1:
        return Path(found[0])
    return f"{len(found)} hypnograms {pattern} ({', '.join(found)}); name one" if found else f"no hypnogram {pattern}"
