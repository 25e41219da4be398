"""The scores that sleep staging reports. Confusion matrices have the true stage in rows."""

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES

# The cells of a confusion matrix as the columns of a table: true stage, predicted stage.
CELLS = [f"{true}_{predicted}" for true in STAGES for predicted in STAGES]


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


def _by_class(matrix):
    """The figures of each stage: (..., 5, 5) -> a dict of (..., 5)."""
    hits, true, predicted = matrix.diagonal(axis1=-2, axis2=-1), matrix.sum(-1), matrix.sum(-2)
    n = matrix.sum((-2, -1))[..., None]
    recall, specificity = _ratio(hits, true), _ratio(n - true - predicted + hits, n - true)
    found = {"precision": _ratio(hits, predicted), "recall": recall, "f1": _ratio(2 * hits, true + predicted)}
    return found | {"gmean": np.sqrt(recall * specificity)}


def _ratio(numerator, denominator):
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0)
