"""The context of a night: a hidden Markov model over its epochs (method section 5; beyond the paper).

States are the stages. Transitions are counted on the training subjects' hypnograms. The emission of an epoch is the
network's probability divided by the class prior, the stage's share of the training epochs (Bayes' rule).

The model takes epochs for independent, but what makes a network doubt one epoch is often there in the next one, too.
Over a whole night emissions are therefore (p(stage | signal) / p(stage) ** rarity) ** weight, with a weight in (0, 1].
A network that is too sure calls rare stages too often once it is divided by the prior: hence a rarity in [0, 1].
Validation subjects choose both. Speech recognisers scale acoustic scores and priors for the same reasons.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from sleepkit.epochs import STAGES
from sleepkit.metrics import confusion, scores

# (50, 2) weights and rarities to choose from, of equals the first; and the ten where the prior counts in full.
POWERS = np.array([*product(np.arange(10, 0, -1) / 10, (1, 0.75, 0.5, 0.25, 0))])
WEIGHTS = POWERS[POWERS[:, 1] == 1]


@dataclass(frozen=True)
class Context:
    """A fitted model. The powers count when a whole night is smoothed; with the past alone both are 1."""

    transition: np.ndarray  # (5, 5), rows the stage before
    prior: np.ndarray  # (5,), the share of each stage
    weight: float = 1.0  # power of the emissions
    rarity: float = 1.0  # power of the prior in them


def fit_context(y, night):
    """Count transitions and stages (plus one each) of nights: y (n,) stages, night (n,) names, in order of time."""
    same_night = night[1:] == night[:-1]
    counts = confusion(y[:-1][same_night], y[1:][same_night]) + 1
    share = np.bincount(y, minlength=len(STAGES)) + 1
    return Context(counts / counts.sum(1, keepdims=True), share / share.sum())


def fit_powers(context, probabilities, y, night, powers=POWERS):
    """The context with those of `powers` that give the highest sum of accuracy and macro-F1 on validation nights.
    probabilities : (n, 5) of a network that was not trained on these nights;  y, night : as `fit_context`"""
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
    """Forward-backward posterior of the stages from the network's probabilities of one night: (n, 5) -> (n, 5).
    forward_only : given each epoch's past alone, as when staging in real time"""
    if forward_only:
        return _forward(_likelihood(probabilities, context), context)
    return _both_ways(_likelihood(probabilities, context, context.weight, context.rarity), context)


def smooth_nights(probabilities, night, context, forward_only=False):
    """`smooth` applied to every night of an array of nights: (n, 5), (n,) -> (n, 5)."""
    if forward_only:
        return _by_night(_forward, _likelihood(probabilities, context), night, context)
    return _by_night(_both_ways, _likelihood(probabilities, context, context.weight, context.rarity), night, context)


def _by_night(posterior, likelihood, night, context):
    """`posterior`, _both_ways or _forward, of every night, all nights side by side: (n, 5) -> (n, 5)."""
    nights = [np.flatnonzero(night == name) for name in sorted(set(night.tolist()))]
    together = np.ones((len(nights), max(map(len, nights), default=0), likelihood.shape[1]))
    for number, rows in enumerate(nights):
        together[number, : len(rows)] = likelihood[rows]  # what follows a night's end says nothing
    smoothed, together = np.empty(likelihood.shape), posterior(together, context)
    for number, rows in enumerate(nights):
        smoothed[rows] = together[number, : len(rows)]
    return smoothed


def advance(belief, probabilities, context):
    """One epoch of the forward pass: (5,) posterior of the epoch given all up to it.
    belief : (5,) posterior of the epoch before, None for the first;  probabilities : (5,) of the network"""
    return _forward(_likelihood(probabilities, context)[None], context, belief)[0]


def _likelihood(probabilities, context, weight=1, rarity=1):
    """Of the signal, the largest of each epoch 1: (..., 5) -> (..., 5). Weight and rarity broadcast."""
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


def _forward(likelihood, context, belief=None):
    forward = np.empty_like(likelihood)
    for t in range(likelihood.shape[-2]):
        predicted = context.prior if belief is None else belief @ context.transition
        belief = predicted * likelihood[..., t, :] + 1e-300  # certain of the impossible: must not end in 0 / 0
        forward[..., t, :] = belief = belief / belief.sum(axis=-1, keepdims=True)
    return forward
