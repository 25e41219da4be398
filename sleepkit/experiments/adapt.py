"""Adapt a trained network to recordings of one's own: a short training on a few scored nights, and what it brings.

What it brings is measured on people who were held out: every person is staged by the network as it was, and by one that
was adapted to others alone. What is written is adapted to all of them, so nobody is left to test that one on.
"""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sleepkit.epochs import EpochSet
from sleepkit.evaluation.context import WEIGHTS, fit_context, fit_powers, smooth_nights
from sleepkit.evaluation.crossval import Plan, cross_validate, fold_probabilities
from sleepkit.evaluation.protocols import SUBJECTWISE, Fold, subject_folds
from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution import paths
from sleepkit.execution.checkpoint import fingerprint
from sleepkit.experiments.differences import confusion_differences
from sleepkit.metrics import group_confusions, scores
from sleepkit.network.saved import load_network, save_network
from sleepkit.recordings.quality import signal_facts
from sleepkit.results import NetworkKey, write_table
from sleepkit.scoring.model import Model, load_model

FEWEST = 4  # people: one to test, one who chooses the epoch to keep, two to learn from
FOLDS = 5  # at most; with fewer people everybody is a fold
LR = 0.0011  # a fifth of stage 1's, as after pruning
CONTEXTS = {"none": "each epoch alone", "both": "with the context of the night"}


class Windows(NamedTuple):
    """Nights in the windows of a network, one window after the other, and the epochs that they are of."""

    data: EpochSet  # of windows
    epochs: EpochSet
    each: int  # windows of an epoch

    def epochs_of(self, rows):  # positions of the epochs whose windows, all of them, are at `rows`
        return rows[:: self.each] // self.each

    def voted(self, prob):  # (windows, 5) -> (epochs, 5), the mean over the windows of each
        return prob.reshape(-1, self.each, prob.shape[1]).mean(axis=1)


