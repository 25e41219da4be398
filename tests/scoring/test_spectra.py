"""Spectra of windows, in bands."""

import numpy as np
from recording_files import brain
from scipy.signal import periodogram

from sleepkit.scoring.spectra import bands, spectra

FS = 100


def test_spectra_are_those_of_scipy():
    x = np.float32(brain(50, FS).reshape(10, 500) + np.random.default_rng(0).normal(size=(10, 500)))
    hertz, power = periodogram(x, FS, window="hann", detrend="constant")
    edges, found = bands(FS), spectra(x, FS)
    assert found.shape == (10, len(edges) - 1) and edges[0] == 0.5 and edges[-1] <= 45
    for band in range(9, len(edges) - 1):  # wide enough to hold bins; scipy's density is one-sided
        inside = (hertz >= edges[band]) & (hertz < edges[band + 1])
        expected = 10 * np.log10(power[:, inside].mean(axis=1) / 2)
        np.testing.assert_allclose(found[:, band], expected, atol=0.5)
