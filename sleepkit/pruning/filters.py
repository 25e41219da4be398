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

    weight : (filters, inputs, taps) -> (filters,). K_ji is filter j's kernel on input i, p_ji = |K_ji| / sum_i
    |K_ji|, capacity_j = -sum_i p_ji log2 p_ji (method section 3, step 2). With a single input channel (depthwise
    filters, the stem) that is 0 for every filter; there p runs over the magnitudes of the taps instead.
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
    zero = np.abs(weight).sum(axis=(1, 2)) == 0
    frame = pd.DataFrame({"capacity": capacity(weight), "independence": independence(weight)})
    scaled = frame.apply(lambda column: _min_max(column.to_numpy(), zero))
    frame["importance"] = balance * scaled["capacity"] + (1 - balance) * scaled["independence"]
    return frame


def _min_max(values, zero):
    scaled = np.zeros_like(values)
    if not zero.all():
        low, high = values[~zero].min(), values[~zero].max()
        scaled[~zero] = (values[~zero] - low) / (high - low) if high - low > 1e-12 else 0.5
    return scaled


def filter_scores(net, balance=0.5):
    """One row per filter of every conv layer: layer, filter, capacity (bit), independence, importance."""
    return _score_layers(net, lambda weight: importance(weight, balance))


def l1_scores(net):
    """For comparison: importance of a filter = sum of its weights' magnitudes, scaled by its layer's largest."""

    def score(weight):
        norm = np.abs(weight).sum(axis=(1, 2))
        return pd.DataFrame({"importance": norm / max(norm.max(), 1e-30)})

    return _score_layers(net, score)


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
        total, terms = np.zeros(tied.width), np.zeros(tied.width)
        for layer, first in tied.producers + tied.readers:
            values = importance_of[layer]
            total[first : first + len(values)] += values
            terms[first : first + len(values)] += 1
        mean = total / terms
        keep = max(1, int((1 - ratio) * tied.width + 1e-9))
        chosen.append((tied, mean, np.sort(np.argsort(-mean, kind="stable")[:keep])))
    return chosen


def with_kept(net, scores, ratio):
    """The scores with a column `kept`: whether the filter stays, as it does where its channel does."""
    kept = {
        (layer, channel - first)
        for tied, _, channels in kept_channels(net, scores, ratio)
        for layer, first in tied.producers + tied.readers
        for channel in channels.tolist()
    }
    return scores.assign(kept=[filter_ in kept for filter_ in zip(scores["layer"], scores["filter"], strict=True)])


def prune_filters(net, ratio=0.5, balance=0.5, scores=None):
    """A smaller copy of a trained network, without the share `ratio` of the least important channels of every tied set.

    balance : weight of capacity against independence in the importance (method section 3, step 4)
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
    with torch.no_grad():
        for module in masked.modules():
            if isinstance(module, nn.Conv1d):
                weight = module.weight.detach().cpu().double().numpy()
                score = capacity(weight) if weight.shape[1] > 1 else np.zeros(len(weight))
                keep = int((1 - ratio) * len(weight) + 1e-9)  # (1 - 0.8) * 10 comes out below 2
                removed = np.argsort(-score, kind="stable")[keep:]
                module.weight[torch.from_numpy(removed)] = 0
    return masked


def _score_layers(net, score):
    frames = [
        score(module.weight.detach().cpu().double().numpy()).assign(layer=name, filter=range(module.out_channels))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv1d)
    ]
    return pd.concat(frames, ignore_index=True)
