"""From labels and probabilities to the numbers that sleep staging reports. Confusion matrices have the true stage in
rows."""

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES


def confusion(y, predicted):
    """(5, 5) int, rows the true stage, columns the predicted one; y and predicted (n,) positions in STAGES."""
    k = len(STAGES)
    return np.bincount(np.asarray(y) * k + np.asarray(predicted), minlength=k * k).reshape(k, k)


def per_class(matrix):
    """Data frame with a row per stage: precision, recall, f1 and gmean = sqrt(sensitivity * specificity).

    A ratio without cases (a stage that never occurs, or is never predicted) counts as 0, as in scikit-learn.
    """
    matrix = np.asarray(matrix, dtype=float)
    hits, true, predicted, n = matrix.diagonal(), matrix.sum(1), matrix.sum(0), matrix.sum()
    recall, precision = _ratio(hits, true), _ratio(hits, predicted)
    specificity = _ratio(n - true - predicted + hits, n - true)
    return pd.DataFrame(
        {
            "stage": STAGES,
            "precision": precision,
            "recall": recall,
            "f1": _ratio(2 * hits, true + predicted),
            "gmean": np.sqrt(recall * specificity),
        }
    )


def scores(matrix):
    """Accuracy, macro-F1, Cohen's kappa and MGm (mean over stages of the G-mean) of a confusion matrix, as a dict of
    fractions."""
    matrix = np.asarray(matrix, dtype=float)
    n = matrix.sum()
    by_class = per_class(matrix)
    agreement = matrix.trace() / n
    chance = (matrix.sum(0) * matrix.sum(1)).sum() / n**2
    return {
        "acc": agreement,
        "mf1": by_class["f1"].mean(),
        "kappa": (agreement - chance) / (1 - chance) if chance < 1 else 0.0,
        "mgm": by_class["gmean"].mean(),
    }


def _ratio(numerator, denominator):
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)
