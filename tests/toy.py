"""A few small epochs and a small architecture for tests that train."""

from pathlib import Path

import numpy as np

from sleepkit.epochs import EpochSet
from sleepkit.genotype import Genotype

TINY = Genotype((("sep_conv_1x3", 0), ("conv_1x1", 1)), (("dil_conv_1x3", 0), ("max_pool_3x3", 1)))


def toy(subjects=5, nights=(1, 2), per_night=8, samples=32):
    """Epochs of several subjects with two nights each; subjects differ in amplitude."""
    random, parts = np.random.default_rng(0), []
    for subject in range(subjects):
        for night in nights:
            y = (np.arange(per_night) + subject + night) % 5
            x = (1 + subject) * (
                10 * random.normal(size=(per_night, samples)) + 20 * np.sin(0.4 * np.arange(samples) * (1 + y[:, None]))
            )
            ids = (subject * 10 + night) * 10_000 + np.arange(per_night)
            parts.append(
                (
                    x.astype(np.float32),
                    y,
                    np.full(per_night, subject),
                    np.full(per_night, f"SC4{subject:02d}{night}E0"),
                    ids,
                )
            )
    x, y, subject, night, ids = (np.concatenate(part) for part in zip(*parts, strict=False))
    return EpochSet(x, y.astype(np.int64), subject, night, ids, 100.0)


def save_nights(epochs, folder):
    """Write an EpochSet as prepared nights, one `.npz` a night."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in sorted(set(epochs.night.tolist())):
        rows = epochs.night == name
        x, y = epochs.x[rows][:, :, None], epochs.y[rows].astype(np.int32)
        np.savez(Path(folder) / f"{name}.npz", x=x, y=y, fs=epochs.fs, ch_label="EEG Fpz-Cz")
