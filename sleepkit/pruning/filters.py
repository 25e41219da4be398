"""Filter pruning by information capacity and independence (method section 3; after Tang et al. 2023, arXiv 2303.03645).

A filter is worth keeping when it carries information (its kernels differ in strength) and when no other filter of its
layer points the same way. Tied channels leave together; what comes back is a smaller network.
"""

import copy

import numpy as np
import pandas as pd
import torch
from torch import nn

from sleepkit.pruning.tied_sets import remove_channels, tied_sets


def capacity(weight):
    """Information capacity of every filter of a conv layer, bit: entropy of its strength over the input channels.

    weight : (filters, inputs, taps) -> (filters,), -sum_i p_ji log2 p_ji with p_ji = |K_ji| / sum_i |K_ji|, K_ji the
    kernel of filter j on input i (method section 3, step 2). With a single input channel (depthwise filters, the stem)
    that would be 0; there p runs over the magnitudes of the taps instead.
    """
    strength = np.abs(weight[:, 0]) if weight.shape[1] == 1 else np.linalg.norm(weight, axis=2)
    total = strength.sum(axis=1, keepdims=True)
    p = np.divide(strength, total, out=np.zeros_like(strength), where=total > 0)
    return -(p * np.log2(p, out=np.zeros_like(p), where=p > 0)).sum(axis=1)


def independence(weight):
    """Mean 1 - |cosine| of every filter to its layer's others, 0 for one: (filters, inputs, taps) -> (filters,)."""
    flat = weight.reshape(len(weight), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 0)
    distance = 1 - np.abs(unit @ unit.T)
    np.fill_diagonal(distance, 0)
    return distance.sum(axis=1) / max(len(weight) - 1, 1)


def importance(weight, balance=0.5):
    """Importance of every filter of one conv layer: balance * capacity + (1 - balance) * independence, both scaled.

    weight : (filters, inputs, taps) -> data frame with columns capacity, independence, importance
    Scaled to [0, 1], min-max within the layer; a constant layer and a single filter give 0.5, a zero kernel 0 (method
    section 3, step 4).
    """
    found = {"capacity": capacity(weight), "independence": independence(weight)}
    nonzero = np.abs(weight).sum(axis=(1, 2)) > 0
    mixed = balance * _scaled(found["capacity"], nonzero) + (1 - balance) * _scaled(found["independence"], nonzero)
    return pd.DataFrame(found | {"importance": np.where(nonzero, mixed, 0.0)})


def _scaled(values, among):
    """Values less the smallest, by the range, of those `among` which it is taken; 0.5 where these are alike."""
    low, high = (values[among].min(), values[among].max()) if among.any() else (0, 0)
    return (values - low) / (high - low) if high - low > 1e-12 else np.full(len(values), 0.5)


def filter_scores(net, balance=0.5):
    """One row per filter of every conv layer: layer, filter, capacity (bit), independence, importance."""
    return _score_layers(net, lambda weight: importance(weight, balance))


def l1_scores(net):
    """For comparison: importance of a filter = sum of its weights' magnitudes, scaled by its layer's largest."""
    frame = _score_layers(net, lambda weight: pd.DataFrame({"importance": np.abs(weight).sum(axis=(1, 2))}))
    frame["importance"] /= frame.groupby("layer")["importance"].transform("max").clip(lower=1e-30)
    return frame


def random_scores(net, seed):
    """For comparison: importance drawn at random."""
    generator = np.random.default_rng(seed)
    return _score_layers(net, lambda weight: pd.DataFrame({"importance": generator.random(len(weight))}))


def kept_channels(net, scores, ratio):
    """The channels of every tied set that stay: (TiedSet, (width,) importance, sorted kept positions).

    Importance is the mean over the tied filters. max(1, floor((1 - ratio) * width)) channels stay; ties: lower index.
    """
    importance_of = {layer: rows["importance"].to_numpy() for layer, rows in scores.groupby("layer")}
    chosen = []
    for tied in tied_sets(net):
        total, terms = np.zeros((2, tied.width))
        for layer, first in tied.producers + tied.readers:
            values = importance_of[layer]
            total[first : first + len(values)] += values
            terms[first : first + len(values)] += 1
        mean = total / terms
        chosen.append((tied, mean, np.sort(_by_rank(mean, ratio, least=1)[0])))
    return chosen


def _by_rank(values, ratio, least=0):
    """Positions of the filters that stay, highest values first, and of the share `ratio` that goes."""
    kept = max(least, int((1 - ratio) * len(values) + 1e-9))  # (1 - 0.8) * 10 comes out below 2
    return np.split(np.argsort(-values, kind="stable"), [kept])


def with_kept(net, scores, ratio):
    """The scores with a column `kept`: whether the filter stays, as it does where its channel does."""
    kept = set()
    for tied, _, channels in kept_channels(net, scores, ratio):
        for layer, first in tied.producers + tied.readers:
            kept.update((layer, channel - first) for channel in channels.tolist())
    return scores.assign(kept=[filter_ in kept for filter_ in zip(scores["layer"], scores["filter"], strict=True)])


def prune_filters(net, ratio=0.5, balance=0.5, scores=None):
    """A smaller copy of a trained network, without the share `ratio` of the least important channels of every tied set.

    balance : weight of capacity against independence (method section 3, step 4)
    scores : data frame with layer, filter, importance to use instead (l1_scores, random_scores)
    It computes what the full network would with the BatchNorm weight and bias of the removed channels set to 0.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio={ratio}: the share of channels to remove lies in [0, 1)")
    scores = filter_scores(net, balance) if scores is None else scores
    chosen = kept_channels(net, scores, ratio)
    return remove_channels(net, {place: kept for tied, _, kept in chosen for place in tied.places})


def released_mask(net, ratio=0.5):
    """What the authors' code did instead: a copy in which every conv's filters of lowest capacity are set to 0, once.

    floor((1 - ratio) * n) filters of each conv stay; where capacity does not tell filters apart (one input channel),
    the first ones. BatchNorm weights stay, so nothing becomes smaller, and training is free to fill the zeros again.
    """
    masked = copy.deepcopy(net)
    for _, conv, weight in _convolutions(masked):
        score = capacity(weight) if weight.shape[1] > 1 else np.zeros(len(weight))
        conv.weight.data[torch.from_numpy(_by_rank(score, ratio)[1])] = 0
    return masked


def _score_layers(net, score):
    frames = [score(weight).assign(layer=name, filter=range(len(weight))) for name, _, weight in _convolutions(net)]
    return pd.concat(frames, ignore_index=True)


def _convolutions(net):
    """(name, layer, weight as an array of float64) of every convolution."""
    convs = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv1d)]
    return [(name, conv, conv.weight.detach().cpu().double().numpy()) for name, conv in convs]