def adapt(model, nights, folder, *, epochs=5, device="cpu"):
    """Fine-tune a network on prepared nights and write adapted.safetensors, adapted.json and adapted.csv to a folder.

    model : path of a saved network, or the name of one of the package's ("edf20_first5s_L7")
    epochs : of training, at most; other people than those that train choose the one to keep
    Returns adapted.csv as a data frame, a row per context and metric: before, after, difference, low and high (95 %
    interval over people), subjects, n (epochs), seen (people of a name that trained the network). An interrupted
    training is resumed. ValueError where there are fewer than FEWEST people or the nights do not fit the network."""
    path, folder = _saved(model), Path(folder)
    before = load_model(path)
    windows = _windows(before, nights)
    people = np.unique(windows.epochs.subject)
    if len(people) < FEWEST:
        cure = f"at least {FEWEST} are needed, so that others than the tested ones teach and choose; score more people"
        raise ValueError(f"{nights}: {len(people)} people ({', '.join(map(str, people))}); {cure}")
    choosers = max(1, len(people) // 5)
    folds = tuple(subject_folds(windows.data.subject, min(FOLDS, len(people)), choosers))
    valid = np.isin(windows.data.subject, np.random.default_rng(0).choice(people, choosers, replace=False))
    everybody = Fold(len(folds), np.flatnonzero(~valid), *[np.flatnonzero(valid)] * 2)
    plans = [_plan(path, windows, part, epochs, folder) for part in (folds, (everybody,))]
    done, whole = cross_validate(plans, device)
    table = _compared(before, windows, done)
    _write(whole, windows, folder / "adapted", before, table)
    return write_table(table, folder / "adapted.csv")


def described(table, before):
    """What adapting brought, as lines of text. table : of `adapt`;  before : the model, or its name"""
    lines = [f"{table.subjects.iloc[0]} people, each staged by networks that have not met them:"]
    for last in table[table.metric == "acc"].itertuples():
        change = f"{100 * last.difference:+.1f} points ({100 * last.low:+.1f} to {100 * last.high:+.1f})"
        values = f"accuracy {100 * last.before:.1f} % before, {100 * last.after:.1f} % after: {change}"
        lines.append(f"{CONTEXTS[last.context]}: {values}")
    if last.seen:
        same = f"{last.seen} of their names are also those of people who trained {before}"
        lines.append(f"{same}: if they are the same people, this is too good")
    if last.difference <= 0:
        lines.append(f"adapting did not help: keep {before}")
    elif last.low <= 0:
        lines.append("the interval includes zero: with so few people it is not certain that adapting helps")
    return lines


def _saved(model):
    path = Path(model)
    if path.suffix == ".onnx":
        raise ValueError(f"{path}: an exported network cannot be trained; name the saved one (.safetensors)")
    path = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    own = path.with_name(f"{path.name}.safetensors").is_file()
    return path if own or path.name != str(model) else paths.WEIGHTS / path.name


def _windows(model, nights):
    """The nights as the network takes them: a longer epoch is several windows, each with the epoch's stage."""
    epochs = EpochSet.load(nights)
    n, length = epochs.x.shape
    if epochs.fs != model.fs or length % model.samples:
        there, takes = f"{length} samples at {epochs.fs:g} Hz", f"{model.samples} at {model.fs:g}"
        cure = "prepare the nights at this rate, whole or as long (--rate, --seconds)"
        raise ValueError(f"{nights}: epochs of {there}, and {model.name} takes {takes}; {cure}")
    each = length // model.samples
    repeated = (np.repeat(part, each) for part in (epochs.y, epochs.subject, epochs.night))
    data = EpochSet(epochs.x.reshape(n * each, model.samples), *repeated, np.arange(n * each), epochs.fs)
    return Windows(data, epochs, each)


def _plan(path, windows, folds, epochs, folder):
    """The plan that adapts a saved network on these folds; a run's name depends on its weights."""
    net, weights = load_network(path)[0], np.fromfile(f"{path}.safetensors", np.uint8)
    key = NetworkKey(SUBJECTWISE.name, "own", "adapted", channels=net.channels, cells=len(net.cells))
    training, facts = TrainSettings(lr=LR, epochs=epochs, patience=epochs), {"weights": fingerprint(weights)}
    return Plan(key, windows.data, folds, lambda fold: load_network(path)[0], training, folder / "folds", facts)


def _compared(before: Model, windows, done):
    """The table of `adapt`: both networks on everybody, the adapted ones on whom they have not seen."""
    epochs, each = windows.epochs, windows.each
    first = before.vote(epochs.x.reshape(len(epochs), each, -1), np.ones((len(epochs), each), bool))
    after, smoothed = np.empty((2, *first.shape))
    for fold in done.folds:
        kept, test = fold_probabilities(done.networks[fold.number]), windows.epochs_of(fold.test)
        after[test] = windows.voted(kept["prob"])
        smoothed[test] = smooth_nights(after[test], epochs.night[test], _context(windows, fold, kept))
    staged = {"none": (first, after)}
    if before.context is not None:
        staged["both"] = smooth_nights(first, epochs.night, before.context), smoothed
    known = before.facts.get("training", {})
    seen = len({*known.get("train", []), *known.get("valid", [])} & set(epochs.subject.tolist()))
    rows = []
    for name, pair in staged.items():
        sides = [group_confusions(epochs.y, prob.argmax(axis=1), epochs.subject) for prob in pair]
        pooled = [scores(matrices.sum(axis=0)) for matrices in sides]
        for metric, (difference, low, high) in confusion_differences(sides[1][None], sides[0][None], seed=0).items():
            row = {"context": name, "metric": metric, "before": pooled[0][metric], "after": pooled[1][metric]}
            row |= {"difference": difference, "low": low, "high": high, "subjects": len(sides[0])}
            rows.append(row | {"n": len(epochs), "seen": seen})
    return pd.DataFrame(rows)


def _context(windows, fold, kept):
    """The context of a fold, as `scores.fold_context`, of epochs in place of windows."""
    epochs, train, valid = windows.epochs, windows.epochs_of(fold.train), windows.epochs_of(fold.valid)
    context = fit_context(epochs.y[train], epochs.night[train])
    return fit_powers(context, windows.voted(kept["valid_prob"]), epochs.y[valid], epochs.night[valid], WEIGHTS)


def _write(whole, windows, path, before, table):
    """Save the network that was adapted to everybody, with all that scoring wants to know about it."""
    (fold,), (network,) = whole.folds, whole.networks.values()
    (net, about), n = load_network(network), f"{len(windows.epochs)} epochs of {table.subjects.iloc[0]} people"
    data = f"{before.facts.get('data') or 'not on record'}; adapted to {n}"
    after = table.pivot(index="context", columns="metric", values="after").round(5).to_dict("index")
    checked = {"data": f"what {before.name} was adapted to", "protocol": SUBJECTWISE.name, "folds": fold.number}
    checked |= {"n": len(windows.epochs), **after["none"], "context": after.get("both")}
    facts = {name: about[name] for name in ("fs", "samples", "protocol", "normalisation")}
    facts |= {"data": data, "adapted_from": before.name, "cross_validation": checked}
    facts |= {"training": {side: who for side, who in fold.subjects(windows.data).items() if side != "test"}}
    facts["training_signal"] = signal_facts(windows.data.x[fold.train])
    context = _context(windows, fold, fold_probabilities(network))
    facts["context"] = {name: np.round(value, 8).tolist() for name, value in asdict(context).items()}
    save_network(net, path, facts)
