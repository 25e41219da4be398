"""From recordings to prepared nights: cut, label, drop, trim, write."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import EPOCH_SECONDS, STAGES, read_prepared
from sleepkit.execution.paths import progress, written
from sleepkit.recordings.channel import microvolts_of
from sleepkit.recordings.dataset import find_nights
from sleepkit.recordings.edf import open_edf
from sleepkit.recordings.hypnogram import MOVEMENT, UNSCORED, read_hypnogram
from sleepkit.recordings.quality import amplitude_problem, bad_seconds
from sleepkit.recordings.start import shown

RATE = 100  # Hz, of Sleep-EDF's EEG and EOG and of everything built on them
MARK = "sleepkit.recordings 1"  # stands in every file that `prepare` writes; a new number makes all nights anew
NOT_OURS = "was not written here and is left as it is; move it away or name another output folder"
LEFT_OUT = ("movement", "unscored", "trimmed")
COUNTS = (*STAGES, "n_epochs", *LEFT_OUT)
COLUMNS = ("night", "subject", *COUNTS, "status", "problem")


@dataclass(frozen=True)
class Settings:
    """What a night is made of."""

    channel: str = "EEG Fpz-Cz"
    wake_margin_minutes: float = 30  # wake kept before the first and after the last sleep (the field's custom)
    seconds: float = EPOCH_SECONDS  # kept of every epoch, from its start
    allow_truncated: bool = False  # whether the whole data records of a file count whose size is another than it says

    def __post_init__(self):
        if not 0 < self.seconds <= EPOCH_SECONDS or self.seconds * RATE % 1:
            expected = f"more than 0, at most {EPOCH_SECONDS}, in steps of {1 / RATE} s"
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
) -> pd.DataFrame:
    """Write one `.npz` of labelled epochs per night, and the table of the nights as `nights.csv`.

    source_dir : folder of Sleep-EDF pairs (PSG, hypnogram), or of prepared `.npz` nights (x, y, fs; any epoch length)
    output_dir : may be that folder, too; what is done and unchanged is skipped, what others wrote is never touched
    channel, wake_margin_minutes, seconds, allow_truncated : see Settings; wake is trimmed of EDF pairs only
    jobs : nights at a time; None is one per core, four at most (threads: they wait for the disk most of the time)
    returns DataFrame with COLUMNS, one row per night; one that cannot be prepared is "failed" and says what to do
    Raises ValueError for an unsuited source folder and impossible settings."""
    settings = Settings(channel, wake_margin_minutes, seconds, allow_truncated)
    source_dir, output_dir = Path(source_dir), Path(output_dir)
    sources = find_nights(source_dir)
    prepared = any(path.suffix.lower() == ".npz" for source in sources for path in source.files)
    if prepared and source_dir.resolve() == output_dir.resolve():
        raise ValueError(f"{output_dir}: prepared nights are read from this folder; name another folder to write to")
    csv = output_dir / "nights.csv"
    if csv.exists() and csv.read_text(errors="replace").partition("\n")[0].strip() != ",".join(COLUMNS):
        raise ValueError(f"{csv}: {NOT_OURS}")
    if (jobs := min(4, os.cpu_count() or 1) if jobs is None else jobs) < 1:
        raise ValueError(f"jobs={jobs}: expected 1 or more nights at a time")
    with ThreadPoolExecutor(jobs) as pool:
        rows = pool.map(lambda source: _prepare_night(source, output_dir, settings), sources)
        rows = list(progress(rows, total=len(sources), desc="nights", unit="night"))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("night", ignore_index=True)
    with written(csv) as path:
        table.to_csv(path, index=False, errors="backslashreplace")  # names in another encoding
    return table


def open_channel(path, label, allow_truncated=False):
    """A recording as Sleep-EDF has them, its channel `label` and the factor from that channel's unit to µV."""
    edf = open_edf(path)
    if edf.onsets is not None:
        raise ValueError(f"{path}: recording with interruptions (EDF+D); convert it to a continuous EDF first")
    if edf.notes and not allow_truncated:
        cure = "download or export it again, or take what is there with --allow-truncated"
        raise ValueError(f"{path}: {edf.notes[0]}; {cure}")
    signals = {signal.label: signal for signal in reversed(edf.channels())}  # of equal labels the first counts
    if label not in signals:
        there = ", ".join(sorted(signals)) or "none"
        raise ValueError(f"{path}: no channel {label!r}; there are: {there}. Name one of these as channel")
    signal, where = signals[label], f"{path}: channel {label!r}"
    if round(edf.rate(signal), 6) != RATE:
        raise ValueError(f"{where} has {edf.rate(signal):g} Hz, expected {RATE} Hz; resample it or name another")
    if (factor := microvolts_of(path, signal)) is None:
        raise ValueError(f"{where} has no unit, expected uV, mV or V; correct the unit in the header")
    return edf, signal, factor


