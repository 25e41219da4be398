"""The context of a night: a hidden Markov model over its epochs (method section 5; beyond the paper).

States are the stages. Transitions are counted on the training subjects' hypnograms. The emission of an epoch is the
network's probability divided by the stage's share of the training epochs, the class prior (Bayes' rule: proportional to
the likelihood of the signal).

The model takes the epochs of a stage for independent, which they are not: what makes a network doubt one epoch is there in
the next one, too. Where a whole night is smoothed, emissions are therefore raised to a power,
(p(stage | signal) / p(stage) ** rarity) ** weight, with a weight in (0, 1]. A network that is too sure calls rare stages
too often once it is divided by the class prior, so that the prior may count less: a rarity in [0, 1]. Validation subjects
choose both. Speech recognisers scale acoustic scores and priors for the same reasons.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from sleepkit.epochs import STAGES
from sleepkit.metrics import confusion, scores

# (50, 2) weights and rarities that `fit_powers` may choose from, and the ten where rarity counts in full; of equals the
# first is taken.
POWERS = np.array([*product(np.arange(10, 0, -1) / 10, (1, 0.75, 0.5, 0.25, 0))])
WEIGHTS = POWERS[POWERS[:, 1] == 1]


@dataclass(frozen=True)
class Context:
    """A fitted model.

    transition : (5, 5), rows the stage before;  prior : (5,), the share of each stage
    weight, rarity : powers of the emissions and of the prior in them when a whole night is smoothed; with the past
        alone both are 1, as half of the witnesses are missing
    """

    transition: np.ndarray
    prior: np.ndarray
    weight: float = 1.0
    rarity: float = 1.0


def fit_context(y, night):
    """Count transitions (plus one) and stages over training nights: y (n,) stages, night (n,) names, in the order of
    time."""
    k = len(STAGES)
    counts = np.ones((k, k))
    same_night = night[1:] == night[:-1]
    np.add.at(counts, (y[:-1][same_night], y[1:][same_night]), 1)
    share = np.bincount(y, minlength=k) + 1
    return Context(counts / counts.sum(1, keepdims=True), share / share.sum())


def fit_powers(context, probabilities, y, night, powers=POWERS):
    """The context with those of `powers` that give the highest sum of accuracy and macro-F1 on validation nights.

    probabilities : (n, 5) of a network that was not trained on these nights;  y (n,), night (n,) : as `fit_context`
    powers : POWERS, or WEIGHTS where rarity is to count in full
    """
    predicted = np.empty((len(powers), len(y)), dtype=int)
    weight, rarity = powers.T[:, :, None, None]
    for name in sorted(set(night.tolist())):
        rows = night == name
        likelihood = _likelihood(probabilities[rows], context, weight, rarity)
        predicted[:, rows] = _both_ways(likelihood, context).argmax(axis=-1)
    found = [scores(confusion(y, one)) for one in predicted]
    weight, rarity = powers[np.argmax([score["acc"] + score["mf1"] for score in found])].tolist()
    return replace(context, weight=weight, rarity=rarity)


def smooth(probabilities, context, forward_only=False):
    """Posterior of the stages given the network's probabilities of one night: (n, 5) -> (n, 5).

    forward_only : use each epoch's past alone, as when staging in real time; otherwise the forward-backward posterior
    """
    if forward_only:
        return _forward(_likelihood(probabilities, context), context)
    return _both_ways(_likelihood(probabilities, context, context.weight, context.rarity), context)


def smooth_nights(probabilities, night, context, forward_only=False):
    """`smooth` applied to every night of an array of nights: (n, 5), (n,) -> (n, 5)."""
    smoothed = np.empty(probabilities.shape)
    for name in sorted(set(night.tolist())):
        rows = night == name
        smoothed[rows] = smooth(probabilities[rows], context, forward_only)
    return smoothed


def advance(belief, probabilities, context):
    """One epoch of the forward pass, for staging in real time.

    belief : (5,) posterior after the epoch before, None before the first;  probabilities : (5,) of the network
    returns (5,) posterior of this epoch given all up to it
    """
    return _step(belief, _likelihood(probabilities, context), context)


def _likelihood(probabilities, context, weight=1, rarity=1):
    """Of the signal, up to a factor per epoch: (..., 5) -> (..., 5), the largest of each epoch 1. Weight and rarity
    broadcast."""
    likelihood = np.asarray(probabilities, dtype=float) / context.prior**rarity
    return (likelihood / likelihood.max(axis=-1, keepdims=True)) ** weight


def _both_ways(likelihood, context):
    """Forward-backward posterior of one night, or of several versions of it at once: (..., n, 5) -> (..., n, 5)."""
    backward = np.ones_like(likelihood)
    for t in range(likelihood.shape[-2] - 2, -1, -1):
        message = (likelihood[..., t + 1, :] * backward[..., t + 1, :]) @ context.transition.T
        backward[..., t, :] = message / message.max(axis=-1, keepdims=True)
    posterior = _forward(likelihood, context) * backward
    return posterior / posterior.sum(axis=-1, keepdims=True)


def _forward(likelihood, context):
    forward = np.empty_like(likelihood)
    belief = None
    for t in range(likelihood.shape[-2]):
        forward[..., t, :] = belief = _step(belief, likelihood[..., t, :], context)
    return forward


def _step(belief, emission, context):
    predicted = context.prior if belief is None else belief @ context.transition
    belief = predicted * emission + 1e-300  # a network that is certain of the impossible must not end in 0 / 0
    return belief / belief.sum(axis=-1, keepdims=True)
