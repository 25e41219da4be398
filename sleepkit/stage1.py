"""Stage 1 of the paper: search an architecture, then train and test the network it describes. Files in, files out."""

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from sleepkit import crossval, paths
from sleepkit.cost import count_macs
from sleepkit.epochs import STAGES, EpochSet
from sleepkit.network import SleepNet, count_parameters
from sleepkit.recordings import nights_of
from sleepkit.reference import published_genotype
from sleepkit.results import write_table
from sleepkit.search import SearchSettings, run_search
from sleepkit.training import TrainSettings

PROTOCOLS = ("subjectwise", "epochwise")
ORIGINS = ("searched", "published")


@dataclass(frozen=True)
class Stage1:
    """Settings of a stage-1 notebook.

    dataset : "edf20" or "edf78": which of the prepared nights belong to it
    origins : whose genotypes become networks, "searched" and "published"
    network_cells : depths L of the networks that are trained
    """

    profile: str
    dataset: str
    search: SearchSettings
    train: TrainSettings
    origins: tuple = ("searched",)
    network_channels: int = 8
    network_cells: tuple = (7, 9, 11)
    protocols: tuple = ("subjectwise",)
    folds: int = 10
    validation_subjects: int = 3
    seeds: tuple = (0,)
    device: str = "cpu"

    def __post_init__(self):
        for name, known in (("protocols", PROTOCOLS), ("origins", ORIGINS)):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            wrong = [value for value in getattr(self, name) if value not in known]
            if wrong:
                raise ValueError(f"{name}: unknown {wrong}; known are {', '.join(known)}")
        for name in ("network_cells", "seeds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("network_channels", "folds", "validation_subjects"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")

    @property
    def notebook(self):
        return f"stage1_{self.dataset}"

    @property
    def folder(self):
        return paths.results(self.profile) / self.notebook

    @property
    def work(self):
        return paths.runs(self.profile) / self.notebook


def load_epochs(settings):
    """The prepared nights of the profile that belong to the settings' data set."""
    folder = paths.runs(settings.profile) / "nights"
    there = {path.stem for path in folder.glob("[!.]*.npz")}
    nights = [night for night in nights_of(settings.dataset) if night in there]
    if not nights:
        raise ValueError(f"{folder}: no prepared night of {settings.dataset}; run the prepare notebook of profile {settings.profile} first")
    return EpochSet.load(folder, nights)


def search_architecture(epochs, settings):
    """Search on all epochs and write what came of it under results/; an unfinished search is resumed.

    Also writes settings.json, from which tables say what this run was.
    """
    found = run_search(epochs, settings.search, settings.work / "search", device=settings.device)
    folder = settings.folder
    with paths.written(folder / "genotype.json") as path:
        path.write_text(found.genotype.to_json() + "\n")
    facts = {"profile": settings.profile, "dataset": settings.dataset, **asdict(settings.search)}
    facts |= {"seconds": epochs.x.shape[1] / epochs.fs, "samples": epochs.x.shape[1], "n_epochs": len(epochs)}
    facts |= {"n_subjects": len(np.unique(epochs.subject)), "n_nights": len(np.unique(epochs.night)), "device": settings.device}
    with paths.written(folder / "settings.json") as path:
        path.write_text(json.dumps(facts, indent=1) + "\n")
    write_table(found.history, folder / "history.csv")
    write_table(found.removed_samples, folder / "removed_samples.csv")
    write_table(found.removed_operations, folder / "removed_operations.csv")
    for name, arrays in (("weights", found.weights), ("kept", found.kept)):
        with paths.written(folder / f"{name}.npz") as path:
            np.savez_compressed(path, **arrays)
    with paths.written(folder / "voe.npz") as path:
        np.savez_compressed(path, **{column: found.voe[column].to_numpy(str if column == "half" else None) for column in found.voe})
    return found


