"""The weights that come with the package: a profile's cross-validated network, trained once more on everybody.

A network of a fold has never seen the fold's test subjects, which is what makes its accuracy honest; one that is to
score other people's nights should have seen everyone. Nobody is left to test it on: it quotes the cross-validation.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from sleepkit import results
from sleepkit.evaluation import crossval
from sleepkit.evaluation.fold import fold_probabilities
from sleepkit.evaluation.protocols import SUBJECTWISE, Fold
from sleepkit.execution.checkpoint import Deadline
from sleepkit.experiments.compare import WAYS
from sleepkit.experiments.stage1 import full_plan, load_epochs
from sleepkit.experiments.stage2 import Stage2, folds_of, pruning_plan
from sleepkit.experiments.trained import Trained, families, load_pruned, load_trained
from sleepkit.network.saved import load_network, save_network
from sleepkit.paper.provenance import searched_on_all
from sleepkit.recordings.quality import signal_facts
from sleepkit.results import NETWORK, SCORES
from sleepkit.scoring.onnx_export import STRUCTURE, export_onnx

CHOOSERS = 3  # subjects that choose the epoch to keep
# Channels of a block in the exported files. Measured at 500 and 3000 samples: with AVX-512 a file of 8 takes 1.2 and
# 1.3 times as long as one of 16 (pruned 1.4 and 1.5), with AVX2 one of 16 1.1 times as long as one of 8 (1.3 and 1.5).
SHIPPED_BLOCK = 16
RELEASED = ("pruned", "distilled")  # of WAYS: those that one full network is enough for


def release(profile, folder, dataset="edf20", cells=7, device="cpu", max_minutes=None):
    """Train a profile's network of depth `cells`, full, pruned and, where stage 2 distilled it, distilled, on all
    subjects and write them to `folder`, beside those of fold 0: NAME.safetensors, NAME.json and, of what was trained
    on everybody, NAME.onnx.

    Stage 1 and stage 2 of the profile must have run. An interrupted training is resumed. Returns the paths, without
    endings. Raises ValueError when a network is missing or `max_minutes` were over first.
    """
    settings = Stage2(profile, dataset, device=device, max_minutes=max_minutes)
    full, pruned = (_of_depth(load(settings), cells, profile) for load in (load_trained, load_pruned))
    balance = load_network(pruned.networks[0])[1]["config"]["balance"]
    settings = replace(settings, finetune_epochs=pruned.train.epochs, balance=balance)
    epochs = load_epochs(replace(settings, subjects=full.subjects))
    fold = everybody(epochs)
    first = next(fold for fold in folds_of(epochs, full, settings) if fold.number == 0)
    whole = train_everybody(epochs, fold, full, settings)
    made = [("", full.keys, whole.networks[0], full.networks[0])]
    for way in RELEASED:
        ending = WAYS[way]
        keys = full.keys | {"pruned": pruned.keys["pruned"], "genotype": full.keys["genotype"] + ending}
        if len(_rows(keys, profile)):
            everyone = prune(epochs, whole, settings, way, keys["pruned"])
            of_fold = pruned.networks[0] if way == "pruned" else prune(epochs, full, settings, way, keys["pruned"])
            made.append((f"_{way}", keys, everyone, of_fold))
    part = f"first{epochs.x.shape[1] / epochs.fs:g}s_L{cells}"
    written = []
    for suffix, keys, everyone, of_fold in made:
        checked = cross_validation(keys, epochs, profile)
        for saved, name, sides, exported in (
            (everyone, f"{dataset}_{part}{suffix}", fold, True),
            (of_fold, f"fold0_L{cells}{suffix}", first, False),
        ):
            facts = {"data": spoken(epochs.subset(sides.train), profile), "cross_validation": checked}
            written.append(_save(saved, Path(folder) / name, epochs, sides, facts, exported))
    return written


def everybody(epochs):
    """A fold that trains on all subjects but the CHOOSERS; these are its test, too, as nobody is left."""
    valid = np.isin(epochs.subject, np.random.default_rng(0).choice(np.unique(epochs.subject), CHOOSERS, replace=False))
    return Fold(0, np.flatnonzero(~valid), np.flatnonzero(valid), np.flatnonzero(valid))


def train_everybody(epochs, fold, full, settings):
    """The full network, trained on `fold` exactly as `full` was on its folds, as a Trained.

    full : Trained;  settings : Stage2
    """
    genotype = load_network(full.networks[0])[0].genotype
    keys = full.keys | {"of": "everybody"}
    plan = full_plan(epochs, [fold], keys, genotype, full.train, settings.work / "everybody")
    return Trained(full.keys, {0: _carry_out(plan, settings)}, full.train, {"0": fold.subjects(epochs)}, epochs.content)


def prune(epochs, full, settings, way, ratio):
    """Path of the first network of `full` with the share `ratio` of its filters removed, then trained in a way of
    RELEASED.

    What stage 2 has trained on the same epochs is not trained again.
    """
    method = "importance" if way == "pruned" else way
    return _carry_out(pruning_plan(epochs, full, settings, method, ratio, only=(0,)), settings)


def cross_validation(keys, epochs, profile):
    """What cross-validation says of a network, mean over its seeds, as the weights' description quotes it: a dict that
    json can hold."""
    rows = _rows(keys, profile)
    pooled = rows[rows.fold == "pooled"]
    facts = {
        "data": spoken(epochs, profile),
        "protocol": keys["protocol"],
        "architecture_has_seen_test_subjects": bool(searched_on_all([keys["genotype"]], _simulated(profile))),
        "folds": rows[rows.fold != "pooled"].fold.nunique(),
        "seeds": pooled.seed.nunique(),
        "n": int(pooled.n.iloc[0]),
    }
    means = pooled.groupby("context")[list(SCORES)].mean().round(5)
    return facts | means.loc["none"].to_dict() | {"context": means.loc["both"].to_dict()}


def _rows(keys, profile):
    """The rows of the profile's crossval.csv of a network, all seeds, each epoch for itself and with context."""
    rows = results.gather(profile, "crossval.csv")
    same = [name for name in NETWORK if name not in ("context", "seed")]
    return rows[np.logical_and.reduce([rows[name] == keys[name] for name in same])]


