"""The weights that come with the package: a profile's cross-validated network, trained once more on everybody.

A network of a fold has never seen the fold's test subjects, which is what makes its accuracy honest; one that is to
score other people's nights should have seen everyone. Nobody is left to test it on: it quotes the cross-validation.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from sleepkit import results
from sleepkit.evaluation.crossval import cross_validate, fold_probabilities
from sleepkit.evaluation.protocols import Fold
from sleepkit.evaluation.scores import fold_context
from sleepkit.experiments.settings import Pruning, Run
from sleepkit.experiments.stage1 import full_plan
from sleepkit.experiments.stage2 import load_networks, load_pruned, pruning_plan, subjectwise
from sleepkit.network.saved import load_network, save_network
from sleepkit.paper.provenance import searched_on_all
from sleepkit.recordings.quality import signal_facts
from sleepkit.recordings.sleep_edf import DATASETS
from sleepkit.results import NETWORK, SCORES
from sleepkit.scoring.onnx_export import STRUCTURE, export_onnx

CHOOSERS = 3  # subjects that choose the epoch to keep
# Channels of a block in the exported files. Measured at 500 and 3000 samples: with AVX-512 a file of 8 takes 1.2 and
# 1.3 times as long as one of 16 (pruned 1.4 and 1.5), with AVX2 one of 16 1.1 times as long as one of 8 (1.3 and 1.5).
SHIPPED_BLOCK = 16
RELEASED = {"pruned": "importance", "distilled": "distilled"}  # name in the package -> method


def release(profile, folder, *, dataset="edf20", cells=7, device="auto", max_minutes=0):
    """Train a profile's network of depth `cells`, full, pruned and, where stage 2 distilled it, distilled, on all
    subjects of a data set, which may be one's own, and write them to `folder`, with those of fold 0: NAME.safetensors,
    NAME.json and, of what was trained on everybody, NAME.onnx. An interrupted training is resumed. Returns the paths,
    without endings. Raises ValueError when stage 1 or 2 has not made a network, TimeOver."""
    run = Run(profile=profile, dataset=dataset, device=device, max_minutes=max_minutes)
    full, pruned = (_of_depth(load(run), cells, profile) for load in (load_networks, load_pruned))
    balance = load_network(pruned.networks[0])[1]["config"]["balance"]
    pruning = Pruning(ratio=pruned.key.pruned, balance=balance, finetune_epochs=pruned.training.epochs)
    epochs, whole = full.data, train_everybody(full, run)
    first = next(fold for fold in full.folds if fold.number == 0)
    made = [("", full.key, whole.networks[0], full.networks[0])]
    for way, method in RELEASED.items():
        key = replace(full.key, pruned=pruning.ratio, variant="" if way == "pruned" else way)
        if len(_rows(key, profile)):
            of_fold = pruned.networks[0] if way == "pruned" else prune(full, method, pruning, run)
            made.append((f"_{way}", key, prune(whole, method, pruning, run), of_fold))
    part, written = f"{run.dataset}_first{epochs.x.shape[1] / epochs.fs:g}s", []
    for suffix, key, everyone, of_fold in made:
        checked = cross_validation(key, epochs, profile)
        for saved, name, fold in ((everyone, part, whole.folds[0]), (of_fold, "fold0", first)):
            facts = {"data": spoken(epochs.subset(fold.train), profile, dataset), "cross_validation": checked}
            path = Path(folder) / f"{name}_L{cells}{suffix}"
            written.append(_save(saved, path, epochs, fold, facts, exported=fold is not first))
    return written


def train_everybody(full, run):
    """The full network, trained as on its folds, on all subjects but the CHOOSERS, which are the test, too."""
    subjects, genotype = full.data.subject, load_network(full.networks[0])[0].genotype
    people = np.unique(subjects)
    choosers = min(CHOOSERS, max(1, len(people) // 2))
    valid = np.isin(subjects, np.random.default_rng(0).choice(people, choosers, replace=False))
    fold = Fold(0, np.flatnonzero(~valid), np.flatnonzero(valid), np.flatnonzero(valid))
    work = run.work(run.stage1) / "everybody"
    return _carried_out(full_plan(full.key, full.data, (fold,), genotype, full.training, work), run)


def prune(network, method, pruning, run):
    """Path of fold 0 of a network with filters removed, trained by one of METHODS unless stage 2 has done so."""
    return _carried_out(pruning_plan(network, method, pruning, run, only=(0,)), run).networks[0]


def cross_validation(key, epochs, profile):
    """What cross-validation says of a network, mean over its seeds: a dict that json can hold."""
    rows = _rows(key, profile)
    pooled, seen = rows[rows.fold == "pooled"], bool(searched_on_all([key.label], _simulated(profile)))
    facts = {"data": spoken(epochs, profile, key.dataset), "protocol": key.protocol}
    facts["architecture_has_seen_test_subjects"] = seen
    facts |= {"folds": rows.fold.nunique() - 1, "seeds": pooled.seed.nunique(), "n": int(pooled.n.iloc[0])}
    means = pooled.groupby("context")[list(SCORES)].mean().round(5)
    return facts | means.loc["none"].to_dict() | {"context": means.loc["both"].to_dict()}


def _rows(key, profile):
    """The rows of the profile's crossval.csv of a network, all seeds and contexts."""
    rows, columns = results.gather(profile, "crossval.csv"), key.columns()
    same = [name for name in NETWORK if name not in ("context", "seed")]
    return rows[np.logical_and.reduce([rows[name] == columns[name] for name in same])]


def spoken(epochs, profile, dataset):
    """Which data, in words."""
    origin = "simulated sleep" if _simulated(profile) else "Sleep-EDF Expanded, Fpz-Cz"
    origin = origin if dataset in DATASETS else f"data set {dataset}"
    nights, subjects = len(np.unique(epochs.night)), len(np.unique(epochs.subject))
    part = "" if (seconds := epochs.x.shape[1] / epochs.fs) == 30 else f", the first {seconds:g} s of every 30-s epoch"
    return f"{origin}, {nights} nights of {subjects} subjects{part}"


def _simulated(profile):
    return (results.find(profile, "preparation.json") or {"simulated": True})["simulated"]


def _of_depth(networks, cells, profile):
    chosen = [network for network in subjectwise(networks) if network.key.cells == cells]
    if not chosen or 0 not in chosen[0].networks:
        raise ValueError(f"profile {profile} has no network of {cells} cells with a fold 0; name one of its depths")
    return chosen[0]


def _carried_out(plan, run):
    return cross_validate([plan], run.device, deadline=run.deadline())[0]


def _save(network, path, epochs, fold, facts, exported):
    """Copy a saved network with all that scoring wants to know about it."""
    net, about = load_network(network)
    context = fold_context(epochs, fold, fold_probabilities(network))
    training = {side: subjects for side, subjects in fold.subjects(epochs).items() if side != "test" or not exported}
    facts = {name: about[name] for name in ("fs", "samples", "protocol")} | {"training": training} | facts
    if not exported and "metrics" in about:  # on everybody, the test subjects are those that validate
        facts["metrics"] = about["metrics"]
    facts |= {"normalisation": about["normalisation"], "training_signal": signal_facts(epochs.x[fold.train])}
    facts["context"] = {name: np.round(value, 8).tolist() for name, value in asdict(context).items()}
    save_network(net, path, facts)
    if exported:
        known = {name: value for name, value in load_network(path)[1].items() if name not in STRUCTURE}
        onnx = path.with_name(path.name + ".onnx")
        export_onnx(net, onnx, about["samples"], facts["normalisation"], known, SHIPPED_BLOCK)
    return path
