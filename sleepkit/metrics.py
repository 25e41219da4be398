"""The scores that sleep staging reports. Confusion matrices have the true stage in rows."""

from functools import lru_cache
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
    """Data frame with a row per stage: precision, recall, f1 and gmean = sqrt(sensitivity * specificity); as in
    scikit-learn 0 where there are no cases."""
    return pd.DataFrame({"stage": STAGES, **_by_class(np.asarray(matrix, dtype=float))})


def scores(matrix):
    """Accuracy, macro-F1, Cohen's kappa and MGm (mean G-mean of the stages): (..., 5, 5) -> a dict of (...)."""
    matrix = np.asarray(matrix, dtype=float)
    n = matrix.sum((-2, -1))
    by_class = _by_class(matrix)
    agreement = matrix.trace(axis1=-2, axis2=-1) / n
    chance = (matrix.sum(-2) * matrix.sum(-1)).sum(-1) / n**2
    kappa = _ratio(agreement - chance, 1 - chance)[()]  # where chance explains all agreement: 0
    return {"acc": agreement, "mf1": by_class["f1"].mean(-1), "kappa": kappa, "mgm": by_class["gmean"].mean(-1)}


def confusion_differences(a, b, seed, n=10_000):
    """How much the pooled scores of `a` lie above those of `b`, paired by subject: a dict of Difference, as `scores`.

    a, b : confusion matrices of the same subjects in the same order, (seeds, subjects, 5, 5)
    seed, n : of the percentile bootstrap, and its number of resamples. Subjects are drawn with replacement, the same
        ones for both sides and all seeds, their matrices summed and scored.
    """
    subjects = a.shape[1]
    if b.shape[1] != subjects:
        raise ValueError(f"{subjects} subjects against {b.shape[1]}: a paired difference needs the same ones")
    times = np.ones((1, subjects)), _draws(subjects, seed, n)
    (mean, of_a), (other_mean, of_b) = ([_pooled(side, each) for each in times] for side in (a, b))
    found = {}
    for metric in mean:
        ends = np.percentile(of_a[metric] - of_b[metric], (2.5, 97.5)).tolist()
        found[metric] = Difference(float(mean[metric][0] - other_mean[metric][0]), *ends)
    return found


@lru_cache(maxsize=2)  # many differences are of the same subjects
def _draws(subjects, seed, n):
    """How often each subject is drawn in each of n resamples, (n, subjects)."""
    return np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), size=n)


def _pooled(matrices, times):
    """Mean scores over seeds, subjects counted `times`: (seeds, subjects, 5, 5), (n, subjects) -> a dict of (n,)."""
    summed = np.einsum("ns,ksij->nkij", times, matrices, optimize=True)
    return {metric: values.mean(axis=1) for metric, values in scores(summed).items()}


def _by_class(matrix):
    """The figures of each stage: (..., 5, 5) -> a dict of (..., 5)."""
    hits, true, predicted = matrix.diagonal(axis1=-2, axis2=-1), matrix.sum(-1), matrix.sum(-2)
    n = matrix.sum((-2, -1))[..., None]
    recall, specificity = _ratio(hits, true), _ratio(n - true - predicted + hits, n - true)
    found = {"precision": _ratio(hits, predicted), "recall": recall, "f1": _ratio(2 * hits, true + predicted)}
    return found | {"gmean": np.sqrt(recall * specificity)}


def _ratio(numerator, denominator):
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0)
