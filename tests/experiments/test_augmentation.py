"""Windows as other recorders would have written them."""

from functools import partial

import numpy as np
import pytest
import torch
from toy import TINY, toy

from sleepkit.evaluation import training
from sleepkit.evaluation.crossval import Plan, cross_validate, fold_probabilities
from sleepkit.evaluation.protocols import SUBJECTWISE, subject_folds
from sleepkit.evaluation.training import TrainSettings, predict_logits
from sleepkit.execution.checkpoint import TimeOver
from sleepkit.experiments import augmentation
from sleepkit.experiments.augmentation import OCTAVES, SHARES, other_recorder
from sleepkit.metrics import softmax
from sleepkit.network.saved import load_network
from sleepkit.network.sleepnet import new_network
from sleepkit.results import NetworkKey

FS, N = 100, 4000


def waves(hertz, n=N):
    return 20 * torch.sin(2 * torch.pi * hertz * torch.arange(500) / FS + torch.rand(n, 1) * 7).float()


@pytest.fixture
def only(monkeypatch):
    """Of what is done to a window, only what is named, to every window."""

    def choose(*kinds, **constants):
        for name, value in {"CURVE": 0.0, "TILT": 0.0, "GAIN": 0.0, **constants}.items():
            monkeypatch.setattr(augmentation, name, value)
        monkeypatch.setattr(augmentation, "SHARES", {kind: float(kind in kinds) for kind in SHARES})
        torch.manual_seed(0)

    return choose


def size(x):
    """Root of the mean square of every window, its ends left out."""
    return x[:, 100:400].square().mean(dim=1).sqrt()


def test_one_seed_gives_the_same_windows_and_no_window_is_like_another():
    x, found = waves(10, 50), []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(other_recorder(x, FS))
    assert torch.equal(*found) and found[0].shape == x.shape and found[0].dtype == x.dtype
    assert len({round(float(value), 4) for value in size(found[0])}) > 30


def test_the_share_that_is_left_alone():
    torch.manual_seed(0)
    x = waves(10)
    same = (other_recorder(x, FS) == x).all(dim=1).float().mean()
    assert float(same) == pytest.approx(SHARES["none"], abs=0.02)


def test_without_any_change_a_window_stays(only):
    only()
    x = waves(3, 20)
    np.testing.assert_allclose(other_recorder(x, FS), x, atol=1e-4)


@pytest.mark.parametrize("hertz", [0.8, 3.2, 12.8])
def test_the_gain_is_as_wide_as_it_says(only, hertz):
    """At a knot: the root of the squares of curve and tilt, in dB, and the amplitude's, 6.02 dB an octave."""
    only(CURVE=3.0, TILT=4.0, GAIN=0.5)
    x = waves(hertz)
    decibel = 20 * torch.log10(size(other_recorder(x, FS)) / size(x))
    knot = np.log2(hertz / augmentation.LOWEST)
    tilt = 4 * (2 * knot / (OCTAVES - 1) - 1)
    expected = np.sqrt(3**2 + tilt**2 + (0.5 * 20 * np.log10(2)) ** 2)
    assert float(decibel.mean()) == pytest.approx(0, abs=0.4)
    assert float(decibel.std()) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("kind, hertz, kept", [("low_pass", 49, False), ("low_pass", 5, True), ("high_pass", 8, True)])
def test_filters_pass_what_they_should(only, kind, hertz, kept):
    only(kind)
    x = waves(hertz, 500)
    share = size(other_recorder(x, FS)) / size(x)
    assert (share > 0.95).all() if kept else (share < 0.75).float().mean() > 0.9


def test_polarity_hum_floor_and_wander_are_what_they_say(only):
    x = waves(6, 500)
    only("flip")
    np.testing.assert_allclose(other_recorder(x, FS), -x, atol=1e-4)
    only("hum")
    spectrum = torch.fft.rfft(other_recorder(x, FS) - x).abs()[:, 1:].argmax(dim=1) + 1
    assert set((spectrum / 5).tolist()) <= {40.0, 50.0}, "60 Hz fold to 40 at 100 samples a second"
    only("floor")
    assert 0.3 < float((other_recorder(x, FS) - x).std()) < 3
    only("wander")
    line = (other_recorder(x, FS) - x).numpy()
    assert np.abs(np.diff(line, 2)).max() < 1e-3 and line.std() > 5


def test_an_augmented_fold_is_resumed_as_it_was_and_differs_from_a_plain_one(tmp_path, monkeypatch):
    """Training windows are changed anew in every epoch; the probabilities that are kept are of undisturbed windows."""
    epochs = toy()
    fold, *_ = subject_folds(epochs.subject, 2, 1)
    start, augment = partial(new_network, TINY, 2, 3), partial(other_recorder, fs=epochs.fs)
    key = NetworkKey("subjectwise", "edf20", "published", channels=2, cells=3)
    settings = TrainSettings(lr=0.01, batch=32, epochs=2)
    found, save = {}, training.save_checkpoint

    def stops(*arguments):
        save(*arguments)
        raise TimeOver

    for name, how in {"plain": None, "whole": augment, "pieces": augment}.items():
        plan = Plan(key, epochs, (fold,), start, settings, tmp_path / name, augment=how)
        if name == "pieces":
            monkeypatch.setattr(training, "save_checkpoint", stops)
            with pytest.raises(TimeOver):
                cross_validate([plan])
            monkeypatch.setattr(training, "save_checkpoint", save)
        found[name] = cross_validate([plan])[0]
    plain, whole, pieces = (load_network(one.networks[fold.number])[0] for one in found.values())
    both = zip(whole.state_dict().values(), pieces.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in both)
    assert not torch.equal(plain.classifier.weight, whole.classifier.weight)
    scale = SUBJECTWISE.normalisation(epochs, fold)
    expected = softmax(predict_logits(whole, scale(epochs.x[fold.test])))
    kept = fold_probabilities(found["whole"].networks[fold.number])
    np.testing.assert_allclose(kept["prob"], expected, atol=1e-6)
