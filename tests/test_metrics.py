"""The scores of sleep staging, against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as reference

from sleepkit.epochs import STAGES
from sleepkit.metrics import (
    confusion,
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


def test_softmax_of_extreme_logits():
    logits = np.array([[1000.0, 0, 0, 0, 0], [1.0, 2, 3, 4, 5]])
    p = softmax(logits)
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_allclose(p[1], np.exp(logits[1]) / np.exp(logits[1]).sum())
    assert p[0, 0] == 1
