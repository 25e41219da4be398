"""What is said of a channel by its label, and of a night by its signal."""

import numpy as np
import pytest

from sleepkit.scoring.spectra import spectra, spectral_deficit, training_spectra
from sleepkit.scoring.trust import about_channel, measures, trust


@pytest.mark.parametrize("name", ["EEG Fpz-Cz", "Fpz-Cz", "EEG Fpz - EEG Cz", "fpz-cz", "one channel"])
def test_of_the_channel_it_was_trained_on_nothing_is_said(name):
    assert about_channel(name) == []


@pytest.mark.parametrize("name", ["EEG C3-A2", "C4-M1", "EEG Pz-Oz", "F4-A1", "EEG", "O2", "EEG Fpz-Oz"])
def test_another_derivation_is_said(name):
    (note,) = about_channel(name)
    assert name in note and "not Fpz-Cz" in note


@pytest.mark.parametrize(
    "name",
    ["EOG horizontal", "E1-M2", "ROC", "EMG submental", "Chin EMG", "ECG", "EKG", "ECG II", "Resp oro-nasal", "SpO2"]
    + ["SaO2", "Airflow", "Temp rectal", "Thorax", "ABDO RES", "Leg L", "Event marker", "Pleth", "LAT", "eog_left"],
)
def test_a_channel_that_is_no_eeg_is_said(name):
    (note,) = about_channel(name)
    assert "is no EEG by its label" in note and "name another channel" in note


def test_measures_are_what_they_say():
    """The training's own windows lie nowhere from themselves; amplified ones as far as the gain is in decibel."""
    random = np.random.default_rng(0)
    y = np.arange(200) % 5
    x = (random.normal(size=(200, 500)) * (5 + 5 * y)[:, None]).astype(np.float32)
    known = training_spectra(x, y, np.arange(200) // 20, 100)
    known |= {"sd": [2.0] * len(known["sd"])}
    sure = np.eye(5)[y] * 0.75 + 0.05
    one, certainty, apart = measures(spectral_deficit(spectra(x, 100), sure, known), sure, known)
    assert (one, certainty) == (1, pytest.approx(0.8)) and apart < 0.1
    *_, apart = measures(spectral_deficit(spectra(10 * x, 100), sure, known), sure, known)
    assert np.expm1(apart) == pytest.approx(20 / 2, rel=0.03)


def test_the_word_follows_the_measures():
    facts = {"weights": [0.1, 0.9, -0.2], "doubted_below": 0.7}
    good, bad = (trust(np.array(found), facts) for found in ([1, 0.85, 0.1], [1, 0.6, 1.5]))
    assert (good.accuracy, good.doubted) == (pytest.approx(0.845), False) and bad.doubted
    assert "agree in about 84 %" in good.words and "check these" not in good.words
    assert "about 34 %" in bad.words and "check these stages" in bad.words