def genotypes(found, settings):
    """Label -> Genotype of the networks to train: "edf20-searched", "edf20-published"."""
    choices = {"searched": found.genotype, "published": published_genotype(settings.dataset)}
    return {f"{settings.dataset}-{origin}": choices[origin] for origin in settings.origins}


def make_folds(epochs, protocol, settings):
    """Folds of a protocol and, for subjectwise ones, their manifest as a file beside the results."""
    if protocol == "epochwise":
        return crossval.epoch_folds(len(epochs))
    folds = crossval.subject_folds(epochs.subject, settings.folds, settings.validation_subjects)
    with paths.written(settings.folder / "folds.json") as path:
        path.write_text(json.dumps(crossval.manifest(epochs, folds), indent=1) + "\n")
    return folds


def train_networks(epochs, found, settings):
    """Train and test every network of the settings on every fold; write crossval.csv and its companions; return crossval.csv."""
    runs = []
    for label, genotype in genotypes(found, settings).items():
        for protocol in settings.protocols:
            for cells in settings.network_cells:
                for seed in settings.seeds:
                    runs.append(train_network(epochs, found, settings, label, genotype, protocol, cells, seed))
    return write_runs(runs, settings.folder)


def train_network(epochs, found, settings, label, genotype, protocol, cells, seed):
    """One network over all folds: (keys, predictions, curves, network folder names, SleepNet of the first fold's size)."""
    if protocol == "epochwise":
        kept = np.sort(np.concatenate([found.kept["train"], found.kept["valid"]]))
        epochs = epochs.subset(np.isin(epochs.id, kept))
    keys = {"protocol": protocol, "genotype": label, "channels": settings.network_channels, "cells": cells, "pruned": 0.0, "seed": seed}
    train = replace(settings.train, seed=seed, select_by="acc" if protocol == "epochwise" else "mf1")

    def start(fold):
        return SleepNet(genotype, settings.network_channels, cells)

    folds = make_folds(epochs, protocol, settings)
    config = keys | {"cells_of": json.loads(genotype.to_json())}
    predictions, curves, networks = crossval.cross_validate(
        epochs, folds, protocol, start, train, settings.work / "folds", config, settings.device
    )
    return keys, predictions, curves, networks, {"net": start(0), "samples": epochs.x.shape[1]}


def write_runs(runs, folder):
    """Write the result files of a notebook's networks and return its crossval.csv as a data frame."""
    tables = {"crossval": [], "per_class": [], "confusion": [], "training_curves": [], "parameters": []}
    for keys, predictions, curves, _, size in runs:
        tables["crossval"].append(crossval.score_rows(predictions, keys))
        tables["per_class"].append(crossval.class_rows(predictions, keys))
        tables["confusion"].append(crossval.confusion_rows(predictions, keys))
        tables["training_curves"].append(curves.assign(**keys, context="none"))
        cost = {"params": count_parameters(size["net"]), "macs": count_macs(size["net"], size["samples"]), "samples": size["samples"]}
        parameters = {name: keys[name] for name in ("genotype", "channels", "cells", "pruned")} | cost
        tables["parameters"].append(pd.DataFrame([parameters]))
    for name, frames in tables.items():
        write_table(pd.concat(frames, ignore_index=True), folder / f"{name}.csv")
    keys, predictions, _, _, _ = runs[0]
    write_predictions(predictions, keys, folder / "predictions.npz")
    return pd.concat(tables["crossval"], ignore_index=True)


def write_predictions(predictions, keys, path):
    """The per-epoch probabilities of one network, compact, so that later figures need no training."""
    arrays = {name: predictions[name].to_numpy() for name in ("id", "subject", "y", "fold")}
    arrays["night"] = predictions["night"].to_numpy(str)
    for name, letter in (("prob", "p"), ("prob_context", "c")):
        if f"{letter}_W" in predictions:
            arrays[name] = predictions[[f"{letter}_{stage}" for stage in STAGES]].to_numpy(np.float16)
    with paths.written(path) as temporary:
        np.savez_compressed(temporary, network=json.dumps(keys), **arrays)
