"""Folds, protocols, and the predictions that they merge into (method section 4)."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import KFold

from sleepkit.checkpoint import Deadline, fingerprint
from sleepkit.context import fit_context, smooth_nights
from sleepkit.epochs import STAGES
from sleepkit.metrics import confusion, per_class, scores
from sleepkit.network import save_network
from sleepkit.paths import progress, written
from sleepkit.training import Normalisation, fit, predict_logits, softmax

# The ten pairs of subjects of EDF-20 in AttnSleep's order, so that folds equal that peer's.
EDF20_PAIRS = ((14, 5), (4, 17), (8, 7), (19, 12), (0, 15), (16, 9), (11, 10), (3, 1), (6, 18), (2, 13))
CONTEXTS = ("none", "forward", "both")
COLUMNS = "protocol genotype channels cells pruned context seed fold acc mf1 kappa mgm n".split()  # of crossval.csv


@dataclass(frozen=True)
class Fold:
    """One fold: its number and the positions of the epochs on either side, sorted int arrays."""

    number: int
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def subject_folds(subject, k, validation_subjects=3):
    """Subject-wise folds: no subject on two sides.

    subject : (n,) int, of every epoch;  k : number of folds
    validation_subjects : training subjects that validate, drawn with the fold's number as seed
    The twenty subjects of EDF-20 in ten folds are AttnSleep's pairs; other sets are permuted with seed 42.
    Raises ValueError when there are too few subjects.
    """
    present = np.unique(subject)
    if len(present) < k or len(present) - -(-len(present) // k) <= validation_subjects:
        raise ValueError(
            f"{len(present)} subjects cannot fill {k} folds with {validation_subjects} validation subjects and one to "
            "train on; use fewer folds or validation subjects"
        )
    if k == 10 and np.array_equal(present, np.arange(20)):
        groups = EDF20_PAIRS
    else:
        groups = np.array_split(np.random.default_rng(42).permutation(present), k)
    folds = []
    for number, test in enumerate(groups):
        others = np.setdiff1d(present, test)
        valid = np.random.default_rng(number).choice(others, validation_subjects, replace=False)
        train = np.setdiff1d(others, valid)
        folds.append(Fold(number, *(np.flatnonzero(np.isin(subject, side)) for side in (train, valid, test))))
    return folds


def epoch_folds(n, k=5, seed=47):
    """The authors' folds: epochs shuffled, so that one subject is in training and test, and the test fold chooses the
    epoch."""
    splits = KFold(k, shuffle=True, random_state=seed).split(np.arange(n))
    return [Fold(number, np.sort(train), np.sort(test), np.sort(test)) for number, (train, test) in enumerate(splits)]


def manifest(epochs, folds):
    """Which subjects train, validate and test each fold, as a dict that json can hold."""
    sides = ("train", "valid", "test")
    return {
        str(f.number): {side: np.unique(epochs.subject[getattr(f, side)]).tolist() for side in sides} for f in folds
    }


def normalisation(epochs, fold, protocol):
    """`subjectwise`: one mean and sd from the training subjects. `epochwise`: of every sample position, over the
    whole data set."""
    if protocol == "epochwise":
        return Normalisation(epochs.x.mean(axis=0), epochs.x.std(axis=0) + 1e-6)
    x = epochs.x[fold.train]
    return Normalisation(float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64)))


def cross_validate(epochs, folds, protocol, start, settings, folder, config, device="cpu", max_minutes=None):
    """Train a network on every fold and score its test epochs; finished folds are skipped, an unfinished one is
    resumed.

    start : function of a fold's number that returns the SleepNet to train, freshly made or pruned
    config : dict that json can hold and that tells networks apart; with settings, data and folds it names the run's
        folder
    returns (predictions, curves, paths of the networks), or None when `max_minutes` were over first. `predictions` is
    a data frame with id, night, subject, y, fold, the probabilities p_W ... p_REM and, under `subjectwise`, f_W ...
    and c_W ...: smoothed by context, forward only and both directions.
    """
    # id and y say which epochs and in which order; a sample of the signal tells other preparations of them apart.
    sample = epochs.x[:: max(len(epochs) // 64, 1)]
    sides = [
        side for fold in sorted(folds, key=lambda fold: fold.number) for side in (fold.train, fold.valid, fold.test)
    ]
    key = fingerprint({"protocol": protocol, **config, **asdict(settings)}, epochs.id, epochs.y, sample, *sides)
    folder, deadline = Path(folder) / key, Deadline(max_minutes)
    for fold in progress(folds, desc=f"{protocol} folds", unit="fold"):
        fold_key = fingerprint({"run": key, "fold": fold.number}, fold.train, fold.valid, fold.test)
        if not _run_fold(epochs, fold, protocol, start, settings, folder, fold_key, config, device, deadline):
            return None
    parts = [_read_fold(epochs, fold, folder, protocol) for fold in folds]
    curves = pd.concat([pd.read_csv(folder / f"fold{fold.number}.csv").assign(fold=fold.number) for fold in folds])
    predictions = pd.concat(parts, ignore_index=True).sort_values("id", ignore_index=True)
    return predictions, curves.reset_index(drop=True), [folder / f"fold{fold.number}" for fold in folds]


def score_rows(predictions, keys):
    """Rows of crossval.csv: per context and fold, and pooled over folds. `keys` holds the columns protocol ... seed."""
    rows = []
    for context, letter in zip(CONTEXTS, "pfc"):
        if f"{letter}_W" not in predictions:
            continue
        predicted = predictions[[f"{letter}_{stage}" for stage in STAGES]].to_numpy().argmax(1)
        for fold in [*sorted(predictions["fold"].unique()), "pooled"]:
            chosen = np.full(len(predictions), True) if fold == "pooled" else (predictions["fold"] == fold).to_numpy()
            matrix = confusion(predictions["y"][chosen], predicted[chosen])
            rows.append(keys | {"context": context, "fold": fold} | scores(matrix) | {"n": int(chosen.sum())})
    return pd.DataFrame(rows)[COLUMNS]


def pooled_confusion(predictions, letter="p"):
    """(5, 5) confusion matrix of all folds' predictions; letter p is per epoch, f forward context, c both
    directions."""
    return confusion(predictions["y"], predictions[[f"{letter}_{stage}" for stage in STAGES]].to_numpy().argmax(1))


def class_rows(predictions, keys):
    """Rows of per_class.csv: the pooled figures of each stage, without context."""
    frame = per_class(pooled_confusion(predictions))
    return pd.concat([pd.DataFrame([keys] * len(frame)), frame], axis=1)


def confusion_rows(predictions, keys):
    """Rows of confusion.csv: 25 per network, pooled, without context."""
    matrix = pooled_confusion(predictions)
    cells = [{"true": STAGES[i], "predicted": STAGES[j], "n": int(matrix[i, j])} for i in range(5) for j in range(5)]
    return pd.DataFrame([keys | cell for cell in cells])


def _run_fold(epochs, fold, protocol, start, settings, folder, key, config, device, deadline):
    """Train and score one fold unless its result is there; False when the deadline came first. The result is written
    last."""
    result = folder / f"fold{fold.number}.npz"
    if result.exists():
        return True
    scale = normalisation(epochs, fold, protocol)
    train, valid, test = ((scale(epochs.x[rows]), epochs.y[rows]) for rows in (fold.train, fold.valid, fold.test))
    torch.manual_seed(settings.seed * 1_009 + fold.number)
    net = start(fold.number)
    work = folder / f"fold{fold.number}.unfinished"
    curves = fit(net, train, valid, settings, work, key, deadline, device, label=f"fold {fold.number}")
    if curves is None:
        return False
    facts = {"fs": epochs.fs, "samples": epochs.x.shape[1], "protocol": protocol, "fold": fold.number, "config": config}
    if protocol == "subjectwise":
        facts |= {"normalisation": asdict(scale), "training": manifest(epochs, [fold])[str(fold.number)]}
    save_network(net.cpu(), folder / f"fold{fold.number}", facts)
    with written(folder / f"fold{fold.number}.csv") as path:
        curves.to_csv(path, index=False)
    with written(result) as path:
        np.savez_compressed(path, id=epochs.id[fold.test], prob=softmax(predict_logits(net, test[0])))
    (work / "fit.pt").unlink(missing_ok=True)
    return True


def _read_fold(epochs, fold, folder, protocol):
    with np.load(folder / f"fold{fold.number}.npz", allow_pickle=False) as saved:
        prob = saved["prob"]
    known = epochs.subset(fold.test)
    frame = pd.DataFrame(
        {"id": known.id, "night": known.night, "subject": known.subject, "y": known.y, "fold": fold.number}
    )
    columns = {"p": prob}
    if protocol == "subjectwise":
        context = fit_context(epochs.y[fold.train], epochs.night[fold.train])
        columns |= {
            "f": smooth_nights(prob, known.night, context, forward_only=True),
            "c": smooth_nights(prob, known.night, context),
        }
    for letter, values in columns.items():
        frame[[f"{letter}_{stage}" for stage in STAGES]] = values
    return frame
