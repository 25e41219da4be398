"""From recordings to prepared nights: cut, label, drop, trim, write."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import EPOCH_SECONDS, STAGES, read_prepared
from sleepkit.execution.paths import progress, written
from sleepkit.recordings import quality
from sleepkit.recordings.channel import microvolts_of, read_channel, twins
from sleepkit.recordings.dataset import find_nights
from sleepkit.recordings.edf import open_edf
from sleepkit.recordings.hypnogram import MOVEMENT, UNSCORED, read_hypnogram
from sleepkit.recordings.layout import Layout, OwnNight, is_bids, own_nights
from sleepkit.recordings.quality import amplitude_problem, bad_seconds
from sleepkit.recordings.resampling import whole_epochs
from sleepkit.recordings.start import shown

RATE = 100  # Hz, of Sleep-EDF's EEG and EOG and of everything built on them
BAD = -3  # label of an epoch that is flat, clipped or not recorded
MARK = "sleepkit.recordings 1"  # stands in every file that `prepare` writes; a new number makes all nights anew
NOT_OURS = "was not written here and is left as it is; move it away or name another output folder"
LEFT_OUT = ("movement", "unscored", "trimmed")
COUNTS = (*STAGES, "n_epochs", *LEFT_OUT)
COLUMNS = ("night", "subject", *COUNTS, "status", "problem")
# Of nights of one's own: epochs left out as BAD, and what they were made of; `hz` and `unit` as in the recording.
SEVERAL, SHOWN = " | ", 3  # between notes of a night; nights named in a summary
FACTS = {"dataset": "", "bad": 0, "channel": "", "hz": 0.0, "unit": "", "scoring": "", "notes": ""}


@dataclass(frozen=True)
class Settings:
    """What a night is made of."""

    channel: str = "EEG Fpz-Cz"
    wake_margin_minutes: float = 30  # wake kept before the first and after the last sleep (the field's custom)
    seconds: float = EPOCH_SECONDS  # kept of every epoch, from its start
    allow_truncated: bool = False  # whether the whole data records of a file count whose size is another than it says
    rate: float = RATE  # Hz, of what is written
    stages: str | Path = ""  # yaml file of further names of stages

    def __post_init__(self):
        if not 0 < self.seconds <= EPOCH_SECONDS or self.seconds * self.rate % 1:
            expected = f"more than 0, at most {EPOCH_SECONDS}, in steps of {1 / self.rate} s"
            raise ValueError(f"seconds={self.seconds}: expected {expected}")
        if self.wake_margin_minutes < 0 or self.wake_margin_minutes * 60 % EPOCH_SECONDS:
            raise ValueError(f"wake_margin_minutes={self.wake_margin_minutes}: expected 0 or more, in steps of 0.5 min")


def prepare(
    source_dir: str | Path,
    output_dir: str | Path,
    channel: str = "EEG Fpz-Cz",
    wake_margin_minutes: float = 30,
    seconds: float = 30,
    jobs: int | None = None,
    allow_truncated: bool = False,
    layout: Layout | None = None,
) -> pd.DataFrame:
    """Write one `.npz` of labelled epochs per night, and the table of the nights as `nights.csv`.

    source_dir : folder of Sleep-EDF pairs (PSG, hypnogram), of prepared `.npz` nights (x, y, fs; any epoch length), a
        data set in BIDS layout, or any other with a `layout`
    output_dir : may be that folder, too; what is done and unchanged is skipped, what others wrote is never touched
    channel, wake_margin_minutes, seconds, allow_truncated : see Settings; wake is not trimmed of prepared nights
    jobs : nights at a time; None is one per core, four at most (threads: they wait for the disk most of the time)
    layout : how the files of a data set of one's own belong together; `channel` may then be several, see `find_channel`
    returns DataFrame with COLUMNS (and FACTS), one row per night; one that cannot be prepared is "failed" and says why
    Raises ValueError for an unsuited source folder and impossible settings."""
    source_dir, output_dir, csv = Path(source_dir), Path(output_dir), Path(output_dir, "nights.csv")
    layout = layout or (Layout() if is_bids(source_dir) else None)
    own = (layout.rate, layout.stages) if layout else ()
    settings = Settings(channel, wake_margin_minutes, seconds, allow_truncated, *own)
    sources = own_nights(source_dir, layout) if layout else find_nights(source_dir)
    columns = [*COLUMNS, *FACTS] if any(isinstance(source, OwnNight) for source in sources) else list(COLUMNS)
    prepared = any(path.suffix.lower() == ".npz" for source in sources for path in source.files)
    if prepared and source_dir.resolve() == output_dir.resolve():
        raise ValueError(f"{output_dir}: prepared nights are read from this folder; name another folder to write to")
    if csv.exists() and not csv.read_text(errors="replace").startswith(",".join(COLUMNS)):
        raise ValueError(f"{csv}: {NOT_OURS}")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs={jobs}: expected 1 or more nights at a time")
    with ThreadPoolExecutor(jobs or min(4, os.cpu_count() or 1)) as pool:
        rows = pool.map(lambda source: _prepare_night(source, output_dir, settings), sources)
        rows = [FACTS | row for row in progress(rows, total=len(sources), desc="nights", unit="night")]
    table = pd.DataFrame(rows, columns=columns).sort_values("night", ignore_index=True)
    with written(csv) as path:
        table.to_csv(path, index=False, errors="backslashreplace")  # names in another encoding
    return table


def prepared_of(table):
    """What nights of one's own were made of, and what was noted, a line for each kind: lines of text.
    table : of `prepare`"""
    lines, done = [], table[table.status != "failed"]
    kinds = [re.sub(r".*?(?=(_[^_]*)?\.[^.]*$)", "*", name, count=1) for name in done.scoring]  # "*_events.tsv"
    kinds = done.channel + ", " + done.hz.map("{:g} Hz, ".format) + done.unit + ", scored in " + kinds
    notes = "note: " + done.notes[done.notes != ""].str.split(SEVERAL, regex=False).explode()
    told = done[["night"]].join(pd.concat([kinds, notes]).rename("line"))
    for line, nights in told.groupby("line", sort=False):
        which = ", ".join(nights.night[:SHOWN]) + ", ..." * (len(nights) > SHOWN)
        lines.append(f"{line} ({len(nights)} nights: {which})")
    return lines


def open_channel(path, label, allow_truncated=False):
    """A recording as Sleep-EDF has them, its channel `label` and the factor from that channel's unit to µV."""
    edf = open_edf(path)
    if edf.onsets is not None:
        raise ValueError(f"{path}: recording with interruptions (EDF+D); convert it to a continuous EDF first")
    _require_whole(edf, allow_truncated)
    if label not in (labels := [signal.label for signal in edf.channels()]):
        there = ", ".join(sorted(set(labels))) or "none"
        raise ValueError(f"{path}: no channel {label!r}; there are: {there}. Name one of these as channel")
    signal, where = edf.channels()[labels.index(label)], f"{path}: channel {label!r}"
    if round(edf.rate(signal), 6) != RATE:
        raise ValueError(f"{where} has {edf.rate(signal):g} Hz, expected {RATE} Hz; resample it or name another")
    if (factor := microvolts_of(path, signal)) is None:
        raise ValueError(f"{where} has no unit, expected uV, mV or V; correct the unit in the header")
    return edf, signal, factor


