"""Events of a night from files of every kind, told by their content: where they begin, how long they last, what they
say. EDF+, FIF, Profusion's, NSRR's and Luna's XML, tables, Luna's .annot, one stage a line."""

import csv
import datetime
import os
import re
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from sleepkit.epochs import EPOCH_SECONDS
from sleepkit.execution.extras import extras
from sleepkit.recordings.edf import MAGIC, open_edf
from sleepkit.recordings.start import start_of
from sleepkit.recordings.tables import read_table

FIF = b"\0\0\0\x64\0\0\0\x1f"  # the tag that begins every FIF file: its id, of this type
LARGEST = 1 << 26  # bytes of a hypnogram that is no EDF
KINDS = "EDF+, FIF, XML of Profusion, NSRR or Luna, a table with onset and stage, Luna's .annot, one stage a line"


class Events(NamedTuple):
    """Annotations in order of time."""

    path: Path  # or a name, for messages
    rows: list  # of (onset in s after `start`, duration in s or None, text)
    start: datetime.datetime | datetime.time | None  # a time where the date is not known
    notes: tuple = ()  # what the user should know


def read_events(source, is_stage):
    """Read the annotations of a file, of an mne.Annotations or of an mne.io.Raw, as Events.

    is_stage : text -> bool, by which the column of the stages is found in a table
    ValueError for what is of no known kind, or damaged"""
    if hasattr(source, "orig_time"):
        return _from_mne(source, "annotations")
    if hasattr(source, "annotations"):  # without a date, they count from before what was cropped
        own = source.annotations
        return _from_mne(own, "annotations", 0.0 if own.orig_time else source.first_time)
    path = Path(source)
    with path.open("rb") as file:
        begin = file.read(len(FIF))
    if begin in MAGIC:
        edf = open_edf(path)
        if not (rows := edf.annotations()):
            raise ValueError(f"{path}: no annotations in it, so it is no EDF+ hypnogram; download it again")
        return Events(path, rows, edf.start, edf.notes)
    if begin == FIF:
        return _from_fif(path)
    text = _text(path)
    read = _from_xml if text.lstrip().startswith("<") else read_table
    try:
        rows, start, notes = read(text, is_stage)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from error
    return Events(path, sorted(rows, key=lambda row: row[0]), start, notes)


def _text(path):
    """The text of a file, in UTF-8, in UTF-16 with its mark, else in Latin-1."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: {path.stat().st_size:,} bytes, too many for a hypnogram; expected {KINDS}")
    content = path.read_bytes()
    coding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(coding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if not text.strip() or "\0" in text:
        raise ValueError(f"{path}: no hypnogram ({'empty' if not text.strip() else 'no text'}); expected {KINDS}")
    return text


def _from_fif(path):
    with extras():
        import mne
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        named = Path(folder) / "hypnogram-annot.fif"  # MNE goes by the ending
        os.symlink(path.resolve(), named)
        try:
            return _from_mne(mne.read_annotations(named), path)
        except Exception as error:  # MNE raises a different one for every way of being damaged
            raise ValueError(f"{path}: no annotations that MNE-Python can read ({error}); save them again") from error


def _from_mne(annotations, path, first=0.0):
    zero = annotations.orig_time
    start = zero and start_of(zero.date(), zero.time())
    times = (annotations.onset - first).tolist(), annotations.duration.tolist(), map(str, annotations.description)
    return Events(path, sorted(zip(*times, strict=True), key=lambda row: row[0]), start)


def _from_xml(text, is_stage):
    """Rows, start and notes of Profusion's list of epochs, or of scored events as NSRR and Luna write them."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # no entities, which can grow without end or name other files
        raise ValueError("XML with a DOCTYPE, which no scoring program writes; take it out")
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError) as error:
        raise ValueError(f"damaged XML ({error}); export it again") from error
    if stages := [element.text or "" for element in root.iter("SleepStage")]:
        length = _number(root.findtext(".//EpochLength", str(EPOCH_SECONDS)))
        return [(length * i, length, f"Stage {stage}") for i, stage in enumerate(stages)], None, ()
    rows, start = [], None
    for event in root.iter():
        name, onset = (event.findtext(tag) for tag in ("EventConcept", "Start"))
        name = event.findtext("Class") if name is None else name  # Luna's
        if clock := re.search(r"\d\d[.:]\d\d[.:]\d\d$", (event.findtext("ClockTime") or "").strip()):
            start = start_of(None, datetime.time(*map(int, re.split("[.:]", clock[0]))))
        elif name is not None and onset is not None:
            rows.append((_number(onset), _number(event.findtext("Duration") or "0"), name))
    return rows, start, ()


def _number(text):
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no number of seconds; correct the hypnogram") from error
