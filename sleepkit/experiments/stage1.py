"""Stage 1 of the paper: search an architecture, then train and test the network it describes. Files in, files out."""

import json
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES, EpochSet, parse_night
from sleepkit.evaluation import crossval, protocols
from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution import jobs, paths
from sleepkit.execution.checkpoint import Deadline
from sleepkit.experiments.nested import nested_plans, nested_search
from sleepkit.network.size import count_macs, count_parameters
from sleepkit.network.sleepnet import new_network
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.data import removed_examples, sample_variances
from sleepkit.recordings import nights_of
from sleepkit.results import NETWORK, write_table
from sleepkit.search.bilevel import run_search, search_key
from sleepkit.search.settings import SearchSettings

PROTOCOLS = ("subjectwise", "epochwise")
ORIGINS = ("searched", "published")
BESIDE = {"hum": {"hum": 0.25}}  # what networks trained another way change in the training


@dataclass(frozen=True)
class Stage1:
    """Settings of a stage-1 notebook.

    dataset : "edf20" or "edf78": which of the prepared nights belong to it
    subjects : those of its subjects that take part; empty takes all
    origins : whose genotypes become networks, "searched" and "published"
    network_cells : depths L of the networks that are trained
    folds, only_folds : number of subject-wise folds, and the numbers of those folds to run; empty runs all
    where : where folds run, "inline", "local" or "slurm" (sleepkit.execution.jobs)
    max_minutes : minutes that the search, the training, and the searches inside folds and their training may take
        each; then ValueError, and the next call goes on
    nested : dict of what changes in the search's settings when it is repeated inside every subject-wise fold
        (sleepkit.experiments.nested); empty or None leaves that out
    beside : those of BESIDE: every network but the nested one once more, trained so, as rows whose genotype ends so
    rates : dict depth -> learning rate of the networks of that depth, where it is not that of `train`; may be None,
        and may name depths that are not trained
    """

    profile: str
    dataset: str
    search: SearchSettings
    train: TrainSettings
    subjects: tuple = ()
    origins: tuple = ("searched",)
    network_channels: int = 8
    network_cells: tuple = (7, 9, 11)
    protocols: tuple = ("subjectwise",)
    folds: int = 10
    validation_subjects: int = 3
    seeds: tuple = (0,)
    device: str = "cpu"
    only_folds: tuple = ()
    where: str = "inline"
    max_minutes: float | None = None
    nested: dict | None = None
    beside: tuple = ()
    rates: dict | None = None

    def __post_init__(self):
        for name, known in (("protocols", PROTOCOLS), ("origins", ORIGINS), ("beside", BESIDE)):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            wrong = [value for value in getattr(self, name) if value not in known]
            if wrong:
                raise ValueError(f"{name}: unknown {wrong}; known are {', '.join(known)}")
        for name in ("subjects", "network_cells", "seeds", "only_folds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("protocols", "origins", "network_cells", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty: name at least one, or there is no network to train")
        jobs.require_place(self.where)
        if self.nested:
            nested_search(self)
        for name in ("network_channels", "folds", "validation_subjects"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if min(self.network_cells) < 1:
            raise ValueError(f"network_cells={self.network_cells}: a network has at least one cell")
        for name in ("protocols", "origins", "network_cells", "seeds", "beside"):
            require_once(name, getattr(self, name))
        try:
            rates = {int(cells): float(rate) for cells, rate in (self.rates or {}).items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"rates={self.rates!r}: expected learning rates by depth, such as {{9: 0.005}}") from error
        object.__setattr__(self, "rates", rates)

    def train_of(self, cells):
        """The settings of training of networks of that depth."""
        return replace(self.train, lr=self.rates.get(cells, self.train.lr))

    @property
    def notebook(self):
        return f"stage1_{self.dataset}"

    @property
    def folder(self):
        return paths.results(self.profile) / self.notebook

    @property
    def work(self):
        return paths.runs(self.profile) / self.notebook


def require_once(name, values):
    """ValueError where a setting names something twice: it would count twice in every mean and sd."""
    if len(set(values)) < len(values):
        raise ValueError(f"{name}={values}: a value stands twice; name each once")


@dataclass(frozen=True)
class NetworkRun:
    """One network, trained and tested on every fold.

    keys : the columns protocol ... seed of crossval.csv
    predictions, curves : data frames of sleepkit.evaluation.crossval.cross_validate
    networks : paths of the saved networks, one a fold, without ending
    data : name of its epochs (`EpochSet.content`)
    """

    keys: dict
    predictions: pd.DataFrame
    curves: pd.DataFrame
    networks: list
    train: TrainSettings
    data: str
    params: int
    macs: int
    samples: int

    @property
    def by_fold(self):
        """Dict number of the fold -> path of its network, without ending."""
        return {int(path.name.removeprefix("fold")): path for path in self.networks}

    def parameters(self):
        """The row of parameters.csv."""
        names = {name: self.keys[name] for name in ("genotype", "channels", "cells", "pruned")}
        return names | {"params": self.params, "macs": self.macs, "samples": self.samples}


def load_epochs(settings):
    """The prepared nights of the profile that belong to the settings' data set and subjects."""
    folder = paths.runs(settings.profile) / "nights"
    there = {path.stem for path in folder.glob("[!.]*.npz")}
    nights = [night for night in nights_of(settings.dataset) if night in there]
    if settings.subjects:
        nights = [night for night in nights if parse_night(night)[0] in settings.subjects]
    if not nights:
        whose = f"{settings.dataset}, subjects {settings.subjects or 'all'}"
        raise ValueError(
            f"{folder}: no prepared night of {whose}; run the prepare notebook of profile {settings.profile} first"
        )
    return EpochSet.load(folder, nights)


def search_architecture(epochs, settings):
    """Search on all epochs and write what came of it under results/; an unfinished search is resumed.

    Also writes settings.json, from which tables say what this run was.
    """
    work = settings.work / f"search-{search_key(epochs, settings.search)}"
    limit = settings.max_minutes
    found = crossval.finished(run_search(epochs, settings.search, work, Deadline.after(limit), settings.device), limit)
    folder = settings.folder
    with paths.written(folder / "genotype.json") as path:
        path.write_text(found.genotype.to_json() + "\n")
    facts = {"profile": settings.profile, "dataset": settings.dataset, **asdict(settings.search)}
    facts |= {"seconds": epochs.x.shape[1] / epochs.fs, "samples": epochs.x.shape[1], "n_epochs": len(epochs)}
    facts |= {
        "n_subjects": len(np.unique(epochs.subject)),
        "n_nights": len(np.unique(epochs.night)),
        "device": settings.device,
    }
    with paths.written(folder / "settings.json") as path:
        path.write_text(json.dumps(facts, indent=1) + "\n")
    write_table(found.history, folder / "history.csv")
    write_table(found.removed_samples, folder / "removed_samples.csv")
    write_table(found.removed_operations, folder / "removed_operations.csv")
    voe = sample_variances(epochs, found.voe)
    several = {"weights": found.weights, "kept": found.kept, "voe": voe, "examples": removed_examples(epochs, voe)}
    for name, arrays in several.items():
        with paths.written(folder / f"{name}.npz") as path:
            np.savez_compressed(path, **arrays)
    return found


def genotypes(found, settings):
    """Label -> Genotype of the networks to train: "edf20-searched", "edf20-published"."""
    choices = {"searched": found.genotype, "published": published_genotype(settings.dataset)}
    return {f"{settings.dataset}-{origin}": choices[origin] for origin in settings.origins}


def make_folds(epochs, protocol, settings):
    """Folds of a protocol; the subjects of subjectwise folds are written beside the results."""
    if protocol == "epochwise":
        return protocols.epoch_folds(len(epochs))
    folds = protocols.subject_folds(epochs.subject, settings.folds, settings.validation_subjects)
    with paths.written(settings.folder / "folds.json") as path:
        path.write_text(json.dumps(protocols.manifest(epochs, folds), indent=1) + "\n")
    return folds


def train_networks(epochs, found, settings):
    """Train and test every network of the settings on every fold; write the result files and return crossval.csv.

    All folds of all networks are independent jobs. The network that every fold searches for itself (sleepkit.experiments.nested)
    comes after them and is the last of crossval.csv. Raises ValueError when `max_minutes` were over first.
    """
    kept = np.isin(epochs.id, np.concatenate([found.kept["train"], found.kept["valid"]]))
    data = {protocol: epochs if protocol == "subjectwise" else epochs.subset(kept) for protocol in settings.protocols}
    folds = {protocol: make_folds(data[protocol], protocol, settings) for protocol in settings.protocols}
    plans = [
        network_plan(data[protocol], folds[protocol], so, label + end, genotype, protocol, cells, seed)
        for so, end in trained_so(settings)
        for label, genotype in genotypes(found, settings).items()
        for protocol in settings.protocols
        for cells in settings.network_cells
        for seed in settings.seeds
    ]
    runs = run_plans(plans, settings)
    facts = {"search": asdict(settings.search)}
    if "subjectwise" in folds:
        facts["folds"] = protocols.manifest(epochs, folds["subjectwise"])
    write_networks(runs, settings, facts)
    rows = write_runs(runs, settings.folder)
    if not settings.nested:
        return rows
    # Not among the networks above: stage 2 prunes those that are one architecture over all folds.
    nested = run_plans(nested_plans(epochs, folds["subjectwise"], settings), settings)
    return write_runs([*runs, merged(nested)], settings.folder)


def trained_so(settings):
    """Pairs (settings, end of the genotype's name) of the ways in which every network is trained."""
    changed = {f"-{name}": replace(settings.train, **BESIDE[name]) for name in settings.beside}
    return [(settings, ""), *((replace(settings, train=train), end) for end, train in changed.items())]


def network_plan(epochs, folds, settings, label, genotype, protocol, cells, seed):
    """The plan of one network over the folds of a protocol."""
    keys = {"protocol": protocol, "genotype": label, "channels": settings.network_channels, "cells": cells}
    keys |= {"pruned": 0.0, "context": "none", "seed": seed}
    train = replace(settings.train_of(cells), select_by="acc" if protocol == "epochwise" else "mf1")
    only = settings.only_folds if protocol == "subjectwise" else ()
    return full_plan(epochs, folds, keys, genotype, train, settings.work, only)


def full_plan(epochs, folds, keys, genotype, train, work, only=()):
    """The plan of a genotype at full width: `keys` are its columns protocol ... seed, `work` is stage 1's folder."""
    start = partial(new_network, genotype, keys["channels"], keys["cells"])
    config = keys | {"architecture": json.loads(genotype.to_json())}
    train = replace(train, seed=keys["seed"])
    return crossval.Plan(epochs, folds, keys["protocol"], start, train, work / "folds", config, tuple(only))


def run_plans(plans, settings):
    """Carry out plans of crossval where the settings say; returns their NetworkRuns, or raises TimeOver."""
    limit = settings.max_minutes
    done = crossval.carry_out(plans, settings.device, Deadline.after(limit), settings.where)
    results = crossval.finished(done, limit)
    return [_network_run(plan, result) for plan, result in zip(plans, results, strict=True)]


def _network_run(plan, result):
    keys = {name: plan.config[name] for name in NETWORK}
    first = plan.chosen()[0].number
    return NetworkRun(keys, *result, plan.settings, plan.epochs.content, *size_of(plan.start(first), plan.epochs))


def merged(runs):
    """Runs of one fold each as one NetworkRun of all folds; its size is the mean of theirs."""
    predictions = pd.concat([run.predictions for run in runs]).sort_values("id", ignore_index=True)
    curves = pd.concat([run.curves for run in runs], ignore_index=True)
    networks = [network for run in runs for network in run.networks]
    sizes = (round(np.mean([getattr(run, name) for run in runs])) for name in ("params", "macs", "samples"))
    return NetworkRun(runs[0].keys, predictions, curves, networks, runs[0].train, runs[0].data, *sizes)


def size_of(net, epochs):
    """(parameters, MACs, samples) of a network on the epochs it scores."""
    samples = epochs.x.shape[1]
    return count_parameters(net), count_macs(net, samples), samples


def write_networks(runs, settings, facts):
    """Write the list of a notebook's networks, networks.json: which they are, where they lie and how they were
    trained. Stage 2 starts from those of stage 1."""
    listed = [
        {
            "keys": run.keys,
            "networks": {number: str(path) for number, path in run.by_fold.items()},
            "train": asdict(run.train),
            "data": run.data,
        }
        for run in runs
    ]
    with paths.written(settings.work / "networks.json") as path:
        path.write_text(json.dumps(facts | {"networks": listed}, indent=1) + "\n")


def write_runs(runs, folder):
    """Write the result files of a notebook's networks and return its crossval.csv as a data frame."""
    frames = {
        "crossval": [crossval.score_rows(run.predictions, run.keys) for run in runs],
        "per_class": [crossval.class_rows(run.predictions, run.keys) for run in runs],
        "confusion": [crossval.confusion_rows(run.predictions, run.keys) for run in runs],
        "confusion_by_night": [crossval.night_rows(run.predictions, run.keys) for run in runs],
        "training_curves": [run.curves.assign(**run.keys) for run in runs],
        "parameters": [pd.DataFrame([run.parameters()]) for run in runs],
    }
    tables = {name: pd.concat(parts, ignore_index=True).drop_duplicates() for name, parts in frames.items()}
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv")
    write_predictions(runs[0], folder / "predictions.npz")
    return tables["crossval"]


def write_predictions(run, path):
    """The per-epoch probabilities of one network, compact, so that later figures need no training."""
    predictions = run.predictions
    arrays = {name: predictions[name].to_numpy() for name in ("id", "subject", "y", "fold")}
    arrays["night"] = predictions["night"].to_numpy(str)
    for name, letter in (("prob", "p"), ("prob_context", "c")):
        if f"{letter}_W" in predictions:
            arrays[name] = predictions[[f"{letter}_{stage}" for stage in STAGES]].to_numpy(np.float16)
    with paths.written(path) as temporary:
        np.savez_compressed(temporary, network=json.dumps(run.keys), **arrays)
