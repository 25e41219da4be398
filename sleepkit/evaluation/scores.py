"""From predictions to the rows of result files: scores by context, confusions by night, figures of each stage."""

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import product

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
        return self.network.key.columns()

    @cached_property
    def contexts(self):
        """Dict number of the fold -> two Contexts: the class prior in full, and as far as is best; empty epochwise."""
        network, found = self.network, {}
        for fold in network.folds if network.protocol.by_subject else ():
            kept = fold_probabilities(network.networks[fold.number])
            found[fold.number] = tuple(fold_context(network.data, fold, kept, powers) for powers in (WEIGHTS, POWERS))
        return found

    @cached_property
    def probabilities(self):
        """Dict context -> (n, 5), in the order of the network's predictions; none but "none" epochwise."""
        predictions = self.network.predictions
        alone, night = predictions[list(STAGES)].to_numpy(), predictions["night"].to_numpy(str)
        return in_context(alone, night, predictions["fold"].to_numpy(), self.contexts)

    @property
    def staged(self):
        """Dict context -> (n,) stages."""
        return {context: prob.argmax(axis=1) for context, prob in self.probabilities.items()}


def in_context(alone, night, fold, contexts):
    """Probabilities in each of CONTEXTS, a dict of (n, 5), or just "none" where there are no contexts.
    alone : (n, 5) of the network;  night, fold : (n,);  contexts : as `Scored.contexts`"""
    found = {"none": alone} | {context: np.empty(alone.shape) for context in CONTEXTS[1:] if contexts}
    for number, (full, chosen) in contexts.items():
        rows = fold == number
        found["forward"][rows] = smooth_nights(alone[rows], night[rows], full, forward_only=True)
        found["both"][rows] = smooth_nights(alone[rows], night[rows], full)
        found["both+rarity"][rows] = smooth_nights(alone[rows], night[rows], chosen)
    return found


def fold_context(epochs, fold, kept, powers=WEIGHTS):
    """The context of a fold: fitted on its training subjects' stages, its `powers` chosen on its validation subjects.
    kept : of `fold_probabilities`;  ValueError where its validation epochs are not the fold's"""
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
        parts = {number: fold == number for number in np.unique(fold).tolist()} | {"pooled": np.full(len(y), True)}
        for number, chosen in parts.items():
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
    cells = pd.DataFrame(product(STAGES, STAGES), columns=["true", "predicted"])
    return _named(cells.assign(n=pooled_confusion(scored.network).ravel()), scored.columns)


def size_rows(scored):
    """The row of parameters.csv."""
    size = dict(zip(("params", "macs", "samples"), scored.network.size, strict=True))
    return pd.DataFrame([scored.columns | size])[COLUMNS["parameters.csv"]]


def _named(frame, columns):
    return pd.concat([pd.DataFrame([columns] * len(frame)), frame], axis=1)


def curve_rows(scored):
    """Rows of training_curves.csv: per fold and training epoch."""
    return scored.network.curves.assign(**scored.columns)


TABLES = {"crossval": score_rows, "per_class": class_rows, "confusion": confusion_rows}
TABLES |= {"confusion_by_night": night_rows, "training_curves": curve_rows, "parameters": size_rows}


def write_scores(networks, folder):
    """Write the result files of CrossValidated networks into `folder`, and return crossval.csv as a data frame."""
    all_scored = [Scored(network) for network in networks]
    tables = {}
    for name, rows in TABLES.items():
        table = pd.concat([rows(scored) for scored in all_scored], ignore_index=True).drop_duplicates()
        tables[name] = write_table(table, folder / f"{name}.csv")
    write_predictions(all_scored[0], folder / "predictions.npz")
    for scored in all_scored:
        write_probabilities(scored, folder / "probabilities")
    return tables["crossval"]


def write_predictions(scored, path):
    """The test epochs of a network with their probabilities in half precision, so that figures need no training."""
    predictions = scored.network.predictions
    arrays = {name: predictions[name].to_numpy() for name in ("id", "subject", "y", "fold")}
    arrays["night"] = predictions["night"].to_numpy(str)
    for name, context in (("prob", "none"), ("prob_context", "both")):
        if context in scored.probabilities:
            arrays[name] = np.asfortranarray(scored.probabilities[context].astype(np.float16))
    _save(scored, path, arrays)


def write_probabilities(scored, folder):
    """What it takes to compute all scores again: id, fold and prob (`halved`) of the test epochs, and per fold the
    powers of its two contexts: the number of the fold, weight, and weight and rarity."""
    predictions, contexts = scored.network.predictions, sorted(scored.contexts.items())
    powers = [(number, full.weight, chosen.weight, chosen.rarity) for number, (full, chosen) in contexts]
    ids = predictions["id"].to_numpy()  # of one's own nights they are longer
    arrays = {
        "id": ids.astype(np.uint32) if ids.max() < 1 << 32 else ids,
        "fold": predictions["fold"].to_numpy(np.uint8),
    }
    arrays |= {"prob": halved(scored.probabilities["none"]), "powers": np.array(powers, np.float32).reshape(-1, 4)}
    _save(scored, folder / f"{scored.network.key}.npz", arrays)


def _save(scored, path, arrays):
    with written(path) as temporary:
        np.savez_compressed(temporary, network=json.dumps(scored.columns), **arrays)


def halved(prob):
    """(n, 5) probabilities in half precision, with the same stage the most probable in every epoch."""
    half, best = prob.astype(np.float16), prob.argmax(axis=1)
    rows = np.flatnonzero(half.argmax(axis=1) != best)
    half[rows, best[rows]] = np.nextafter(half[rows].max(axis=1), np.float16(2))
    return np.asfortranarray(half)
