"""Stage 1 of the paper: search an architecture, then train and test the network it describes.

Nested, search and data pruning are repeated inside every fold: not even the architecture has seen whom it is tested on.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import EpochSet, parse_night
from sleepkit.evaluation.crossval import Plan, cross_validate, share, shared
from sleepkit.evaluation.protocols import PROTOCOLS, SUBJECTWISE, Fold, manifest
from sleepkit.evaluation.scores import write_scores
from sleepkit.execution import jobs, paths, record
from sleepkit.execution.checkpoint import Deadline
from sleepkit.experiments.settings import changed
from sleepkit.network.sleepnet import new_network
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.data import removed_examples, sample_variances
from sleepkit.recordings.sleep_edf import DATASETS, nights_of
from sleepkit.results import NetworkKey, read, write_json, write_table
from sleepkit.search.bilevel import run_search, search_key
from sleepkit.search.settings import SearchSettings


def load_epochs(run):
    """The prepared nights of the profile that belong to the run's data set and subjects, as an EpochSet."""
    folder = paths.runs(run.profile) / "nights"
    if run.dataset in DATASETS:
        there = {path.stem for path in folder.glob("[!.]*.npz")}
        who = {night: parse_night(night)[0] for night in nights_of(run.dataset) if night in there}
    else:  # what the prepare notebook listed: others may lie there from earlier runs
        listed = read(run.profile, "nights.csv")
        who = listed[listed.dataset == run.dataset].set_index("night").subject.to_dict()
    wanted = {str(subject) for subject in run.subjects}  # those of one's own nights are texts
    nights = [night for night, subject in who.items() if not wanted or str(subject) in wanted]
    if not nights:
        what = f"no prepared night of {run.dataset}, subjects {run.subjects or 'all'}"
        raise ValueError(f"{folder}: {what}; run the prepare notebook of profile {run.profile} first")
    return EpochSet.load(folder, nights)


def search_architecture(epochs, search, run):
    """Search on all epochs and write what came of it, and settings.json, under results/; an unfinished search is
    resumed. Returns a SearchResult; raises TimeOver."""
    folder, work = run.results(run.stage1), run.work(run.stage1) / f"search-{search_key(epochs, search)}"
    found = run_search(epochs, search, work, run.deadline(), run.device)
    with paths.written(folder / "genotype.json") as path:
        path.write_text(found.genotype.to_json() + "\n")
    facts = {"profile": run.profile, "dataset": run.dataset, **record.told(search)}
    facts |= {"seconds": epochs.x.shape[1] / epochs.fs, "samples": epochs.x.shape[1], "n_epochs": len(epochs)}
    facts |= {"n_subjects": len(np.unique(epochs.subject)), "n_nights": len(np.unique(epochs.night))}
    write_json(facts | {"device": run.device}, folder / "settings.json")
    for name in ("history", "removed_samples", "removed_operations"):
        write_table(getattr(found, name), folder / f"{name}.csv")
    voe = sample_variances(epochs, found.voe)
    several = {"weights": found.weights, "kept": found.kept, "voe": voe, "examples": removed_examples(epochs, voe)}
    for name, arrays in several.items():
        with paths.written(folder / f"{name}.npz") as path:
            np.savez_compressed(path, **arrays)
    return found


def train_networks(epochs, found, *, search, training, networks, run):
    """Train and test every network on every fold; write the result files and return crossval.csv.
    found : SearchResult of `search`;  networks : sleepkit.experiments.settings.Networks
    Folds are independent jobs. The network that every fold searches for itself comes last. Raises TimeOver."""
    data = {name: data_of(PROTOCOLS[name], epochs, found.kept) for name in networks.protocols}
    choices = {"searched": found.genotype, "published": published_genotype(run.dataset)}
    if "published" in networks.origins and choices["published"] is None:
        raise ValueError(f'origins: {run.dataset} is no data set of the paper, so none is published; name "searched"')
    folds, plans, shape = {}, [], {"dataset": run.dataset, "channels": networks.channels}
    for name in networks.protocols:
        folds[name] = tuple(PROTOCOLS[name].folds(data[name], networks.folds, networks.validation_subjects))
        if PROTOCOLS[name].by_subject:
            write_json(manifest(data[name], folds[name]), run.results(run.stage1) / "folds.json")
    for origin, name, cells, seed in product(networks.origins, networks.protocols, networks.cells, networks.seeds):
        key = NetworkKey(protocol=name, origin=origin, cells=cells, seed=seed, **shape)
        how = replace(training, lr=networks.lr_of(cells), select_by=PROTOCOLS[name].select_by)
        plans.append(full_plan(key, data[name], folds[name], choices[origin], how, run.work(run.stage1)))
    done = cross_validate(plans, **run.places())
    facts = {"search": record.told(search), "made_with": record.hash_of(run.profile, run.notebook)}
    list_networks(done, run.work(run.stage1), **facts)
    rows = write_scores(done, run.results(run.stage1))
    if not networks.nested:
        return rows
    # Not in the list above: stage 2 prunes networks that are one architecture over all folds.
    settings = {"search": search, "training": training, "networks": networks, "run": run}
    parts = cross_validate(nested_plans(epochs, folds[SUBJECTWISE.name], **settings), **run.places())
    files = {number: path for part in parts for number, path in part.networks.items()}
    own = replace(parts[0], folds=tuple(fold for part in parts for fold in part.folds), networks=files)
    return write_scores([*done, own], run.results(run.stage1))


