"""Full beside pruned networks, and both beside a peer, on the same epochs: differences paired by subject, and
calibration. Files in, files out."""

import numpy as np
import pandas as pd

from sleepkit.calibration import expected_calibration_error, fit_temperature, reliability, temper
from sleepkit.context import smooth_nights
from sleepkit.cost import measure_cost
from sleepkit.crossval import fold_context
from sleepkit.epochs import STAGES
from sleepkit.fold import fold_probabilities
from sleepkit.metrics import confusion_difference, subject_confusions
from sleepkit.reference import published
from sleepkit.results import COLUMNS, SCORES, write_table
from sleepkit.stage2 import families, family, folds_of, load_pruned

# AttnSleep on the first 5 s of every epoch of EDF-20: its confusions per night, from the predictions that the public
# repository swapnil5053/AttnSleep-EEG-5s (MIT) stores. Its best epoch was chosen on the test fold. With context: the
# same predictions, of which only the labels are stored, smoothed forward and backward with the transitions and
# confusions of the other nine folds, every epoch at full weight.
PEER = {False: "attnsleep_first5s", True: "attnsleep_first5s_context"}
PEER_SAMPLES = 500


def paired_differences(epochs, trained, settings):
    """Every subject-wise network: pruned against full, and both against AttnSleep where it staged the same epochs;
    each epoch for itself, and both sides with the context of the night.

    Writes differences.csv and returns it as a data frame: comparison ("pruned - full", "pruned - full, context" ...),
    genotype, channels, cells, metric, difference (mean over seeds, pooled over folds), low and high (its 95 % bootstrap
    interval over subjects), seeds, subjects. Says why where AttnSleep is left out.
    """
    rows = []
    pruned = families(load_pruned(settings))
    for key, networks in families(trained).items():
        comparisons, tested = {}, epochs.subset(tested_rows(epochs, networks[0]))
        for ending, context in (("", False), (", context", True)):
            full, small = (_matrices(epochs, side, settings, context) for side in (networks, pruned[key]))
            comparisons[f"pruned - full{ending}"] = small, full
            peer, reason = peer_confusions(tested, context)
            if peer is not None:
                comparisons[f"full - AttnSleep{ending}"] = full, peer[None]
                comparisons[f"pruned - AttnSleep{ending}"] = small, peer[None]
        if reason:
            print(f"No comparison with AttnSleep: {reason}.")
        for name, (ours, other) in comparisons.items():
            facts = {"comparison": name} | dict(zip(("genotype", "channels", "cells"), key, strict=True))
            for metric in SCORES:
                difference, low, high = confusion_difference(ours, other, metric, seed=0)
                row = {"metric": metric, "difference": difference, "low": low, "high": high}
                rows.append(facts | row | {"seeds": len(networks), "subjects": ours.shape[1]})
    frame = pd.DataFrame(rows, columns=COLUMNS["differences.csv"])
    write_table(frame, settings.folder / "differences.csv")
    return frame


def _matrices(epochs, networks, settings, context):
    """(seeds, subjects, 5, 5) confusion matrices of the subjects that the networks' folds test."""
    folds = {fold.number: fold for fold in folds_of(epochs, networks[0], settings)}
    matrices = []
    for network in networks:
        rows, predicted = [], []
        for number, path in sorted(network.networks.items()):
            kept = fold_probabilities(path)
            rows.append(_rows(epochs, kept["id"]))
            prob = kept["prob"]
            if context:
                prob = smooth_nights(prob, epochs.night[rows[-1]], fold_context(epochs, folds[number], kept))
            predicted.append(prob.argmax(axis=1))
        rows = np.concatenate(rows)
        matrices.append(subject_confusions(epochs.y[rows], np.concatenate(predicted), epochs.subject[rows]))
    return np.stack(matrices)


def tested_rows(epochs, network):
    """Positions of the epochs that a network's folds test, fold by fold."""
    parts = [fold_probabilities(path)["id"] for _, path in sorted(network.networks.items())]
    return _rows(epochs, np.concatenate(parts))


def _rows(epochs, ids):
    order = np.argsort(epochs.id)
    return order[np.searchsorted(epochs.id, ids, sorter=order)]


def peer_confusions(epochs, context=False):
    """AttnSleep's (subjects, 5, 5) confusion matrices on these epochs and "", or None and why it did not stage them.

    context : of its predictions smoothed over the night

    The epochs are the same when they are as long and every night has as many of each stage.
    """
    if epochs.x.shape[1] != PEER_SAMPLES:
        return None, f"it staged epochs of {PEER_SAMPLES} samples, these have {epochs.x.shape[1]}"
    stored = published(PEER[context]).set_index("night")
    nights, subjects = np.unique(epochs.night), {}
    for night in nights.tolist():
        mine = epochs.night == night
        if night not in stored.index:
            return None, f"it did not stage night {night}"
        columns = [f"{true}_{predicted}" for true in STAGES for predicted in STAGES]
        matrix = stored.loc[night, columns].to_numpy(int).reshape(5, 5)
        if not np.array_equal(matrix.sum(1), np.bincount(epochs.y[mine], minlength=5)):
            return None, f"it staged other epochs of night {night}"
        subject = int(epochs.subject[mine][0])
        subjects[subject] = subjects.get(subject, 0) + matrix
    return np.stack([subjects[subject] for subject in sorted(subjects)]), ""


def calibrate(epochs, trained, settings):
    """Reliability of the first network, full and pruned, before and after temperature scaling.

    The temperature of every fold is fitted on its validation subjects; bins are of all folds' test epochs together.
    Writes calibration.csv and returns it as a data frame: network, temperature_scaled, bin, low, high, n, confidence,
    accuracy, ece, temperature (mean over folds, 1 before scaling).
    """
    key, networks = next(iter(families(trained).items()))
    sides = {"full": networks[0], "pruned": families(load_pruned(settings))[key][0]}
    frames = []
    for name, network in sides.items():
        folds = [fold_probabilities(path) for _, path in sorted(network.networks.items())]
        fitted = [fit_temperature(epochs.y[_rows(epochs, fold["valid_id"])], fold["valid_prob"]) for fold in folds]
        y = epochs.y[tested_rows(epochs, network)]
        for scaled, temperatures in enumerate(([1.0] * len(folds), fitted)):
            prob = np.concatenate(
                [temper(fold["prob"], value) for fold, value in zip(folds, temperatures, strict=True)]
            )
            facts = {"network": name, "temperature_scaled": scaled, "temperature": np.mean(temperatures)}
            frames.append(reliability(y, prob).assign(ece=expected_calibration_error(y, prob), **facts))
    frame = pd.concat(frames, ignore_index=True)[COLUMNS["calibration.csv"]]
    write_table(frame, settings.folder / "calibration.csv")
    return frame


def inference_cost(trained, settings):
    """What an answer costs of the first network's first fold, full and pruned (sleepkit.cost.measure_cost).

    Writes cost.csv and returns it as a data frame.
    """
    networks = {"full": family(trained)[0], "pruned": family(load_pruned(settings))[0]}
    first = {name: next(iter(network.networks.values())) for name, network in networks.items()}
    frame = measure_cost(first, repeats=settings.cost_repeats)
    write_table(frame, settings.folder / "cost.csv")
    return frame
