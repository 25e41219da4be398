"""Whether a network is as often right as it says: reliability of its probabilities, and temperature scaling (Guo et
al. 2017, arXiv 1706.04599)."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from sleepkit.metrics import softmax

BINS = 15


def reliability(y, prob, bins=BINS):
    """Data frame bin, low, high, n, confidence, accuracy: epochs by the probability of the stage they are given.
    y : (n,) stages;  prob : (n, 5);  bins (low, high] of equal width; confidence and accuracy are NaN in empty ones"""
    edges, confidence = np.linspace(0, 1, bins + 1), prob.max(axis=1)
    place = np.digitize(confidence, edges[1:-1], right=True)
    n = np.bincount(place, minlength=bins)
    frame = pd.DataFrame({"bin": range(bins), "low": edges[:-1], "high": edges[1:], "n": n})
    for name, values in (("confidence", confidence), ("accuracy", prob.argmax(axis=1) == y)):
        frame[name] = np.divide(np.bincount(place, values, bins), n, out=np.full(bins, np.nan), where=n > 0)
    return frame


def expected_calibration_error(y, prob, bins=BINS):
    """Mean distance of accuracy from confidence over the bins of `reliability`, weighted by their epochs."""
    frame = reliability(y, prob, bins)
    return float((frame["n"] * (frame["accuracy"] - frame["confidence"]).abs()).sum() / frame["n"].sum())


def temper(prob, temperature):
    """Probabilities at another temperature: (n, 5) -> (n, 5). Logits are log p but for what softmax forgets."""
    return softmax(np.log(np.maximum(prob.astype(np.float64), 1e-30)) / temperature)


def fit_temperature(y, prob):
    """The temperature, between 1/20 and 20, at which the probabilities make the stages most likely; there is one peak.
    y : (n,) stages, prob : (n, 5), of epochs that neither trained nor test the network"""

    def loss(inverse):
        return -np.log(np.maximum(temper(prob, 1 / inverse)[np.arange(len(y)), y], 1e-300)).mean()

    return float(1 / minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-6}).x)
