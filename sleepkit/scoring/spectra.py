"""Spectra of a night beside those of the training nights, stage by stage."""

import numpy as np

LOWEST, HIGHEST, PER_OCTAVE = 0.5, 45.0, 3  # Hz, of the bands in which spectra are compared
SLOW, FAST = (1.0, 8.0), (8.0, 25.0)  # Hz


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
    by_stage : (5, bands) dB, medians of each stage;  sd : (bands,) dB, by how much nights differ from them
    loudness : dB, that of the quietest and of the loudest night;  usual : dB, its upper quartile over nights
    fast : dB, the largest `fast_excess` of a night"""
    found = spectra(x, fs)
    by_stage = np.array([np.median(found[y == stage], axis=0) for stage in range(y.max() + 1)])
    known = {"by_stage": by_stage.round(2).tolist()}
    nights = [night == one for one in np.unique(night)]
    each = [by_stage[y[rows]] - found[rows] for rows in nights]
    loud = [loudness(found[rows], known, fs) for rows in nights]
    ends = [min(loud) - 0.01, max(loud) + 0.01]  # so that rounding leaves no training night outside
    sd = np.std([np.median(one, axis=0) for one in each], axis=0).round(2).tolist()
    known |= {"sd": sd, "loudness": np.round(ends, 2).tolist(), "usual": round(float(np.quantile(loud, 0.75)), 2)}
    return known | {"fast": round(max(fast_excess(one, fs) for one in each) + 0.01, 2)}


def loudness(found, known, fs):
    """By how many dB a night is louder than the training nights, from its `spectra` (n, bands).

    Each window is compared, from 1 to 8 Hz, with the stage whose spectrum has its shape, whatever its amplitude: so the
    mix of stages counts little, and a factor of the signal is found exactly. The median over windows."""
    apart = found[:, None, _within(SLOW, fs)] - np.array(known["by_stage"])[:, _within(SLOW, fs)]
    louder = apart.mean(axis=2)
    alike = ((apart - louder[:, :, None]) ** 2).sum(axis=2).argmin(axis=1)
    return float(np.median(louder[np.arange(len(found)), alike]))


def fast_excess(deficit, fs):
    """By how many dB a night has more power from 8 to 25 Hz than training nights: deficit (windows, bands)."""
    return float(-np.median(deficit, axis=0)[_within(FAST, fs)].mean())


def spectral_deficit(found, probabilities, known):
    """What windows lack, in dB, of the spectrum of training windows of the same stages: (n, bands).

    found : (n, bands) of `spectra`;  probabilities : (n, 5) of the windows' stages;  known : of `training_spectra`
    The stages are the network's own, so that a night of much wake is not taken for a recorder of much alpha."""
    return probabilities @ np.array(known["by_stage"]) - found


def _within(hertz, fs):
    edges = bands(fs)
    middles = np.sqrt(edges[1:] * edges[:-1])
    return (middles > hertz[0]) & (middles < hertz[1])
