"""Preparing one night: time and memory of `sleepkit.recordings` beside the way preparation scripts customarily take.

Customary means what scripts in the line of DeepSleepNet do: load all channels, make a data frame of them, and find the
epochs by sets of sample numbers. Each way runs in a process of its own, and both must give the same samples and labels.
"""

import datetime
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.experiments.startup import peak_memory

TARGETS = {"seconds": 10, "peak_mb": 5}  # times as fast, times as lean
RATE = 100
# label, rate, unit and physical range of Sleep-EDF's seven channels
CHANNELS = (
    ("EEG Fpz-Cz", 100, "uV", 192),
    ("EEG Pz-Oz", 100, "uV", 197),
    ("EOG horizontal", 100, "uV", 1009),
    ("Resp oro-nasal", 1, "", 2048),
    ("EMG submental", 1, "uV", 5),
    ("Temp rectal", 1, "DegC", 40),
    ("Event marker", 1, "", 2047),
)


def run(hours=20, repeats=5):
    """Print and return the comparison: median seconds of `repeats` runs after a warm-up, and MB held above the imports.

    hours : length of the simulated PSG, written to a temporary folder; the middle two fifths are sleep
    Raises AssertionError when the two ways differ in a sample or a label.
    """
    with tempfile.TemporaryDirectory() as folder:
        pair = write_recording(Path(folder), hours)
        table = pd.DataFrame([_measure(way, pair, repeats) for way in WAYS]).set_index("way")
        ours, theirs = (np.load(Path(folder) / f"{way}.npz", allow_pickle=False) for way in WAYS)
        with ours, theirs:
            assert np.array_equal(ours["y"], theirs["y"]), "the two ways differ in their labels"
            assert np.array_equal(ours["x"], theirs["x"]), "the two ways differ in their samples"
            n_epochs = len(ours["y"])
    print(f"One night of {hours:g} h, {len(CHANNELS)} channels; {n_epochs} epochs, samples and labels identical.")
    print(table.round(4).to_string())
    for column, target in TARGETS.items():
        ratio = table[column]["customary"] / table[column]["sleepkit"]
        word, goal = {"seconds": ("time", f"{target}x"), "peak_mb": ("memory", f"1/{target}")}[column]
        print(f"{word}: 1/{ratio:.1f} of the customary (target {goal}): {'reached' if ratio >= target else 'missed'}")
    return table


def write_recording(folder, hours):
    """Write a PSG of noise with Sleep-EDF's channels, and its hypnogram; returns both paths."""
    import edfio

    random, n_epochs = np.random.default_rng(0), int(hours * 120)
    signals = [
        edfio.EdfSignal.from_digital(
            random.integers(-2048, 2048, n_epochs * 30 * rate, dtype=np.int16),
            rate,
            label=label,
            physical_dimension=unit,
            physical_range=(-limit, limit),
            digital_range=(-2048, 2047),
        )
        for label, rate, unit, limit in CHANNELS
    ]
    shares = (
        ("W", 30),
        ("1", 2),
        ("2", 13),
        ("?", 1),
        ("3", 8),
        ("4", 4),
        ("2", 6),
        ("R", 6),
        ("W", 30),
    )  # % of the recording
    ends = np.cumsum([0, *(share for _, share in shares)]) * n_epochs // 100
    stages = np.repeat([stage for stage, _ in shares], np.diff(ends))
    bouts = np.flatnonzero(np.r_[True, stages[1:] != stages[:-1], True])
    annotations = [
        edfio.EdfAnnotation(int(a) * 30, int(b - a) * 30, f"Sleep stage {stages[a]}")
        for a, b in itertools.pairwise(bouts)
    ]
    start = {"starttime": datetime.time(16), "recording": edfio.Recording(startdate=datetime.date(1989, 4, 24))}
    psg, hypnogram = folder / "SC4001E0-PSG.edf", folder / "SC4001EC-Hypnogram.edf"
    edfio.Edf(signals, data_record_duration=30, **start).write(psg)
    edfio.Edf([], annotations=annotations, **start).write(hypnogram)
    return psg, hypnogram


def sleepkit_way():
    """The function that prepares one night here; imports happen in this call, before the measurement."""
    from sleepkit.recordings.preparation import Settings, read_night

    def night(psg, hypnogram):
        return read_night(psg, hypnogram, Settings())[:2]

    return night


def customary_way():
    """The same by all channels, a data frame and sets of sample numbers."""
    import mne

    read_raw, read_annotations = mne.io.read_raw_edf, mne.read_annotations  # mne imports its parts when first named
    stage_of = {"W": 0, "1": 1, "2": 2, "3": 3, "4": 3, "R": 4}

    def night(psg, hypnogram):
        raw = read_raw(psg, preload=True, stim_channel=None, verbose="error")
        signal = raw.to_data_frame(verbose="error")["EEG Fpz-Cz"].to_numpy()
        labels, label_samples, removed = [], [], []
        for bout in read_annotations(hypnogram):
            samples = int(bout["onset"] * RATE) + np.arange(int(bout["duration"] * RATE))
            stage = stage_of.get(str(bout["description"]).removeprefix("Sleep stage "))
            if stage is None:
                removed.append(samples)
            else:
                labels.append(np.full(len(samples) // (30 * RATE), stage))
                label_samples.append(samples)
        # The scripts do not tell numpy that the sets are unique; numpy 2.4 then takes 25 s more, which are spared here.
        selected = np.setdiff1d(np.arange(len(signal)), np.concatenate(removed), assume_unique=True)
        selected = np.intersect1d(selected, np.concatenate(label_samples), assume_unique=True)
        x, y = signal[selected].reshape(-1, 30 * RATE), np.concatenate(labels)
        asleep = np.flatnonzero(y)
        kept = slice(max(0, asleep[0] - 60), asleep[-1] + 61)
        return x[kept].astype(np.float32), y[kept]

    return night


WAYS = {"sleepkit": sleepkit_way, "customary": customary_way}


def _measure(way, pair, repeats):
    command = [sys.executable, "-m", "sleepkit.bench.prepare", way, *map(str, pair), str(repeats)]
    root = Path(__file__).resolve().parents[2]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root).stdout)


def _measured(way, psg, hypnogram, repeats):
    """In the process of one way: warm-up, whose memory counts, then the timed runs."""
    night = WAYS[way]()
    imports = peak_memory()
    x, y = night(psg, hypnogram)
    peak = peak_memory() - imports
    np.savez(Path(psg).with_name(f"{way}.npz"), x=x, y=y)
    seconds = []
    for _ in range(int(repeats)):
        start = time.perf_counter()
        night(psg, hypnogram)
        seconds.append(time.perf_counter() - start)
    return {"way": way, "seconds": float(np.median(seconds)), "peak_mb": peak, "imports_mb": imports}


if __name__ == "__main__":
    print(json.dumps(_measured(*sys.argv[1:])))
