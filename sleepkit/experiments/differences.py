"""Differences of two networks' scores, paired by subject."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sleepkit.metrics import scores


class Difference(NamedTuple):
    """A difference of two pooled scores, mean over seeds, and the ends of its 95 % interval over subjects."""

    mean: float
    low: float
    high: float


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
