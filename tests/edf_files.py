"""Small EDF pairs for the tests, good ones and, by their arguments, bad ones."""

import datetime

import edfio
import numpy as np

NOISE = np.random.default_rng(0).integers(-2000, 2000, 3000 * 64, dtype=np.int16)
START = datetime.time(16, 13)
DAY = datetime.date(1989, 4, 24)
RECORDED = {"starttime": START, "recording": edfio.Recording(startdate=DAY)}
CHANNEL = "EEG Fpz-Cz"
# bouts of epochs: 3 W, N1, movement, 2 N2, N3 twice (stages 3 and 4), 2 unscored, REM, 6 W: 18 epochs
BOUTS = (("W", 3), ("1", 1), ("M", 1), ("2", 2), ("3", 1), ("4", 1), ("?", 2), ("R", 1), ("W", 6))
LABEL_NAMES = {"M": "Movement time"}


def write_psg(path, n_epochs, digital=None, label=CHANNEL, rate=100, unit="uV", start=START, spare=()):
    """A PSG in records of 30 s, of 12-bit noise as a cassette gives it."""
    samples = n_epochs * 30 * rate
    digital = np.resize(NOISE, samples) if digital is None else digital
    kinds = dict(label=label, physical_dimension=unit, physical_range=(-192, 192), digital_range=(-2048, 2047))
    signals = [edfio.EdfSignal.from_digital(digital[:samples], rate, **kinds)]
    for name in spare:
        signals.append(edfio.EdfSignal.from_digital(np.zeros(n_epochs * 30, np.int16), 1, label=name))
    recording = edfio.Recording(startdate=DAY)
    edfio.Edf(signals, data_record_duration=30, starttime=start, recording=recording).write(path)
    return path


def write_hypnogram(path, bouts=BOUTS, start=START):
    onsets = np.cumsum([0, *(n for _, n in bouts)]) * 30
    annotations = [
        edfio.EdfAnnotation(int(onset), n * 30, LABEL_NAMES.get(label, f"Sleep stage {label}"))
        for onset, (label, n) in zip(onsets, bouts, strict=False)
    ]
    edfio.Edf([], annotations=annotations, starttime=start, recording=edfio.Recording(startdate=DAY)).write(path)
    return path


def write_pair(folder, recording="SC4001", n_epochs=18, bouts=BOUTS, **psg):
    folder.mkdir(exist_ok=True)
    psg = write_psg(folder / f"{recording}E0-PSG.edf", n_epochs, **psg)
    return psg, write_hypnogram(folder / f"{recording}EC-Hypnogram.edf", bouts)
