"""From predictions to the rows of result files: scores by context, confusions by night, figures of each stage."""

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES
from sleepkit.evaluation.context import POWERS, WEIGHTS, fit_context, fit_powers, smooth_nights
from sleepkit.evaluation.crossval import CrossValidated, fold_probabilities
from sleepkit.execution.paths import written
from sleepkit.metrics import CELLS, confusion, group_confusions, per_class, scores
from sleepkit.results import COLUMNS, write_table

# What is used of a night's other epochs: nothing, those before, all, and all with the class prior corrected for.
CONTEXTS = ("none", "forward", "both", "both+rarity")


@dataclass(frozen=True, eq=False)
class Scored:
    """A cross-validated network with the probabilities of its test epochs in each context."""

    network: CrossValidated

    @property
    def columns(self):
        """Its columns in result files, as a dict."""
        return self.network.key.columns()

    @cached_property
    def probabilities(self):
        """Dict context -> (n, 5), in the order of the network's predictions; none but "none" epochwise."""
        network, predictions = self.network, self.network.predictions
        alone = predictions[list(STAGES)].to_numpy()
        if not network.protocol.by_subject:
            return {"none": alone}
        found = {context: np.empty(alone.shape) for context in CONTEXTS[1:]}
        for fold in network.folds:
            rows = (predictions["fold"] == fold.number).to_numpy()
            prob, night = alone[rows], predictions["night"].to_numpy(str)[rows]
            kept = fold_probabilities(network.networks[fold.number])
            context, rare = (fold_context(network.data, fold, kept, powers) for powers in (WEIGHTS, POWERS))
            found["forward"][rows] = smooth_nights(prob, night, context, forward_only=True)
            found["both"][rows] = smooth_nights(prob, night, context)
            found["both+rarity"][rows] = smooth_nights(prob, night, rare)
        return {"none": alone} | found

    @property
    def staged(self):
        """Dict context -> (n,) stages."""
        return {context: prob.argmax(axis=1) for context, prob in self.probabilities.items()}


def fold_context(epochs, fold, kept, powers=WEIGHTS):
    """The context of a fold, fitted on its training subjects' stages; those that validate choose its powers, as its
    network stages them.

    kept : of `fold_probabilities`;  powers : as `fit_powers`
    ValueError where the validation epochs of `kept` are not the fold's
    """
    if not np.array_equal(kept["valid_id"], epochs.id[fold.valid]):
        raise ValueError(f"fold {fold.number}: its network was validated on other epochs than these; train it again")
    # Whole nights, also where data pruning took epochs out of the training: what it left are no neighbours.
    whole = np.isin(epochs.subject, epochs.subject[fold.train])
    context = fit_context(epochs.y[whole], epochs.night[whole])
    return fit_powers(context, kept["valid_prob"], epochs.y[fold.valid], epochs.night[fold.valid], powers)


def pooled_confusion(network):
    """(5, 5) confusion matrix of all folds' predictions of a CrossValidated, each epoch for itself."""
    return confusion(network.predictions["y"], network.predictions[list(STAGES)].to_numpy().argmax(1))


def score_rows(scored):
    """Rows of crossval.csv: per context and fold, and pooled over folds."""
    rows, y, fold = [], *(scored.network.predictions[name].to_numpy() for name in ("y", "fold"))
    for context, predicted in scored.staged.items():
        for number in [*np.unique(fold).tolist(), "pooled"]:
            chosen = np.full(len(y), True) if number == "pooled" else fold == number
            found = scores(confusion(y[chosen], predicted[chosen]))
            rows.append(scored.columns | {"context": context, "fold": number} | found | {"n": int(chosen.sum())})
    return pd.DataFrame(rows)[COLUMNS["crossval.csv"]]


def night_rows(scored):
    """Rows of confusion_by_night.csv, per context and night: what it takes to compare networks paired by subject."""
    nights, y = scored.network.predictions["night"].to_numpy(str), scored.network.predictions["y"].to_numpy()
    frames = []
    for context, predicted in scored.staged.items():
        cells = pd.DataFrame(group_confusions(y, predicted, nights).reshape(-1, len(CELLS)), columns=CELLS)
        cells.insert(0, "night", np.unique(nights))
        frames.append(_named(cells, scored.columns | {"context": context}))
    return pd.concat(frames, ignore_index=True)


def class_rows(scored):
    """Rows of per_class.csv: the pooled figures of each stage, without context."""
    return _named(per_class(pooled_confusion(scored.network)), scored.columns)


def confusion_rows(scored):
    """Rows of confusion.csv: 25 per network, pooled, without context."""
    matrix = pooled_confusion(scored.network)
    cells = [{"true": STAGES[i], "predicted": STAGES[j], "n": int(matrix[i, j])} for i in range(5) for j in range(5)]
    return _named(pd.DataFrame(cells), scored.columns)


def size_row(scored):
    """The row of parameters.csv as a data frame."""
    named = {name: scored.columns[name] for name in ("genotype", "channels", "cells", "pruned")}
    return pd.DataFrame([named | dict(zip(("params", "macs", "samples"), scored.network.size, strict=True))])


def _named(frame, columns):
    return pd.concat([pd.DataFrame([columns] * len(frame)), frame], axis=1)


def write_scores(networks, folder):
    """Write the result files of CrossValidated networks into `folder`, and return crossval.csv as a data frame."""
    all_scored = [Scored(network) for network in networks]
    frames = {
        "crossval": score_rows,
        "per_class": class_rows,
        "confusion": confusion_rows,
        "confusion_by_night": night_rows,
        "training_curves": lambda scored: scored.network.curves.assign(**scored.columns),
        "parameters": size_row,
    }
    tables = {
        name: pd.concat([rows(scored) for scored in all_scored], ignore_index=True).drop_duplicates()
        for name, rows in frames.items()
    }
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv")
    write_predictions(all_scored[0], folder / "predictions.npz")
    return tables["crossval"]


def write_predictions(scored, path):
    """The probabilities of one network's test epochs, compact, so that later figures need no training."""
    predictions = scored.network.predictions
    arrays = {name: predictions[name].to_numpy() for name in ("id", "subject", "y", "fold")}
    arrays["night"] = predictions["night"].to_numpy(str)
    for name, context in (("prob", "none"), ("prob_context", "both")):
        if context in scored.probabilities:
            arrays[name] = scored.probabilities[context].astype(np.float16)
    with written(path) as temporary:
        np.savez_compressed(temporary, network=json.dumps(scored.columns), **arrays)