def read_night(psg, hypnogram, settings):
    """One night from its EDF pair: x (n, samples) float32 µV, y (n,) int stages, numbers of epochs for LEFT_OUT."""
    edf, signal, factor = open_channel(psg, settings.channel, settings.allow_truncated)
    scored = read_hypnogram(hypnogram)
    start, seconds = edf.start, edf.records * signal.samples / RATE
    if start != scored.start:
        starts = f"{psg}: starts {shown(start)}, but {hypnogram} starts {shown(scored.start)}"
        raise ValueError(f"{starts}; not of one recording, or a header was altered: download both again")
    if scored.end - EPOCH_SECONDS >= seconds and not edf.notes:  # official hypnograms run on to 24 h, unscored
        ends = f"{psg} ends at second {seconds:g}; one is of another night or was cut: download both again"
        raise ValueError(f"{hypnogram}: stages are scored up to second {scored.end:g}, but {ends}")
    labels, _ = scored.epochs(int(seconds // EPOCH_SECONDS), start)
    kept, trimmed = keep(labels, round(settings.wake_margin_minutes * 60 / EPOCH_SECONDS))
    if not len(kept):
        raise ValueError(f"{hypnogram}: a night without sleep (no stage but W is scored); take it out of the folder")
    length, first = RATE * EPOCH_SECONDS, kept[0]
    x = edf.read(signal, first * length, (kept[-1] + 1) * length, factor).reshape(-1, length)[kept - first]
    return x, labels[kept], (int((labels == MOVEMENT).sum()), int((labels == UNSCORED).sum()), trimmed)


def keep(labels, margin):
    """Positions of staged epochs, without wake beyond `margin` around sleep (none without), and how many that trims."""
    staged = np.flatnonzero(labels >= 0)  # first, else dropped epochs would count into the margin
    asleep = np.flatnonzero(labels[staged] != STAGES.index("W"))
    kept = staged[max(0, asleep[0] - margin) : asleep[-1] + 1 + margin] if len(asleep) else staged[:0]
    return kept, len(staged) - len(kept)


def cut_night(path, settings):
    """The same from a prepared `.npz`; nothing is dropped or trimmed again."""
    night = read_prepared(path)
    if night.channel not in (None, settings.channel):
        raise ValueError(f"{path}: no channel {settings.channel!r}; there is: {night.channel}. Name this as channel")
    if night.fs != RATE:
        raise ValueError(f"{path}: {night.fs:g} Hz, expected {RATE} Hz; prepare it again from its recording")
    if (there := night.x.shape[1] / RATE) < settings.seconds:
        raise ValueError(f"{path}: epochs of {there:g} s, shorter than {settings.seconds:g} s; pass seconds={there:g}")
    if not night.y.any():
        raise ValueError(f"{path}: a night without sleep (all labels are W); take it out of the folder")
    return night.x, night.y, (0, 0, 0)


def _prepare_night(source, output_dir, settings):
    """The row of one night. Whatever is wrong with it stands in the row: one bad night does not stop the others."""
    row = {"night": source.night, "subject": source.subject, **dict.fromkeys(COUNTS, 0), "status": "failed"}
    if source.problem:
        return row | {"problem": source.problem}
    target = output_dir / f"{source.night}.npz"
    try:
        origin = _origin(source.files, settings)
        counts, status = _counts_if_done(target, origin), "unchanged"
        if not counts:
            x, y, left_out = (read_night if len(source.files) == 2 else cut_night)(*source.files, settings)
            x = x[:, : round(settings.seconds * RATE)]
            where = f"{source.files[0]}: channel {settings.channel!r}"
            if x.min() == x.max():
                raise ValueError(f"{where} is flat over the scored night; name another channel")
            if problem := amplitude_problem(x.ravel(), RATE, bad_seconds(x.ravel(), RATE)):
                raise ValueError(f"{where} has a {problem}; nothing was written: correct the unit or prepare it in µV")
            counts, status = _counts(y, left_out), "written"
            kept = {name: counts[name] for name in LEFT_OUT}
            with written(target) as path:
                np.savez(path, x=x[:, :, None], y=y.astype(np.int32), fs=float(RATE), **origin, **kept)
    except Exception as error:
        known = isinstance(error, (ValueError, OSError))
        problem = str(error) if known else f"{source.files[0]}: {type(error).__name__}: {error}; please report it"
        return row | {"problem": problem}
    return row | counts | {"status": status, "problem": ""}


def _origin(files, settings):
    """What a prepared night depends on, as fields of its file; hashing the sources would take longer than preparing."""
    origin = {"prepared_by": MARK, "ch_label": settings.channel, "seconds": float(settings.seconds)}
    origin |= {"allow_truncated": True} if settings.allow_truncated else {}
    origin |= {"wake_margin_minutes": float(settings.wake_margin_minutes), "source": [path.name for path in files]}
    facts = ("size", "mtime_ns")
    return origin | {f"source_{fact}": [getattr(path.stat(), f"st_{fact}") for path in files] for fact in facts}


def _counts_if_done(target, origin):
    if not target.exists():
        return None
    try:
        with np.load(target, allow_pickle=False) as night:
            fields = {name: night[name].tolist() for name in night.files if name != "x"}
    except Exception:  # numpy raises a different error for every way of being damaged
        fields = {}
    if "prepared_by" not in fields:
        raise ValueError(f"{target}: {NOT_OURS}")
    same = all(fields.get(name) == value for name, value in origin.items())
    return _counts(fields["y"], [fields[name] for name in LEFT_OUT]) if same else None


def _counts(y, left_out):
    return dict(zip(COUNTS, (*np.bincount(y, minlength=len(STAGES)).tolist(), len(y), *left_out), strict=True))
