"""Data sets of one's own: simulated nights under other names, rates, units and channels, scored in other files."""

import numpy as np
from recording_files import write_recording
from scipy.signal import resample_poly

from sleepkit.recordings.edf import open_edf
from sleepkit.recordings.hypnogram import read_hypnogram
from sleepkit.recordings.simulation import simulate_night

WORDS = {0: "Wake", 1: "N1", 2: "N2", 3: "N3", 4: "REM", -1: "unscored", -2: "MT"}


def drawn(folder, subject, hours):
    """A simulated night: Fpz-Cz in µV at 100 Hz, (n,), and labels of its epochs."""
    psg, hypnogram = simulate_night(folder, subject, hours=hours)
    edf = open_edf(psg)
    labels, _ = read_hypnogram(hypnogram).epochs(round(edf.records * edf.seconds) // 30, edf.start)
    return edf.read(edf.channels()[0]), labels


def write_own(path, x, rate, channels, unit="uV"):
    """A recording of `rate` Hz: one channel bears the signal, or two whose difference it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x = resample_poly(x.astype(float), rate, 100) / {"uV": 1, "mV": 1e3}[unit]
    other = 0.3 * np.roll(x, 7 * rate)
    signals = {channels[0]: x} if len(channels) == 1 else {channels[0]: x + other, channels[1]: other}
    signals["EMG chin"] = 0.5 * np.roll(x, rate)
    return write_recording(path, signals, rate, unit=unit, physical=1000 / {"uV": 1, "mV": 1e3}[unit])


def write_scoring(path, labels, form):
    """The labels as `events` (a BIDS table) or `lines` (one stage a line)."""
    names = [WORDS[label] for label in labels.tolist()]
    if form == "events":
        names = ["onset\tduration\ttrial_type", *(f"{30 * i}\t30\t{name}" for i, name in enumerate(names))]
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


def bids(folder, people, hours, work):
    """A BIDS folder: C4 and M1 at 256 Hz in mV, every other person at 200 Hz with one channel C3-M2 in µV."""
    folder.mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "sim", "BIDSVersion": "1.8.0"}')
    for i in range(people):
        x, labels = drawn(work, i, hours)
        stem = folder / f"sub-{i + 1:02d}" / "eeg" / f"sub-{i + 1:02d}_task-sleep"
        how = (256, ("C4", "M1"), "mV") if i % 2 else (200, ("C3-M2",), "uV")
        write_own(stem.with_name(f"{stem.name}_eeg.edf"), x, *how)
        write_scoring(stem.with_name(f"{stem.name}_events.tsv"), labels, "events")
    return folder


def table(folder, people, hours, work):
    """Recordings of 125 Hz and lists of stages in two folders, and nights.csv that says what belongs together."""
    rows = ["recording,hypnogram,subject,night"]
    (folder / "scored").mkdir(parents=True)
    for i in range(people):
        x, labels = drawn(work, i, hours)
        write_own(folder / "psg" / f"r{97 - i}.edf", x, 125, ("EEG F3", "EEG A2"))
        write_scoring(folder / "scored" / f"hyp{i}.txt", labels, "lines")
        rows.append(f"psg/r{97 - i}.edf,scored/hyp{i}.txt,P{i},1")
    (folder / "nights.csv").write_text("\n".join(rows) + "\n")
    return folder
