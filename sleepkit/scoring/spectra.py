"""Spectra of a night beside those of the training nights, stage by stage."""

import numpy as np

LOWEST, HIGHEST, PER_OCTAVE = 0.5, 45.0, 3  # Hz, of the bands in which spectra are compared


def bands(fs):
    """Edges in Hz of the bands, a third of an octave each."""
    count = int(PER_OCTAVE * np.log2(min(HIGHEST, 0.45 * fs) / LOWEST))
    return LOWEST * 2 ** (np.arange(count + 1) / PER_OCTAVE)


def spectra(x, fs):
    """Mean power density of every window in the bands, in dB: (n, samples) µV -> (n, bands)."""
    hertz, edges = np.fft.rfftfreq(x.shape[1], 1 / fs), bands(fs)
    found = np.empty((len(x), len(edges) - 1))
    taper = np.hanning(x.shape[1])
    # a band narrower than a bin is read between the bins
    middles = np.sqrt(edges[1:] * edges[:-1])
    inside = [np.flatnonzero((hertz >= low) & (hertz < high)) for low, high in zip(edges, edges[1:], strict=False)]
    for start in range(0, len(x), 1000):
        part = x[start : start + 1000]
        power = np.abs(np.fft.rfft((part - part.mean(axis=1, keepdims=True)) * taper)) ** 2
        for band, rows in enumerate(inside):
            nearest = rows if len(rows) else [np.abs(hertz - middles[band]).argmin()]
            found[start : start + 1000, band] = power[:, nearest].mean(axis=1)
    return 10 * np.log10(found / (fs * (taper**2).sum()) + 1e-6)


def training_spectra(x, y, night, fs):
    """What training windows' spectra are: x (n, samples) µV, y (n,) stages, night (n,) -> a dict that json can hold.
    by_stage : (5, bands) dB, medians of each stage;  sd : (bands,) dB, by how much nights differ from them"""
    found = spectra(x, fs)
    by_stage = np.array([np.median(found[y == stage], axis=0) for stage in range(y.max() + 1)])
    each = [np.median(by_stage[y[night == one]] - found[night == one], axis=0) for one in np.unique(night)]
    return {"by_stage": by_stage.round(2).tolist(), "sd": np.std(each, axis=0).round(2).tolist()}


def difference(x, probabilities, known, fs):
    """What the spectrum of a night lacks, in dB, of that of training windows of the same stages: (bands,).

    x : (n, samples) µV;  probabilities : (n, 5) of the windows' stages;  known : of `training_spectra`
    The stages are the network's own, so that a night of much wake is not taken for a recorder of much alpha."""
    return np.median(probabilities @ np.array(known["by_stage"]) - spectra(x, fs), axis=0)
