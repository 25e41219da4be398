"""Hidden Markov smoothing, against the sum over all sequences of stages."""

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from sleepkit.evaluation.context import POWERS, Context, fit_context, fit_powers, smooth, smooth_nights


def some_context(seed=0, weight=1.0, rarity=1.0):
    random = np.random.default_rng(seed)
    return Context(random.dirichlet(np.ones(5), 5), random.dirichlet(np.ones(5)), weight, rarity)


def some_probabilities(n, seed=1):
    return np.random.default_rng(seed).dirichlet(np.ones(5), n)


def by_enumeration(probabilities, context, weight=1.0, rarity=1.0):
    """Posterior of every epoch's stage from the joint probability of all 5 ** n sequences."""
    n = len(probabilities)
    posterior = np.zeros((n, 5))
    for path in product(range(5), repeat=n):
        joint = 1.0
        for t, stage in enumerate(path):
            joint *= context.prior[stage] if t == 0 else context.transition[path[t - 1], stage]
            joint *= (probabilities[t, stage] / context.prior[stage] ** rarity) ** weight
        posterior[np.arange(n), path] += joint
    return posterior / posterior.sum(1, keepdims=True)


@pytest.mark.parametrize("weight, rarity", [(1.0, 1.0), (0.3, 1.0), (1.0, 0.0), (0.6, 0.5)])
@pytest.mark.parametrize("seed", range(3))
def test_both_directions_equal_the_sum_over_all_sequences(seed, weight, rarity):
    context, probabilities = some_context(seed, weight, rarity), some_probabilities(5, seed)
    expected = by_enumeration(probabilities, context, weight, rarity)
    np.testing.assert_allclose(smooth(probabilities, context), expected, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_forward_only_is_the_posterior_given_the_past(seed):
    """... in which emissions count in full, whatever their powers in a whole night."""
    context, probabilities = some_context(seed, weight=0.3, rarity=0.5), some_probabilities(5, seed)
    past = [by_enumeration(probabilities[: t + 1], context)[-1] for t in range(5)]
    np.testing.assert_allclose(smooth(probabilities, context, forward_only=True), past, rtol=1e-10)


def test_forward_only_uses_the_past_alone():
    context, probabilities = some_context(), some_probabilities(30)
    other = probabilities.copy()
    other[20:] = some_probabilities(10, 5)
    one, two = (smooth(p, context, forward_only=True) for p in (probabilities, other))
    np.testing.assert_array_equal(one[:20], two[:20])
    assert np.abs(one[20] - two[20]).max() > 1e-3
    assert np.abs(smooth(probabilities, context)[19] - smooth(other, context)[19]).max() > 1e-3


def test_the_first_epoch_alone_is_what_the_network_says():
    context, probabilities = some_context(), some_probabilities(1)
    np.testing.assert_allclose(smooth(probabilities, context), probabilities)


def test_long_nights_and_certain_networks_stay_finite():
    sure = np.eye(5)[np.random.default_rng(0).integers(0, 5, 3000)]
    transition = np.full((5, 5), 1e-9) + np.eye(5) * (1 - 5e-9)
    for forward_only in (True, False):
        smoothed = smooth(sure, Context(transition, np.full(5, 0.2)), forward_only)
        assert np.isfinite(smoothed).all()
        np.testing.assert_allclose(smoothed.sum(1), 1)


def test_counts_stop_at_the_end_of_a_night():
    y = np.array([0, 0, 1, 2, 2, 0])
    night = np.array(["A", "A", "A", "B", "B", "B"])
    context = fit_context(y, night)
    counts = np.ones((5, 5))
    for one, other in ((0, 0), (0, 1), (2, 2), (2, 0)):  # not (1, 2), which spans two nights
        counts[one, other] += 1
    np.testing.assert_allclose(context.transition, counts / counts.sum(1, keepdims=True))
    np.testing.assert_allclose(context.prior, np.array([4, 2, 3, 1, 1]) / 11)


def test_nights_are_smoothed_one_by_one_in_any_order():
    context, probabilities = some_context(), some_probabilities(12)
    night = np.array(["B"] * 4 + ["A"] * 8)
    together = smooth_nights(probabilities, night, context)
    np.testing.assert_allclose(together[:4], smooth(probabilities[:4], context), rtol=1e-12)
    np.testing.assert_allclose(together[4:], smooth(probabilities[4:], context), rtol=1e-12)
    assert np.abs(together - smooth(probabilities, context)).max() > 1e-3


def test_context_helps_where_stages_last():
    """A sticky chain seen through a noisy network: the past helps, the future helps more."""
    random = np.random.default_rng(0)
    transition = np.full((5, 5), 0.02) + 0.9 * np.eye(5)
    y = [0]
    for _ in range(2000):
        y.append(random.choice(5, p=transition[y[-1]]))
    y = np.array(y)
    noisy = random.dirichlet(np.ones(5), len(y)) + 0.4 * np.eye(5)[y]
    noisy /= noisy.sum(1, keepdims=True)
    context = fit_context(y, np.full(len(y), "A"))
    alone, past, both = (
        (p.argmax(1) == y).mean() for p in (noisy, smooth(noisy, context, forward_only=True), smooth(noisy, context))
    )
    assert alone + 0.02 < past < both - 0.01


def one_night(seed, persistent):
    """A sticky chain of 3000 epochs and a network whose doubts are new in every epoch, or last for ten of them."""
    random = np.random.default_rng(seed)
    transition = np.full((5, 5), 0.01) + 0.95 * np.eye(5)
    y = [0]
    while len(y) < 3000:
        y.append(random.choice(5, p=transition[y[-1]]))
    y = np.array(y)
    doubt = random.normal(size=(300, 5)).repeat(10, axis=0) if persistent else random.normal(size=(3000, 5))
    exp = np.exp(2 * np.eye(5)[y] + 1.5 * doubt)
    return exp / exp.sum(1, keepdims=True), y, np.full(3000, "A")


def test_the_powers_are_those_of_the_best_accuracy_and_macro_f1():
    probabilities, y, night = one_night(0, persistent=True)
    context = fit_context(y, night)
    found = []
    for powers in POWERS:
        smoothed = smooth(probabilities, Context(context.transition, context.prior, *powers)).argmax(1)
        found.append(accuracy_score(y, smoothed) + f1_score(y, smoothed, average="macro"))
    fitted = fit_powers(context, probabilities, y, night)
    assert [fitted.weight, fitted.rarity] == POWERS[np.argmax(found)].tolist()
    np.testing.assert_array_equal(fitted.transition, context.transition)


def test_witnesses_that_agree_count_less():
    """Where doubts last, a weight well below 1 is found on one night and helps on another; where they do not, it
    costs less than a percent to look for one."""
    for persistent in (True, False):
        probabilities, y, night = one_night(0, persistent)
        plain = fit_context(y, night)
        fitted = fit_powers(plain, probabilities, y, night)
        other, y, _ = one_night(1, persistent)
        gain = (smooth(other, fitted).argmax(1) == y).mean() - (smooth(other, plain).argmax(1) == y).mean()
        assert (fitted.weight <= 0.5 and gain > 0.02) if persistent else gain > -0.01, (persistent, fitted.weight, gain)


def test_a_network_that_is_too_sure_of_rare_stages_keeps_part_of_the_prior():
    """One that doubles the odds of a rare stage gains by a rarity below 1, on the night that chose it and on another;
    one that is calibrated loses less than a percent."""
    for factor in (8.0, 1.0):
        nights = []
        for seed in (0, 1):
            random = np.random.default_rng(seed)
            transition = np.array([0.4, 0.05, 0.4, 0.1, 0.05]) * 0.1 + 0.9 * np.eye(5)
            y = [0]
            while len(y) < 3000:
                y.append(random.choice(5, p=transition[y[-1]]))
            signal = np.eye(5)[y] + 0.8 * random.normal(size=(3000, 5))
            share = np.bincount(y, minlength=5) / len(y)
            odds = share * np.exp(signal / 0.64) * np.array([1, factor, 1, 1, factor])
            nights.append((odds / odds.sum(1, keepdims=True), np.array(y)))
        (probabilities, y), (others, other) = nights
        plain = fit_context(y, np.full(3000, "A"))
        fitted = fit_powers(plain, probabilities, y, np.full(3000, "A"))
        gain = (smooth(others, fitted).argmax(1) == other).mean() - (smooth(others, plain).argmax(1) == other).mean()
        assert (fitted.rarity < 1 and gain > 0.01) if factor > 1 else gain > -0.01, (factor, fitted, gain)
