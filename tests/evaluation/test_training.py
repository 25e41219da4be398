"""Fitting one network: the plain recipe, the epoch that is kept, and runs in pieces."""

import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from sleepkit.evaluation import training
from sleepkit.evaluation.protocols import Normalisation
from sleepkit.evaluation.training import TrainSettings, fit, predict_logits
from sleepkit.execution.checkpoint import TimeOver
from sleepkit.genotype import Genotype
from sleepkit.network.sleepnet import SleepNet

TINY = Genotype((("sep_conv_1x3", 0), ("conv_1x1", 1)), (("dil_conv_1x3", 0), ("max_pool_3x3", 1)))
SETTINGS = TrainSettings(lr=0.01, batch=16, epochs=5, patience=15)


def toy(n, seed):
    random = np.random.default_rng(seed)
    y = np.arange(n) % 5
    x = random.normal(size=(n, 48)) + 1.5 * np.sin(0.3 * np.arange(48) * (1 + y[:, None]))
    return x.astype(np.float32), y.astype(np.int64)


def network():
    torch.manual_seed(0)
    return SleepNet(TINY, 3, 3)


def run(folder, settings=SETTINGS, key="key", **options):
    net = network()
    return net, fit(net, toy(50, 0), toy(30, 1), settings, folder, key, **options)


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"))


def test_the_defaults_are_the_papers():
    settings = TrainSettings()
    assert (settings.batch, settings.epochs, settings.patience, settings.select_by) == (64, 50, 15, "mf1")


def test_it_learns_and_reports_every_epoch(whole):
    _, curves = whole
    assert curves["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert curves["train_loss"].iloc[-1] < curves["train_loss"].iloc[0]
    assert list(curves) == ["epoch", "train_loss", "valid_loss", "valid_acc", "valid_mf1"]


def test_two_epochs_equal_a_plain_loop_with_adam(tmp_path):
    """The order of the epochs' samples differs from epoch to epoch; dropout follows the same seed."""
    net, curves = run(tmp_path, TrainSettings(lr=0.01, batch=16, epochs=2, seed=3))
    plain, (x, y), (vx, vy) = network(), *(map(torch.from_numpy, data) for data in (toy(50, 0), toy(30, 1)))
    optimiser, states = torch.optim.Adam(plain.parameters(), 0.01), []
    for epoch in range(2):
        torch.manual_seed(3 * 10_007 + epoch)
        losses = []
        plain.train()
        for rows in torch.randperm(50).split(16):
            loss = F.cross_entropy(plain(x[rows][:, None]), y[rows])
            plain.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()) * len(rows))
        assert curves["train_loss"][epoch] == pytest.approx(sum(losses) / 50, rel=1e-5)
        logits = plain.eval()(vx[:, None]).detach()
        assert curves["valid_loss"][epoch] == pytest.approx(float(F.cross_entropy(logits, vy)), rel=1e-4)
        assert curves["valid_acc"][epoch] == pytest.approx(float((logits.argmax(1) == vy).float().mean()))
        states.append({key: value.clone() for key, value in plain.state_dict().items()})
    best = states[int(curves["valid_mf1"].argmax())]
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, best[key])


class Once:
    """A deadline that passes after some epochs."""

    def __init__(self, epochs):
        self.left = epochs

    def check(self):
        self.left -= 1
        if self.left < 0:
            raise TimeOver


def test_in_pieces_as_in_one(whole, tmp_path):
    for _ in range(2):
        with pytest.raises(TimeOver):
            run(tmp_path, deadline=Once(2))
    net, curves = run(tmp_path)
    pd.testing.assert_frame_equal(curves, whole[1], check_exact=True)
    assert same_weights(net, whole[0])


