"""Held-out people of Sleep-EDF as other recorders would have written them: how much of the agreement stays.

Every recorder is a fixed chain of what amplifiers do: filters without phase on every window, mirrored at its ends, a
gain, an offset, drift, line noise, another sampling rate, 12 bits.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from sleepkit.epochs import STAGES, parse_night, read_prepared
from sleepkit.execution.paths import progress
from sleepkit.metrics import confusion, scores
from sleepkit.scoring.model import load_model
from sleepkit.scoring.staging import score

# name -> low-pass, high-pass (Hz; None: none), gain, what is added, sampling rate (Hz), bits
RECORDERS = {
    "as it is": {},
    "64 Hz": {"rate": 64},
    "128 Hz, low-pass 50 Hz": {"rate": 128, "low": 50},
    "512 Hz, 12 bits": {"rate": 512, "bits": 12},
    "low-pass 30 Hz": {"low": 30},
    "low-pass 35 Hz, high-pass 0.1 Hz": {"low": 35, "high": 0.1},
    "high-pass 1 Hz": {"high": 1},
    "high-pass 0.3 Hz, low-pass 70 Hz, 256 Hz": {"high": 0.3, "low": 70, "rate": 256},
    "gain 0.5": {"gain": 0.5},
    "gain 2": {"gain": 2},
    "offset 80 µV": {"offset": 80},
    "drift 30 µV": {"drift": 30},
    "line noise 10 µV at 50 Hz": {"hum": 10},
    "200 Hz, 12 bits, line noise 5 µV at 60 Hz": {"rate": 200, "bits": 12, "hum": 5, "mains": 60},
    "50 Hz": {"rate": 50},  # beyond what training has seen
    "gain 4": {"gain": 4},  # as well
}
ORDER = 4  # of the low-pass
FULL_SCALE = 500  # µV, of the 12 bits


def recorded(x, fs, low=None, high=None, gain=1, offset=0, drift=0, hum=0, mains=50, rate=None, bits=None):
    """Windows as a recorder wrote them, at `fs` again: (n, samples) µV -> (n, samples) float32."""
    n, samples = x.shape
    mirrored = np.concatenate([x, x[:, ::-1]], axis=1)
    hertz = np.fft.rfftfreq(2 * samples, 1 / fs)
    factor = np.ones(len(hertz))
    if low:
        factor /= np.sqrt(1 + (hertz / low) ** (2 * ORDER))
    if high:
        factor *= hertz / np.sqrt(hertz**2 + high**2)
    y = np.fft.irfft(np.fft.rfft(mirrored) * factor, n=2 * samples)
    rate = rate or fs
    up, down = round(rate), round(fs)
    y = resample_poly(y, up, down, axis=1)
    time = np.arange(y.shape[1]) / rate
    start = np.arange(n)[:, None] * 30
    y = gain * y + offset + drift * np.sin(2 * np.pi * (start + time) / 600)
    y += hum * np.sin(2 * np.pi * mains * time) if mains < rate / 2 else 0
    if bits:
        step = 2 * FULL_SCALE / 2**bits
        y = np.clip(np.rint(y / step) * step, -FULL_SCALE, FULL_SCALE)
    return resample_poly(y, down, up, axis=1)[:, :samples].astype(np.float32)


def run(folder, models=(), channel=None):
    """Print and return a row per recorder and network: kappa with context and alone, what it lost, nights doubted.

    folder : prepared Sleep-EDF nights; of these the ones whose people the network has not met
    models, channel : as for `foreign`;  ValueError where a network has met everybody"""
    rows = []
    with TemporaryDirectory() as work:
        for model in [load_model(model) for model in models or [None]]:
            nights = unmet(folder, model)
            for name, how in progress(RECORDERS.items(), desc="recorders"):
                matrices, doubted = np.zeros((2, len(STAGES), len(STAGES)), dtype=int), 0
                for night in nights:
                    found = score(_written(night, how, work), model, channel)
                    known = (found.labels >= 0) & found.night.scored
                    alone = found.network[list(STAGES)].to_numpy()[known].argmax(axis=1)
                    matrices += [confusion(found.labels[known], one) for one in (found.stages[known], alone)]
                    doubted += found.trust.doubted
                context, alone = scores(matrices)["kappa"].tolist()
                rows.append({"by": model.name, "recorder": name, "kappa": context, "alone": alone, "doubted": doubted})
    table = pd.DataFrame(rows)
    first = table.groupby("by")[["kappa", "alone"]].transform("first")
    table.insert(4, "change", table["kappa"] - first["kappa"])
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    return table


def unmet(folder, model):
    """The prepared nights of a folder whose people neither trained nor validated a network: a list of paths."""
    sides = model.facts.get("training", {})
    met = {subject for side in ("train", "valid") for subject in sides.get(side, [])}
    found = [path for path in sorted(Path(folder).glob("[!.]*.npz")) if parse_night(path.stem)[0] not in met]
    if not found:
        raise ValueError(f"{folder}: {model.name} was trained on everybody in it; name a network of one fold")
    return found


def _written(path, how, work):
    night = read_prepared(path)
    x = recorded(night.x, night.fs, **how)[:, :, None]
    target = Path(work) / path.name
    np.savez(target, x=x, y=night.y.astype(np.int32), fs=night.fs, ch_label="EEG Fpz-Cz")
    return target
