import hashlib
import os
import subprocess
import sys
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt, welch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleepkit.recordings.hypnogram import read_hypnogram
from sleepkit.recordings.simulation import simulate, simulate_night
from sleepkit.recordings.simulation.hypnogram import LABELS, draw_stages
from sleepkit.recordings.simulation.signal import EVENTS, _waveforms, draw_person

CLASSES = np.array([0, 1, 2, 3, 3, 4, -1, -1])  # position in LABELS -> W, N1, N2, N3, REM, none
BANDS = ((0.5, 4), (4, 8), (8, 12), (12, 16), (16, 30), (30, 49))


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Eight subjects, 2.5 hours each: (files, epochs of Fpz-Cz (n, 3000) µV, classes, subjects)."""
    files = simulate(tmp_path_factory.mktemp("nights"), hours=2.5)
    x, y, subject = [], [], []
    for number, (psg, hypnogram) in enumerate(files):
        classes, _ = read_hypnogram(hypnogram).epochs(300)
        epochs = edfio.read_edf(psg).get_signal("EEG Fpz-Cz").data[: 3000 * len(classes)].reshape(-1, 3000)
        x.append(epochs[classes >= 0])
        y.append(classes[classes >= 0])
        subject.append(np.full((classes >= 0).sum(), number))
    return files, np.concatenate(x), np.concatenate(y), np.concatenate(subject)


def test_names_length_and_labels(nights):
    files = nights[0]
    assert [tuple(path.name for path in pair) for pair in files] == [
        (f"SC4{s:02d}1E0-PSG.edf", f"SC4{s:02d}1EC-Hypnogram.edf") for s in range(8)
    ]
    assert len(list(files[0][0].parent.iterdir())) == 16  # and no temporary file left
    for psg, hypnogram in files[:2]:
        raw = mne.io.read_raw_edf(psg, include=["EEG Fpz-Cz"], verbose="error")
        notes = mne.read_annotations(hypnogram)
        assert raw.n_times == 2.5 * 3600 * 100 and raw.info["sfreq"] == 100
        assert set(notes.description) == set(LABELS)
        assert np.allclose(notes.onset[1:], (notes.onset + notes.duration)[:-1])  # no gap, no overlap
        assert notes.description[-1] == "Sleep stage ?" and notes.onset[-1] == 9000 and notes.duration[-1] >= 900
        starts = edfio.read_edf(psg).startdate, edfio.read_edf(psg).starttime
        assert starts == (edfio.read_edf(hypnogram).startdate, edfio.read_edf(hypnogram).starttime)


def test_header_is_like_a_real_one(nights, shared):
    real = (shared / "data/edf/SC4001E0-PSG.first300s.edf").read_bytes()
    simulated = nights[0][0][0].read_bytes()
    # header size, plain EDF, records of 30 s, seven signals
    assert simulated[184:236] == real[184:236] and simulated[244:256] == real[244:256]
    assert simulated[256 : 256 * 8] == real[256 : 256 * 8]  # all fields of all signals
    assert simulated[8:88].decode().split()[:3:2] == ["X", "X"] and simulated[8:88].decode().rstrip().endswith("yr")
    real = (shared / "data/edf/SC4001EC-Hypnogram.edf").read_bytes()
    simulated = nights[0][0][1].read_bytes()
    assert simulated[192:256] == real[192:256]
    assert simulated[512:].startswith(b"+0\x14\x14\x00+0\x15")


def test_same_seed_same_bytes_whatever_the_order(tmp_path):
    whole = simulate(tmp_path / "a", subjects=(3, 1), nights=(2, 1), hours=0.5, seed=5)
    for psg, hypnogram in whole:
        again = simulate_night(tmp_path / "b", int(psg.name[3:5]), int(psg.name[5]), hours=0.5, seed=5)
        assert [digest(path) for path in again] == [digest(psg), digest(hypnogram)]
    call = f"simulate_night({str(tmp_path / 'c')!r}, 3, 2, hours=0.5, seed=5)"
    code = f"from sleepkit.recordings.simulation import simulate_night; {call}"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        cwd=Path(__file__).resolve().parents[2],
    )
    assert digest(tmp_path / "c" / "SC4032E0-PSG.edf") == digest(tmp_path / "a" / "SC4032E0-PSG.edf")
    other = simulate_night(tmp_path / "d", 3, 2, hours=0.5, seed=6)
    assert len({digest(pair[0]) for pair in [*whole, other]}) == 5
    assert draw_person(np.random.default_rng([0, 1, 0])) != draw_person(np.random.default_rng([0, 2, 0]))


@pytest.mark.parametrize("hours", [2.5, 8.0])
def test_nights_have_cycles_and_every_stage(hours):
    counts, thirds = np.zeros(8), np.zeros((3, 8))
    for seed in range(40):
        stages = draw_stages(np.random.default_rng(seed), round(3600 * hours))
        counted = np.bincount(stages, minlength=8)
        assert len(stages) == 120 * hours and counted.min() >= 1
        classes = CLASSES[stages]
        asleep = np.flatnonzero(classes > 0)
        margins = asleep[0] / len(stages), 1 - (asleep[-1] + 1) / len(stages)
        assert 0.09 < min(margins) and max(margins) < 0.17
        dreaming = np.convolve(classes == 4, np.ones(9), "same") > 3
        blocks = np.flatnonzero(np.diff(dreaming, prepend=False) & dreaming)
        assert len(blocks) >= 2  # two cycles at least that end in REM
        counts += counted
        thirds += [np.bincount(part, minlength=8) for part in np.array_split(stages[asleep[0] : asleep[-1] + 1], 3)]
    share = counts / counts.sum()
    assert 0.18 < share[0] < 0.36 and 0.03 < share[1] < 0.11 and 0.30 < share[2] < 0.48
    assert 0.10 < share[3] + share[4] < 0.22 and 0.10 < share[5] < 0.24
    assert (thirds[0, 3:5].sum() > 2 * thirds[2, 3:5].sum()) and thirds[2, 5] > 1.3 * thirds[0, 5]


def test_long_recordings_hold_one_night():
    classes = CLASSES[draw_stages(np.random.default_rng(0), 20 * 3600)]
    assert 7.5 < (np.flatnonzero(classes > 0).max() - np.flatnonzero(classes > 0).min()) / 120 < 9
    assert (classes == 0).mean() > 0.5


def test_as_hard_as_life(nights):
    """Log band powers, logistic regression, subjects left out: 65 to 85 % on 30 s, 60 to 75 % on the first 5 s."""
    x, y, subject = nights[1:]
    for seconds, low, high in ((30, 0.65, 0.85), (5, 0.60, 0.75)):
        f, power = welch(x[:, : 100 * seconds], 100, nperseg=250, axis=1)
        features = np.log(np.stack([power[:, (f >= a) & (f < b)].mean(1) for a, b in BANDS], axis=1))
        for bands in (features[:, :5], features):  # with and without gamma
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            predicted = cross_val_predict(model, bands, y, groups=subject, cv=GroupKFold(8))
            f1 = f1_score(y, predicted, average=None)
            assert low <= accuracy_score(y, predicted) <= high, (seconds, bands.shape[1])
            assert f1.argmin() == 1 and f1[1] < 0.5 and np.delete(f1, 1).min() > 0.4


def test_signals_show_what_scorers_look_for(nights):
    x, y = nights[1:3]
    spread = np.array([np.median(x[y == k, :500].std(axis=1)) for k in range(5)])  # real: 19.4 9.1 13.6 27.4 9.7 µV
    assert np.all(np.abs(spread / [19.4, 9.1, 13.6, 27.4, 9.7] - 1) < 0.25), spread
    slow = sosfiltfilt(butter(2, [0.5, 2], "band", fs=100, output="sos"), x, axis=1)
    swing = np.array([np.median(np.ptp(slow[y == k].reshape(-1, 500), axis=1)) for k in range(5)])
    assert swing[3] > 75 > 1.5 * swing[2] > swing[4]
    f, power = welch(x, 100, nperseg=500, axis=1)
    mean = np.array([np.log10(power[y == k]).mean(axis=0) for k in range(5)])
    sigma, beta = (f > 12) & (f < 14.5), (f > 18) & (f < 30)
    assert np.all(mean[2, sigma].mean() - mean[[1, 4]][:, sigma].mean(axis=1) > 0.3)  # spindles
    assert mean[0, beta].mean() - mean[4, beta].mean() > 0.3  # muscle in wake
    slope = np.polyfit(np.log10(f[(f > 2) & (f < 40)]), mean[:, (f > 2) & (f < 40)].T, 1)[0]
    assert np.all((slope < -0.7) & (slope > -3))  # pink


def test_subjects_differ_in_alpha_and_spindles():
    people = [draw_person(np.random.default_rng([0, s, 0])) for s in range(30)]
    assert 0.4 < np.std([p.alpha_hz for p in people]) < 1.1 and 0.25 < np.std([p.spindle_hz for p in people]) < 0.8
    assert np.std([p.levels[0][0] for p in people]) > 0.15
    waves = _waveforms(np.random.default_rng(0), "spindle", 500, people[0])
    f, power = welch(waves, 100, nperseg=160, nfft=1000, axis=1)
    assert abs(f[power.mean(axis=0).argmax()] - people[0].spindle_hz) < 0.4


@pytest.mark.parametrize("kind", EVENTS)
def test_waveforms_start_and_end_near_zero(kind):
    waves = _waveforms(np.random.default_rng(0), kind, 200, draw_person(np.random.default_rng(1)))
    largest = np.abs(waves).max(axis=1)
    assert np.all(np.abs(waves[:, [0, -1]]).max(axis=1) < 0.2 * largest) and np.all(largest < 500)


def test_length_need_not_be_whole_epochs(tmp_path):
    psg, hypnogram = simulate_night(tmp_path, 0, hours=2017 / 3600)
    edf = edfio.read_edf(psg)
    assert edf.duration == 2017 and edf.get_signal("Temp rectal").sampling_frequency == 1
    assert read_hypnogram(hypnogram).end == 67 * 30


def test_movement_and_unscored_epochs_are_disturbed(nights):
    for psg, hypnogram in nights[0]:
        stages, _ = read_hypnogram(hypnogram).epochs(300)
        x = edfio.read_edf(psg).get_signal("EEG Fpz-Cz").data.reshape(-1, 3000)
        disturbed = stages < 0
        assert np.median(x[disturbed].std(axis=1)) > 1.3 * np.median(x[(stages > 0) & ~disturbed].std(axis=1))


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="half an hour"):
        simulate_night(tmp_path, 0, hours=0.4)
    with pytest.raises(ValueError, match="subject 100"):
        simulate_night(tmp_path, 100, hours=0.5)
    assert not any(tmp_path.iterdir())