def data_of(protocol, epochs, kept):
    """The epochs that a protocol uses: all, or epoch-wise those that data pruning left (`kept` of a search)."""
    if protocol.by_subject:
        return epochs
    return epochs.subset(np.isin(epochs.id, np.concatenate([kept["train"], kept["valid"]])))


def list_networks(networks, work, **facts):
    """Write networks.json, from which stage 2 starts: which a notebook's CrossValidated networks are, where they lie
    and how they were trained."""
    listed = []
    for network in networks:
        files = {number: str(path) for number, path in network.networks.items()}
        named = {"key": asdict(network.key), "networks": files, "training": record.told(network.training)}
        listed.append(named | {"data": network.data.content})
    folds = next((manifest(network.data, network.folds) for network in networks if network.protocol.by_subject), None)
    write_json(facts | {"folds": folds, "networks": listed}, work / "networks.json")


@dataclass(frozen=True)
class FoldSearch:
    """The search of one fold. data : epochs, or where `share` wrote them;  folder : where folders of searches lie"""

    data: EpochSet | Path
    fold: Fold
    search: SearchSettings
    folder: Path
    device: str = "cpu"
    deadline: Deadline = Deadline()


def search_fold(job):
    """Search on the training and validation subjects of a fold, both in either half; a SearchResult. TimeOver."""
    seen = shared(job.data).subset(np.sort(np.concatenate([job.fold.train, job.fold.valid])))
    folder = Path(job.folder) / f"search-{search_key(seen, job.search)}"
    try:
        return run_search(seen, job.search, folder, job.deadline, job.device)
    except ValueError as error:
        raise ValueError(f"the search inside fold {job.fold.number}: {error}") from error


def nested_plans(epochs, folds, *, search, training, networks, run):
    """The plans of the network whose genotype every fold finds for itself, one a fold: a search of `networks.nested`,
    then training on the epochs that data pruning left. A run's name depends on nothing that other folds found.
    Writes nested.json: per fold the genotype, numbers of epochs, and the operations removed. Raises TimeOver."""
    search, work = changed(search, networks.nested, "nested"), run.work(run.stage1)
    data, deadline = epochs if run.where == "inline" else share(epochs, work / "folds"), run.deadline()
    todo = [FoldSearch(data, fold, search, work / "nested", run.device, deadline) for fold in folds]
    found = jobs.map(search_fold, todo, run.where, work / "jobs", gpus=run.gpus, label="searches")
    shape = {"channels": networks.channels, "cells": networks.cells[0], "seed": networks.seeds[0]}
    key = NetworkKey(protocol=SUBJECTWISE.name, dataset=run.dataset, origin="nested", **shape)
    training = replace(training, lr=networks.lr_of(key.cells), select_by=SUBJECTWISE.select_by)
    plans, report = [], {}
    for fold, one in zip(folds, found, strict=True):
        left = left_by(one, fold, epochs)
        plans.append(full_plan(key, epochs, (left,), one.genotype, training, work))
        report[str(fold.number)] = {
            "genotype": json.loads(one.genotype.to_json()),
            "searched_on": len(fold.train) + len(fold.valid),
            "left": {half: len(ids) for half, ids in one.kept.items()},
            "trained_on": len(left.train),
            "removed_operations": len(one.removed_operations),
        }
    write_json({"search": record.told(search), "folds": report}, run.results(run.stage1) / "nested.json")
    return plans


def full_plan(key, data, folds, genotype, training, work):
    """The plan of a genotype at full width; work : folder of stage 1."""
    start = partial(new_network, genotype, key.channels, key.cells)
    facts, training = {"architecture": json.loads(genotype.to_json())}, replace(training, seed=key.seed)
    return Plan(key=key, data=data, folds=folds, start=start, training=training, folder=work / "folds", facts=facts)


def left_by(found, fold, epochs):
    """The fold without the training epochs that data pruning removed."""
    left = np.concatenate(list(found.kept.values()))
    return replace(fold, train=fold.train[np.isin(epochs.id[fold.train], left)])


def nested_report(run):
    """What nested.json says, a row per fold, with how often each operation is in either cell; empty without it."""
    file, rows = run.results(run.stage1) / "nested.json", []
    report = json.loads(file.read_text())["folds"] if file.exists() else {}
    for number, found in report.items():
        row = {"fold": int(number), "searched on": found["searched_on"], "left": sum(found["left"].values())}
        row |= {"trained on": found["trained_on"], "operations removed": found["removed_operations"]}
        for kind, entries in found["genotype"].items():
            counts = Counter(name for name, _ in entries).most_common()
            row[f"{kind} cell"] = ", ".join(f"{n} {name}" for name, n in counts)
        rows.append(row)
    return pd.DataFrame(rows)
