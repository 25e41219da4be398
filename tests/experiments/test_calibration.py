"""Calibration: the bins, the error and the temperature, against plain references."""

import numpy as np
import pytest
import torch

from sleepkit.experiments.calibration import expected_calibration_error, fit_temperature, reliability, temper


def case(seed, n=2000, sharp=1.0):
    """Stages drawn from softmax(logits), and probabilities `sharp` times as sure of themselves."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(n, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = np.array([random.choice(5, p=row) for row in p])
    q = np.exp(sharp * logits)
    return y, (q / q.sum(1, keepdims=True)).astype(np.float32)


def plain_ece(y, prob, bins):
    """Guo et al., equation 3, epoch by epoch."""
    error = 0.0
    for k in range(bins):
        inside = [i for i in range(len(y)) if k / bins < prob[i].max() <= (k + 1) / bins]
        if inside:
            right = np.mean([prob[i].argmax() == y[i] for i in inside])
            error += len(inside) / len(y) * abs(right - np.mean([prob[i].max() for i in inside]))
    return error


@pytest.mark.parametrize(("seed", "bins"), [(0, 15), (1, 15), (2, 4)])
def test_error_equals_the_plain_one(seed, bins):
    y, prob = case(seed, 400, sharp=2)
    assert expected_calibration_error(y, prob, bins) == pytest.approx(plain_ece(y, prob, bins), abs=1e-7)


def test_bins_cover_all_epochs_and_add_up_to_the_accuracy():
    y, prob = case(3)
    frame = reliability(y, prob)
    assert len(frame) == 15 and frame["n"].sum() == len(y)
    assert frame["low"].iloc[0] == 0 and frame["high"].iloc[-1] == 1
    np.testing.assert_allclose(frame["high"] - frame["low"], 1 / 15)
    filled = frame[frame["n"] > 0]
    assert (filled["n"] * filled["accuracy"]).sum() / len(y) == pytest.approx((prob.argmax(1) == y).mean())
    assert ((filled["confidence"] > filled["low"]) & (filled["confidence"] <= filled["high"] + 1e-6)).all()
    assert frame[frame["n"] == 0][["confidence", "accuracy"]].isna().all(axis=None)
    assert frame["n"][:3].tolist() == [0, 0, 0], "the largest of five probabilities is at least 1/5"


def test_certainty_falls_into_the_last_bin():
    y, prob = np.array([0, 1, 2]), np.eye(5)[[0, 1, 4]]
    assert reliability(y, prob)["n"].tolist() == [0] * 14 + [3]
    assert expected_calibration_error(y, prob) == pytest.approx(1 / 3)


@pytest.mark.parametrize("sharp", [0.5, 1.0, 3.0])
def test_temperature_undoes_what_made_it_too_sure(sharp):
    """Probabilities p^sharp have the true ones at temperature `sharp`; the error falls to that of the truth."""
    y, prob = case(4, 6000, sharp)
    temperature = fit_temperature(y, prob)
    assert temperature == pytest.approx(sharp, rel=0.08)
    after = expected_calibration_error(y, temper(prob, temperature))
    assert after < 0.03
    if sharp != 1:
        assert after < 0.5 * expected_calibration_error(y, prob)


def test_no_other_temperature_is_more_likely():
    y, prob = case(5, 500, 2.0)
    best = fit_temperature(y, prob)
    logits = torch.from_numpy(np.log(prob)).double()

    def loss(temperature):
        return float(torch.nn.functional.cross_entropy(logits / temperature, torch.from_numpy(y)))

    grid = np.geomspace(0.05, 20, 4001)
    assert loss(best) <= min(map(loss, grid)) + 1e-9


def test_temper_is_softmax_of_the_divided_logits_and_keeps_the_stage():
    random = np.random.default_rng(6)
    logits = torch.from_numpy(4 * random.normal(size=(50, 5)))
    prob = torch.softmax(logits, 1).numpy()
    np.testing.assert_allclose(temper(prob, 2.5), torch.softmax(logits / 2.5, 1).numpy(), atol=1e-7)
    np.testing.assert_allclose(temper(prob, 1), prob, atol=1e-7)
    np.testing.assert_array_equal(temper(prob, 0.3).argmax(1), prob.argmax(1))


def test_a_probability_of_zero_is_no_trouble():
    """float32 runs out of digits where a network is certain."""
    prob = np.eye(5, dtype=np.float32)[[0, 1, 2, 0]]
    temperature = fit_temperature(np.array([0, 1, 2, 3]), prob)
    assert 0.05 <= temperature <= 20
    assert np.isfinite(temper(prob, temperature)).all()
