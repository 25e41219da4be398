"""Bidirectional data pruning, BDP (method section 1a; after Tu et al. 2023, arXiv 2312.14200).

Training samples whose predictions no longer move teach nothing new; validation samples whose predictions swing are
ambiguous and mislead the architecture. Both are found by the variance of a sample's error over the last epochs.
"""

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from sleepkit.epochs import STAGES


def prediction_errors(logits, y):
    """L2 distance ||softmax(logits) - onehot(y)|| of two distributions: tensors (n, classes), (n,) -> (n,)."""
    return (torch.softmax(logits, dim=1) - F.one_hot(y, logits.shape[1])).norm(dim=1)


def variance_of_error(errors, window):
    """Variance of each sample's error over the last `window` epochs, (n_samples,) (VoE, Tu et al. 2023).

    errors : (n_samples, n_epochs) float, NaN where not seen; NaN comes back where fewer than `window` are known
    """
    if errors.shape[1] < window:
        return np.full(len(errors), np.nan)
    return errors[:, -window:].var(axis=1)


def pruning_rounds(prune_every, prune_until):
    """Search epochs, counted from 1, that end in a round of pruning: 5, 10, 15, 20 for 5 and 22."""
    return tuple(range(prune_every, prune_until + 1, prune_every))


def class_limits(counts, rounds):
    """How many samples each class may lose over all rounds (method section 1a): int(n_c / N).

    counts : (classes,) int, samples per class before the first round
    N = int(R (1 - b^2) + 1), b the mean over pairs of classes of min(n_i, n_j) / max(n_i, n_j): the more unequal the
    classes, the more rounds a class must last.
    """
    counts = np.asarray(counts)
    pairs = counts[np.stack(np.triu_indices(len(counts), 1))]
    balance = (pairs.min(axis=0) / np.maximum(pairs.max(axis=0), 1)).mean()
    return counts // int(rounds * (1 - balance**2) + 1)


def select_samples(voe, y, ids, fraction, lowest, allowance):
    """Sorted positions of the int(fraction * n) samples to remove, fewer where the classes' allowance is used up.

    voe : (n,) variance of error, NaN where unknown (never removed);  y : (n,) classes;  ids : (n,) break ties
    lowest : True removes the steadiest (training half), False those that swing most (validation half)
    allowance : (classes,) samples that each class may still lose
    """
    ranking = np.lexsort((ids, voe if lowest else -voe))
    ranking = ranking[~np.isnan(voe[ranking])]
    # The first allowance[c] samples of class c in the ranking are within its limit; of those the best-ranked are taken.
    place_in_class = pd.Series(y[ranking]).groupby(y[ranking]).cumcount().to_numpy()
    eligible = ranking[place_in_class < np.asarray(allowance)[y[ranking]]]
    return np.sort(eligible[: int(fraction * len(y))])


def sample_variances(epochs, voe):
    """The rows of a search's `voe` as a dict of arrays (n,), with the stage y of every sample."""
    types = {"epoch": np.int64, "half": str, "id": np.int64, "voe": np.float64, "removed": bool}
    arrays = {column: voe[column].to_numpy(kind) for column, kind in types.items()}
    return arrays | {"y": pd.Series(epochs.y, epochs.id).loc[arrays["id"]].to_numpy()}


def removed_examples(epochs, voe):
    """One removed sample per half and stage: the steadiest for training, the one that swings most for validation.

    voe : as `sample_variances` returns it
    returns dict of arrays: id, stage, half, voe (k,), x (k, samples) µV in half precision, and fs, Hz
    """
    frame = pd.DataFrame(voe)[voe["removed"]]
    ranked = frame.assign(voe=frame["voe"].where(frame["half"] == "train", -frame["voe"]))
    rows = ranked.sort_values(["half", "y", "voe", "id"]).drop_duplicates(["half", "y"]).index.to_numpy()
    columns = {"id": voe["id"], "stage": np.array(STAGES)[voe["y"]], "half": voe["half"], "voe": voe["voe"]}
    place = pd.Series(np.arange(len(epochs)), epochs.id).loc[voe["id"][rows]]
    x = epochs.x[place.to_numpy()].astype(np.float16)
    return {name: values[rows] for name, values in columns.items()} | {"fs": epochs.fs, "x": x}
