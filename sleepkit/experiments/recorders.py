"""Windows of Sleep-EDF as other recorders would have written them, and how far a network's nights can then be trusted.

Every recorder is a fixed chain of what amplifiers do: filters without phase on every window, mirrored at its ends, a
gain, an offset, drift, line noise, another sampling rate, 12 bits.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import resample_poly

from sleepkit.epochs import STAGES
from sleepkit.evaluation.context import smooth
from sleepkit.execution.paths import progress
from sleepkit.metrics import confusion
from sleepkit.recordings.resampling import without_offset
from sleepkit.scoring.familiarity import Votes, adapted, night_votes
from sleepkit.scoring.trust import measures

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


@dataclass(frozen=True, eq=False)
class LabelledVotes:
    """What a network says of a night, with an expert's stages."""

    name: str
    votes: Votes
    y: np.ndarray  # (n,) the expert's stages
    weight: float = 1.0  # when nights are counted together


def recorded_nights(model, epochs):
    """Nights that did not train the model, each as every one of RECORDERS has it: a list of LabelledVotes."""
    nights = [(night, epochs.subset(np.flatnonzero(epochs.night == night))) for night in np.unique(epochs.night)]
    found = []
    for name, how in progress(RECORDERS.items(), desc="recorders"):
        for night, part in nights:
            x = without_offset(recorded(part.x, part.fs, **how).ravel(), part.fs, part.x.shape[1])[0]
            x = x.reshape(len(part), 1, -1)
            votes = night_votes(model, x, np.ones(x.shape[:2], dtype=bool))
            found.append(LabelledVotes(f"{night}, {name}", votes, part.y))
    return found


def votes_of(model, night, weight=1.0):
    """The LabelledVotes of a Night, without the epochs that have no stage."""
    known = night.scored & (night.labels >= 0)
    votes = night_votes(model, night.x[known], night.good[known])
    return LabelledVotes(night.channel, votes, night.labels[known], weight)


def split_whole(nights):
    """Those LabelledVotes that have all stages, and the others: two lists."""
    whole = [night for night in nights if len(np.unique(night.y)) == len(STAGES)]
    return whole, [night for night in nights if night not in whole]


def confusions(model, nights):
    """Confusions of LabelledVotes, each epoch alone and with context: (2, 5, 5)."""
    total = np.zeros((2, len(STAGES), len(STAGES)), dtype=int)
    for night in nights:
        alone, context, _ = adapted(model, night.votes)
        total += [confusion(night.y, one.argmax(axis=1)) for one in (alone, smooth(alone, context))]
    return total


def calibrate(model, nights, below=0.75):
    """Weights with which `measures` tell a night's accuracy, by least squares: a dict that json can hold.

    nights : LabelledVotes of those that did not train the model;  below : expected accuracy of a doubted one"""
    found, hits = [], []
    for night in nights:
        alone, context, _ = adapted(model, night.votes)
        found.append(measures(night.votes.deficit, alone, model.facts["spectrum"]))
        hits.append(np.mean(smooth(alone, context).argmax(axis=1) == night.y))
    found, hits, root = np.array(found), np.array(hits), np.sqrt([night.weight for night in nights])
    weights = np.linalg.lstsq(found * root[:, None], hits * root, rcond=None)[0]
    error = float(np.abs(found @ weights - hits).mean())
    facts = {"weights": weights.round(4).tolist(), "doubted_below": below, "nights": len(hits)}
    return facts | {"mean_error": round(error, 4)}
