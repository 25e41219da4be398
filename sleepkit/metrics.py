"""From labels and probabilities to the numbers that sleep staging reports. Confusion matrices have the true stage in
rows."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES

# The cells of a confusion matrix as the columns of a table: true stage, predicted stage.
CELLS = [f"{true}_{predicted}" for true in STAGES for predicted in STAGES]


class Difference(NamedTuple):
    """A difference of two pooled scores, mean over seeds, and the ends of its 95 % interval over subjects."""

    mean: float
    low: float
    high: float


def softmax(logits):
    """(n, 5) logits -> (n, 5) probabilities, arrays."""
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def confusion(y, predicted):
    """(5, 5) int, rows the true stage, columns the predicted one; y and predicted (n,) positions in STAGES."""
    k = len(STAGES)
    return np.bincount(np.asarray(y) * k + np.asarray(predicted), minlength=k * k).reshape(k, k)


def group_confusions(y, predicted, group):
    """Confusion matrix of every subject, or every night, in increasing order: (n,), (n,), (n,) -> (groups, 5, 5)."""
    k = len(STAGES)
    present, position = np.unique(group, return_inverse=True)
    cells = (position * k + np.asarray(y)) * k + np.asarray(predicted)
    return np.bincount(cells, minlength=len(present) * k * k).reshape(-1, k, k)


def per_class(matrix):
    """Data frame with a row per stage: precision, recall, f1 and gmean = sqrt(sensitivity * specificity).

    A ratio without cases (a stage that never occurs, or is never predicted) counts as 0, as in scikit-learn.
    """
    return pd.DataFrame({"stage": STAGES, **_by_class(np.asarray(matrix, dtype=float))})


def scores(matrix):
    """Accuracy, macro-F1, Cohen's kappa and MGm (mean over stages of the G-mean) of a confusion matrix, as a dict of
    fractions; of many at once, (..., 5, 5), a dict of arrays (...)."""
    matrix = np.asarray(matrix, dtype=float)
    n = matrix.sum((-2, -1))
    by_class = _by_class(matrix)
    agreement = matrix.trace(axis1=-2, axis2=-1) / n
    chance = (matrix.sum(-2) * matrix.sum(-1)).sum(-1) / n**2
    return {
        "acc": agreement,
        "mf1": by_class["f1"].mean(-1),
        "kappa": _ratio(agreement - chance, 1 - chance)[()],  # where chance explains all agreement: 0
        "mgm": by_class["gmean"].mean(-1),
    }


def confusion_differences(a, b, seed, n=10_000):
    """How much the pooled scores of predictions `a` lie above those of `b` on the same epochs, paired by subject.

    a, b : the subjects' confusion matrices, (seeds, subjects, 5, 5) each, for the same subjects in the same order
    seed, n : of the bootstrap, and its number of resamples
    returns a dict, from the keys of `scores` to a Difference
    Subjects are drawn with replacement, the same ones for both sides and all seeds, their matrices summed and scored;
    the interval runs from the 2.5th to the 97.5th percentile of the differences (percentile bootstrap).
    """
    subjects = a.shape[1]
    if b.shape[1] != subjects:
        raise ValueError(f"{subjects} subjects against {b.shape[1]}: a paired difference needs the same ones")
    once = np.ones((1, subjects))
    draws = np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), size=n)
    (mean, of_a), (other_mean, of_b) = ([_pooled(side, times) for times in (once, draws)] for side in (a, b))
    found = {}
    for metric in mean:
        low, high = np.percentile(of_a[metric] - of_b[metric], (2.5, 97.5))
        found[metric] = Difference(float(mean[metric][0] - other_mean[metric][0]), float(low), float(high))
    return found


def _pooled(matrices, times):
    """Scores of the subjects' matrices pooled with multiplicities, mean over seeds: (seeds, subjects, 5, 5),
    (n, subjects) -> a dict of (n,)."""
    summed = np.einsum("ns,ksij->nkij", times, matrices, optimize=True)
    return {metric: values.mean(axis=1) for metric, values in scores(summed).items()}


def _by_class(matrix):
    """Dict of the figures of each stage, from confusion matrices (..., 5, 5) to arrays (..., 5)."""
    hits, true, predicted = matrix.diagonal(axis1=-2, axis2=-1), matrix.sum(-1), matrix.sum(-2)
    n = matrix.sum((-2, -1))[..., None]
    recall = _ratio(hits, true)
    specificity = _ratio(n - true - predicted + hits, n - true)
    return {
        "precision": _ratio(hits, predicted),
        "recall": recall,
        "f1": _ratio(2 * hits, true + predicted),
        "gmean": np.sqrt(recall * specificity),
    }


def _ratio(numerator, denominator):
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0)