def spoken(epochs, profile):
    """Which data, in words."""
    origin = "simulated sleep" if _simulated(profile) else "Sleep-EDF Expanded, Fpz-Cz"
    nights, subjects = len(np.unique(epochs.night)), len(np.unique(epochs.subject))
    seconds = epochs.x.shape[1] / epochs.fs
    part = "" if seconds == 30 else f", the first {seconds:g} s of every 30-s epoch"
    return f"{origin}, {nights} nights of {subjects} subjects{part}"


def _simulated(profile):
    return (results.find(profile, "preparation.json") or {"simulated": True})["simulated"]


def _of_depth(trained, cells, profile):
    chosen = [family[0] for key, family in families(trained).items() if key[2] == cells]
    if not chosen or 0 not in chosen[0].networks:
        raise ValueError(f"profile {profile} has no network of {cells} cells with a fold 0; name one of its depths")
    return chosen[0]


def _carry_out(plan, settings):
    done = crossval.carry_out([plan], settings.device, Deadline.after(settings.max_minutes))
    return crossval.finished(done, settings.max_minutes)[0][2][0]


def _save(network, path, epochs, fold, facts, exported):
    """Copy a saved network with all that scoring wants to know about it."""
    net, about = load_network(network)
    context = crossval.fold_context(epochs, fold, fold_probabilities(network))
    training = {side: subjects for side, subjects in fold.subjects(epochs).items() if side != "test" or not exported}
    facts = {name: about[name] for name in ("fs", "samples", "protocol")} | {"training": training} | facts
    if not exported and "metrics" in about:  # on everybody, the test subjects are those that validate
        facts["metrics"] = about["metrics"]
    facts |= {
        "normalisation": asdict(SUBJECTWISE.normalisation(epochs, fold)),
        "training_signal": signal_facts(epochs.x[fold.train]),
        "context": {name: np.round(value, 8).tolist() for name, value in asdict(context).items()},
    }
    save_network(net, path, facts)
    if exported:
        known = {name: value for name, value in load_network(path)[1].items() if name not in STRUCTURE}
        onnx = path.with_name(path.name + ".onnx")
        export_onnx(net, onnx, about["samples"], facts["normalisation"], known, SHIPPED_BLOCK)
    return path