def test_killed_within_an_epoch_as_in_one(whole, tmp_path, monkeypatch):
    predict, calls = training.predict_logits, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(training, "predict_logits", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    net, curves = run(tmp_path)
    pd.testing.assert_frame_equal(curves, whole[1], check_exact=True)
    assert same_weights(net, whole[0])


def scripted(monkeypatch, values):
    """Make validation score the given values, whatever the network does; returns the weights after every epoch."""
    weights, remaining = [], list(values)
    monkeypatch.setattr(training, "scores", lambda matrix: {"acc": 1 - remaining[0], "mf1": remaining.pop(0)})
    predict = training.predict_logits

    def noted(net, *arguments):
        weights.append({key: value.clone() for key, value in net.state_dict().items()})
        return predict(net, *arguments)

    monkeypatch.setattr(training, "predict_logits", noted)
    return weights


@pytest.mark.parametrize(
    ("scores", "select_by", "epochs", "best"),
    [
        (
            (0.1, 0.5, 0.5, 0.4, 0.6),
            "mf1",
            4,
            2,
        ),  # patience 2: stops after two epochs without a better one; a tie is not better
        ((0.1, 0.5, 0.4, 0.6, 0.2), "mf1", 5, 4),
        ((0.1, 0.5, 0.4, 0.6, 0.2), "acc", 3, 1),
        ((0.5, 0.4, 0.3, 0.2, 0.1), "mf1", 3, 1),
    ],
)
def test_early_stopping_keeps_the_best_epoch(tmp_path, monkeypatch, scores, select_by, epochs, best):
    weights = scripted(monkeypatch, scores)
    net, curves = run(tmp_path, TrainSettings(lr=0.01, batch=16, epochs=5, patience=2, select_by=select_by))
    assert len(curves) == epochs
    assert not net.training
    assert all(torch.equal(value, weights[best - 1][key]) for key, value in net.state_dict().items())
    assert len(weights) == epochs


def test_the_best_epoch_outlives_a_restart(tmp_path, monkeypatch):
    weights = scripted(monkeypatch, (0.9, 0.1, 0.2, 0.3, 0.4))
    with pytest.raises(TimeOver):
        run(tmp_path, deadline=Once(3))
    net, _ = run(tmp_path)
    assert all(torch.equal(value, weights[0][key]) for key, value in net.state_dict().items())


def rates(monkeypatch, settings, folder, **rest):
    """Learning rate of every step of a fit."""
    seen, step = [], torch.optim.Adam.step

    def noted(optimiser, *arguments):
        seen.append(optimiser.param_groups[0]["lr"])
        return step(optimiser, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    with suppress(TimeOver):
        run(folder, settings, **rest)
    return np.array(seen)


def test_the_learning_rate_stays_or_falls_along_a_cosine_also_when_resumed(tmp_path, monkeypatch):
    assert set(rates(monkeypatch, SETTINGS, tmp_path / "constant")) == {0.01}
    settings = replace(SETTINGS, schedule="cosine")
    whole = rates(monkeypatch, settings, tmp_path / "whole")
    np.testing.assert_allclose(whole, 0.005 * (1 + np.cos(np.pi * np.arange(len(whole)) / len(whole))))
    first = rates(monkeypatch, settings, tmp_path / "parts", deadline=Once(2))
    np.testing.assert_array_equal(np.append(first, rates(monkeypatch, settings, tmp_path / "parts")), whole)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"schedule": "linear"}, "schedule='linear': expected one of constant, cosine"),
        ({"select_by": "kappa"}, "select_by='kappa': expected one of acc, mf1"),
        ({"select_by": "loss"}, "select_by='loss': expected one of acc, mf1"),  # a curve, but the lower the better
        ({"epochs": 0}, "epochs=0: a training needs at least 1"),
        ({"batch": 0}, "batch=0: a training needs at least 1"),
        ({"patience": 0}, "patience=0: a training needs at least 1"),
        ({"lr": 0}, "lr=0: a learning rate is above 0"),
    ],
)
def test_what_no_training_can_be_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        TrainSettings(**wrong)


def test_a_nan_names_the_epoch(tmp_path):
    net, (x, y) = network(), toy(50, 0)
    x[3, 3] = np.nan
    with pytest.raises(FloatingPointError, match="training epoch 1: the loss is nan"):
        fit(net, (x, y), toy(30, 1), SETTINGS, tmp_path, "key")


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    with pytest.raises(TimeOver):
        run(tmp_path, deadline=Once(1))
    with pytest.raises(ValueError, match=r"fit\.pt.*another configuration"):
        run(tmp_path, key="other")


def test_prediction_does_not_depend_on_the_batch_or_on_dropout():
    net, (x, _) = network().train(), toy(30, 2)
    one, other = predict_logits(net, x), predict_logits(net, x, batch=7)
    assert one.shape == (30, 5)
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_normalisation_by_hand():
    x = np.array([[10.0, 12.0, 400.0, -400.0]], dtype=np.float32)
    scaled = Normalisation(10.0, 4.0)(x)
    np.testing.assert_allclose(scaled, [[0, 0.5 / 3, 1, -1]])
    assert scaled.dtype == np.float32
    mean, sd = np.array([10, 10, 390, 0.0], dtype=np.float32), np.array([1, 2, 10, 1000.0], dtype=np.float32)
    np.testing.assert_allclose(Normalisation(mean, sd)(x), [[0, 1 / 3, 1 / 3, -0.4 / 3]], rtol=1e-6)


STEPS = """
import resource
import torch
from torch.nn import functional as F
from sleepkit.execution.jobs import settle
from sleepkit.genotype import random_genotype
from sleepkit.network.sleepnet import SleepNet

settle()
net, x, y = SleepNet(random_genotype(5, 0), 8, 7), torch.zeros(32, 1, 500), torch.zeros(32, dtype=torch.long)
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    F.cross_entropy(net(x), y).backward()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of the GNU C library")
def test_a_step_in_a_notebook_takes_no_new_memory():
    """Otherwise every step takes 12,000 pages. Some steps still grow the heap by a few thousand, hence the median."""
    steps = subprocess.run([sys.executable, "-c", STEPS], check=True, capture_output=True, text=True)
    assert np.median([int(pages) for pages in steps.stdout.split()][2:]) < 5000
