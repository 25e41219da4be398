"""The scores of sleep staging, against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as reference

from sleepkit.epochs import STAGES
from sleepkit.metrics import (
    confusion,
    confusion_differences,
    group_confusions,
    per_class,
    scores,
    softmax,
)


def labels(seed, n=300):
    random = np.random.default_rng(seed)
    y = random.choice(5, n, p=(0.3, 0.05, 0.4, 0.1, 0.15))
    return y, np.where(random.random(n) < 0.6, y, random.integers(0, 5, n))


def without_stage(seed, stage):
    y, predicted = labels(seed)
    rows = (y != stage) & (predicted != stage)
    return y[rows], predicted[rows]


CASES = [
    *(labels(seed) for seed in range(4)),
    without_stage(5, 1),
    without_stage(6, 4),
    (np.zeros(9, int), np.arange(9) % 5),
]
CASES += [(labels(7)[0], np.full(300, 2)), (np.arange(5), np.arange(5))]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_scores_equal_those_of_scikit_learn(case):
    y, predicted = case
    matrix, every = confusion(y, predicted), range(5)
    np.testing.assert_array_equal(matrix, reference.confusion_matrix(y, predicted, labels=every))
    ours = scores(matrix)
    assert ours["acc"] == pytest.approx(reference.accuracy_score(y, predicted))
    assert ours["mf1"] == pytest.approx(
        reference.f1_score(y, predicted, labels=every, average="macro", zero_division=0)
    )
    assert ours["kappa"] == pytest.approx(reference.cohen_kappa_score(y, predicted, labels=every))
    precision, recall, f1, _ = reference.precision_recall_fscore_support(y, predicted, labels=every, zero_division=0)
    frame = per_class(matrix)
    assert tuple(frame["stage"]) == STAGES
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        np.testing.assert_allclose(frame[name], values, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_gmean_of_sensitivity_and_specificity(case):
    y, predicted = case
    plain = []
    for k in range(5):
        sensitivity = (predicted[y == k] == k).mean() if (y == k).any() else 0
        specificity = (predicted[y != k] != k).mean() if (y != k).any() else 0
        plain.append((sensitivity * specificity) ** 0.5)
    matrix = confusion(y, predicted)
    np.testing.assert_allclose(per_class(matrix)["gmean"], plain)
    assert scores(matrix)["mgm"] == pytest.approx(np.mean(plain))


def test_rows_are_the_true_stage():
    assert confusion([0, 0, 1], [0, 3, 1])[0].tolist() == [1, 0, 0, 1, 0]


def test_agreement_that_chance_alone_explains_is_zero():
    assert scores(confusion([2, 2], [2, 2]))["kappa"] == 0


def test_many_matrices_at_once_score_as_one_by_one():
    matrices = np.stack([confusion(*case) for case in CASES])
    together = scores(matrices.reshape(3, 3, 5, 5))
    for key, values in together.items():
        np.testing.assert_allclose(values.ravel(), [scores(matrix)[key] for matrix in matrices])


def test_confusion_of_every_subject():
    y, predicted = labels(1)
    subject = np.random.default_rng(2).choice([14, 3, 77], len(y))
    ours = group_confusions(y, predicted, subject)
    plain = [reference.confusion_matrix(y[subject == s], predicted[subject == s], labels=range(5)) for s in (3, 14, 77)]
    np.testing.assert_array_equal(ours, plain)


# Differences paired by subject


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


def test_softmax_of_extreme_logits():
    logits = np.array([[1000.0, 0, 0, 0, 0], [1.0, 2, 3, 4, 5]])
    p = softmax(logits)
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_allclose(p[1], np.exp(logits[1]) / np.exp(logits[1]).sum())
    assert p[0, 0] == 1
