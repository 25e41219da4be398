"""Paired differences against a plain bootstrap with scikit-learn's scores."""

import numpy as np
import pytest
from sklearn import metrics as reference

from sleepkit.experiments.differences import confusion_differences
from sleepkit.metrics import group_confusions


def night_shift(seed, subjects=8, per_subject=60):
    """Labels of subjects who differ in how hard they are, and two predictions of each."""
    random = np.random.default_rng(seed)
    subject = np.repeat(np.arange(subjects), per_subject)
    y = random.integers(0, 5, len(subject))
    hard = random.random(subjects)[subject]
    a, b = (np.where(random.random(len(y)) < 0.9 - 0.5 * hard - less, y, (y + 1) % 5) for less in (0, 0.08))
    return y, a, b, subject


def paired_difference(y, a, b, subject, metric, seed, n=10_000):
    """The difference of predictions, (epochs,) or (seeds, epochs), through the subjects' confusion matrices."""
    matrices = [[group_confusions(y, predicted, subject) for predicted in np.atleast_2d(each)] for each in (a, b)]
    return confusion_differences(*map(np.array, matrices), seed, n)[metric]


SCIKIT = {
    "acc": reference.accuracy_score,
    "mf1": lambda y, p: reference.f1_score(y, p, labels=range(5), average="macro", zero_division=0),
    "kappa": lambda y, p: reference.cohen_kappa_score(y, p, labels=range(5)),
}


@pytest.mark.parametrize("metric", SCIKIT)
def test_paired_difference_equals_a_plain_bootstrap(metric):
    """Epochs of the drawn subjects concatenated and scored by scikit-learn, draw by draw."""
    y, a, b, subject = night_shift(0)
    ours = paired_difference(y, a, b, subject, metric, seed=5, n=40)
    score, plain = SCIKIT[metric], []
    for times in np.random.default_rng(5).multinomial(8, [1 / 8] * 8, size=40):
        rows = np.concatenate([np.flatnonzero(subject == s) for s in range(8) for _ in range(times[s])])
        plain.append(score(y[rows], a[rows]) - score(y[rows], b[rows]))
    assert ours.mean == pytest.approx(score(y, a) - score(y, b))
    assert (ours.low, ours.high) == pytest.approx(tuple(np.percentile(plain, (2.5, 97.5))))
    assert ours.low < ours.mean < ours.high


def test_paired_difference_is_the_mean_over_seeds():
    y, a, b, subject = night_shift(1)
    other = night_shift(2)[1]
    several = paired_difference(y, np.stack([a, other]), b, subject, "acc", seed=0, n=50)
    single = [paired_difference(y, each, b, subject, "acc", seed=0, n=50).mean for each in (a, other)]
    assert several.mean == pytest.approx(np.mean(single))


def test_pairing_by_subject_is_narrower_than_resampling_either_side():
    """What makes a subject hard makes it hard for both; only what is left can tell them apart."""
    y, a, b, subject = night_shift(3, subjects=20)
    paired = paired_difference(y, a, b, subject, "acc", seed=0)
    random, draws = np.random.default_rng(0), []
    by_subject = [np.array([(p[subject == s] == y[subject == s]).mean() for s in range(20)]) for p in (a, b)]
    for _ in range(2000):
        one, other = (values[random.integers(0, 20, 20)].mean() for values in by_subject)
        draws.append(one - other)
    low, high = np.percentile(draws, (2.5, 97.5))
    assert paired.high - paired.low < 0.8 * (high - low)


def test_a_difference_from_itself_is_nothing_and_the_seed_decides_the_draws():
    y, a, b, subject = night_shift(4)
    assert paired_difference(y, a, a, subject, "mf1", seed=0, n=20) == (0, 0, 0)
    one, again, other = (paired_difference(y, a, b, subject, "mf1", seed=seed, n=20) for seed in (1, 1, 2))
    assert one == again != other


def test_other_subjects_are_refused():
    with pytest.raises(ValueError, match="3 subjects against 2"):
        confusion_differences(np.ones((1, 3, 5, 5)), np.ones((1, 2, 5, 5)), 0)