def _require_whole(edf, allow_truncated):
    """ValueError for a file of another size than it says, unless what is there may be taken."""
    if edf.notes and not allow_truncated:
        cure = "download or export it again, or take what is there with --allow-truncated"
        raise ValueError(f"{edf.path}: {edf.notes[0]}; {cure}")


def read_night(psg, hypnogram, settings):
    """One night from its EDF pair: x (n, samples) float32 µV, y (n,) int stages, numbers of epochs for LEFT_OUT, Hz,
    and what a user should know, as the `problem` of a night that is written all the same."""
    edf, signal, factor = open_channel(psg, settings.channel, settings.allow_truncated)
    _require_whole(open_edf(hypnogram), settings.allow_truncated)
    scored = read_hypnogram(hypnogram)
    start, seconds = edf.start, edf.records * signal.samples / RATE
    if start != scored.start:
        starts = f"{psg}: starts {shown(start)}, but {hypnogram} starts {shown(scored.start)}"
        raise ValueError(f"{starts}; not of one recording, or a header was altered: download both again")
    if scored.end - EPOCH_SECONDS >= seconds and not edf.notes:  # official hypnograms run on to 24 h, unscored
        ends = f"{psg} ends at second {seconds:g}; one is of another night or was cut: download both again"
        raise ValueError(f"{hypnogram}: stages are scored up to second {scored.end:g}, but {ends}")
    labels, _ = scored.epochs(int(seconds // EPOCH_SECONDS), start)
    kept, left_out = _kept(labels, settings, hypnogram)
    length, first = RATE * EPOCH_SECONDS, kept[0]
    x = edf.read(signal, first * length, (kept[-1] + 1) * length, factor).reshape(-1, length)[kept - first]
    labels_there = [other.label for other in edf.channels()]
    said = "; ".join([*edf.notes, *twins(labels_there, labels_there.index(settings.channel))])
    return x, labels[kept], left_out, RATE, {"problem": said} if said else {}


def read_own(recording, hypnogram, settings):
    """The same from any recording and hypnogram: the signal as scoring takes it, of the rate in the settings, without
    epochs that are flat, clipped or not recorded."""
    found, scored = read_channel(recording, settings.channel), read_hypnogram(hypnogram, settings.stages or None)
    x, notes = whole_epochs(found, settings.rate, f"{recording}: ")
    labels, askew = scored.epochs(len(x), found.start)
    seconds = found.bad[: len(x) * EPOCH_SECONDS].reshape(len(x), EPOCH_SECONDS)
    labels[(labels >= 0) & ~quality.epochs_scored(quality.windows_scored(seconds, 1))] = BAD
    kept, left_out = _kept(labels, settings, hypnogram)
    facts = {"bad": int((labels == BAD).sum()), "channel": found.name, "hz": float(found.fs), "unit": found.unit}
    facts |= {"scoring": Path(hypnogram).name, "notes": SEVERAL.join([*notes, *scored.notes, *askew])}
    return x[kept], labels[kept], left_out, settings.rate, facts


def _kept(labels, settings, hypnogram):
    """Positions of the epochs to keep, and numbers for LEFT_OUT. ValueError for a night without sleep."""
    kept, trimmed = keep(labels, round(settings.wake_margin_minutes * 60 / EPOCH_SECONDS))
    if not len(kept):
        raise ValueError(f"{hypnogram}: a night without sleep (no stage but W is scored); take it out of the folder")
    return kept, (int((labels == MOVEMENT).sum()), int((labels == UNSCORED).sum()), trimmed)


def keep(labels, margin):
    """Positions of staged epochs, without wake beyond `margin` around sleep (none without), and how many that trims."""
    staged = np.flatnonzero(labels >= 0)  # first, else dropped epochs would count into the margin
    asleep = np.flatnonzero(labels[staged] != STAGES.index("W"))
    kept = staged[max(0, asleep[0] - margin) : asleep[-1] + 1 + margin] if len(asleep) else staged[:0]
    return kept, len(staged) - len(kept)


def cut_night(path, settings):
    """The same from a prepared `.npz`; nothing is dropped or trimmed again, and one's own keep channel and rate."""
    night = read_prepared(path)
    if not night.own and night.channel not in (None, settings.channel):
        raise ValueError(f"{path}: no channel {settings.channel!r}; there is: {night.channel}. Name this as channel")
    if not night.own and night.fs != RATE:
        raise ValueError(f"{path}: {night.fs:g} Hz, expected {RATE} Hz; prepare it again from its recording")
    if (there := night.x.shape[1] / night.fs) < settings.seconds:
        raise ValueError(f"{path}: epochs of {there:g} s, shorter than {settings.seconds:g} s; pass seconds={there:g}")
    if not night.y.any():
        raise ValueError(f"{path}: a night without sleep (all labels are W); take it out of the folder")
    return night.x, night.y, (0, 0, 0), night.fs, _fields(path, FACTS) if night.own else {}


def _prepare_night(source, output_dir, settings):
    """The row of one night. Whatever is wrong with it stands in the row: one bad night does not stop the others."""
    row = {"night": source.night, "subject": source.subject, **dict.fromkeys(COUNTS, 0), "status": "failed"}
    if own := isinstance(source, OwnNight):
        row |= FACTS | {"dataset": source.dataset}
    if source.problem:
        return row | {"problem": source.problem}
    target = output_dir / f"{source.night}.npz"
    try:
        origin = _origin(source, settings)
        found, status = _found_if_done(target, origin, FACTS if own else ()), "unchanged"
        if not found:
            read = cut_night if len(source.files) == 1 else read_own if own else read_night
            x, y, left_out, fs, facts = read(*source.files, settings)
            x = x[:, : round(settings.seconds * fs)]
            where = f"{source.files[0]}: channel {settings.channel!r}"
            if x.min() == x.max():
                raise ValueError(f"{where} is flat over the scored night; name another channel")
            if problem := amplitude_problem(x.ravel(), fs, bad_seconds(x.ravel(), fs)):
                raise ValueError(f"{where} has a {problem}; nothing was written: correct the unit or prepare it in µV")
            counts, status = _counts(y, left_out), "written"
            fields = origin | {name: counts[name] for name in LEFT_OUT} | facts
            fields |= {"ch_label": facts["channel"]} if own else {}
            with written(target) as path:
                np.savez(path, x=x[:, :, None], y=y.astype(np.int32), fs=float(fs), **fields)
            found = counts | facts
    except Exception as error:
        known = isinstance(error, (ValueError, OSError))
        problem = str(error) if known else f"{source.files[0]}: {type(error).__name__}: {error}; please report it"
        return row | {"problem": problem}
    return row | {"problem": ""} | found | {"status": status}


def _origin(source, settings):
    """What a prepared night depends on, as fields of its file; hashing the sources would take longer than preparing."""
    files = source.files if not settings.stages else (*source.files, Path(settings.stages))
    origin = {"prepared_by": MARK, "ch_label": settings.channel, "seconds": float(settings.seconds)}
    origin |= {"allow_truncated": True} if settings.allow_truncated else {}
    origin |= {"wake_margin_minutes": float(settings.wake_margin_minutes), "source": [path.name for path in files]}
    facts = ("size", "mtime_ns")
    origin |= {f"source_{fact}": [getattr(path.stat(), f"st_{fact}") for path in files] for fact in facts}
    if isinstance(source, OwnNight):
        origin |= {"dataset": source.dataset, "subject": source.subject, "night": source.number}
        origin |= {"wanted_channel": origin.pop("ch_label"), "rate": float(settings.rate)}
    return origin


def _found_if_done(target, origin, facts):
    """Counts and facts in the file of a night that is there and was made of the same; None without one."""
    if not target.exists():
        return None
    try:
        fields = _fields(target)
    except Exception:  # numpy raises a different error for every way of being damaged
        fields = {}
    if "prepared_by" not in fields:
        raise ValueError(f"{target}: {NOT_OURS}")
    if any(fields.get(name) != value for name, value in origin.items()):
        return None
    return _counts(fields["y"], [fields[name] for name in LEFT_OUT]) | {name: fields[name] for name in facts}


def _fields(path, names=None):
    """Fields of a prepared night as plain values, all but the signal or those of `names`."""
    with np.load(path, allow_pickle=False) as night:
        return {name: night[name].tolist() for name in names or night.files if name != "x"}


def _counts(y, left_out):
    return dict(zip(COUNTS, (*np.bincount(y, minlength=len(STAGES)).tolist(), len(y), *left_out), strict=True))
