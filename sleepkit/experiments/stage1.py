"""Stage 1 of the paper: search an architecture, then train and test the network it describes. Files in, files out."""

import json
from dataclasses import asdict, replace
from functools import partial

import numpy as np

from sleepkit.epochs import EpochSet, parse_night
from sleepkit.evaluation.crossval import Plan, cross_validate
from sleepkit.evaluation.protocols import PROTOCOLS, manifest
from sleepkit.evaluation.scores import write_scores
from sleepkit.execution import paths
from sleepkit.experiments.nested import nested_network
from sleepkit.experiments.settings import nights_folder
from sleepkit.network.sleepnet import new_network
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.data import removed_examples, sample_variances
from sleepkit.recordings import nights_of
from sleepkit.results import NetworkKey, write_json, write_table
from sleepkit.search.bilevel import run_search, search_key


def load_epochs(run):
    """The prepared nights of the profile that belong to the run's data set and subjects, as an EpochSet."""
    folder = nights_folder(run)
    there = {path.stem for path in folder.glob("[!.]*.npz")}
    nights = [night for night in nights_of(run.dataset) if night in there]
    if run.subjects:
        nights = [night for night in nights if parse_night(night)[0] in run.subjects]
    if not nights:
        whose = f"{run.dataset}, subjects {run.subjects or 'all'}"
        raise ValueError(
            f"{folder}: no prepared night of {whose}; run the prepare notebook of profile {run.profile} first"
        )
    return EpochSet.load(folder, nights)


def search_architecture(epochs, search, run):
    """Search on all epochs and write what came of it under results/; an unfinished search is resumed.

    Also writes settings.json, from which tables say what this run was. Returns a SearchResult; raises TimeOver.
    """
    work = run.work(run.stage1) / f"search-{search_key(epochs, search)}"
    found = run_search(epochs, search, work, run.deadline(), run.device)
    folder = run.results(run.stage1)
    with paths.written(folder / "genotype.json") as path:
        path.write_text(found.genotype.to_json() + "\n")
    facts = {"profile": run.profile, "dataset": run.dataset, **asdict(search)}
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
    All folds of all networks are independent jobs. The network that every fold searches for itself comes after them and
    is the last of crossval.csv. Raises TimeOver.
    """
    data = {name: data_of(PROTOCOLS[name], epochs, found.kept) for name in networks.protocols}
    folds = {name: _folds(PROTOCOLS[name], data[name], networks, run) for name in networks.protocols}
    choices = {"searched": found.genotype, "published": published_genotype(run.dataset)}
    plans = []
    for origin in networks.origins:
        for protocol in networks.protocols:
            for cells in networks.cells:
                for seed in networks.seeds:
                    key = NetworkKey(protocol, run.dataset, origin, networks.channels, cells, seed=seed)
                    how = replace(training, lr=networks.lr_of(cells), select_by=PROTOCOLS[protocol].select_by)
                    plans.append(
                        full_plan(key, data[protocol], folds[protocol], choices[origin], how, run.work(run.stage1))
                    )
    done = cross_validate(plans, **run.places())
    list_networks(done, run.work(run.stage1), search=asdict(search))
    rows = write_scores(done, run.results(run.stage1))
    if not networks.nested:
        return rows
    # Not in the list above: stage 2 prunes networks that are one architecture over all folds.
    by_subject = next(list(folds[name]) for name in networks.protocols if PROTOCOLS[name].by_subject)
    own = nested_network(epochs, by_subject, search=search, training=training, networks=networks, run=run)
    return write_scores([*done, own], run.results(run.stage1))


def data_of(protocol, epochs, kept):
    """The epochs that a protocol uses: all, or epoch-wise those that data pruning left (`kept` of a search)."""
    if protocol.by_subject:
        return epochs
    return epochs.subset(np.isin(epochs.id, np.concatenate([kept["train"], kept["valid"]])))


def _folds(protocol, data, networks, run):
    """Folds of a protocol; the subjects of subject-wise folds are written beside the results."""
    folds = protocol.folds(data, networks.folds, networks.validation_subjects)
    if protocol.by_subject:
        write_json(manifest(data, folds), run.results(run.stage1) / "folds.json")
    return tuple(folds)


def full_plan(key, data, folds, genotype, training, work, only=()):
    """The plan of a genotype at full width; work : folder of stage 1."""
    start = partial(new_network, genotype, key.channels, key.cells)
    facts = {"architecture": json.loads(genotype.to_json())}
    return Plan(key, data, folds, start, replace(training, seed=key.seed), work / "folds", facts, tuple(only))


def list_networks(networks, work, **facts):
    """Write the list of a notebook's CrossValidated networks, networks.json: which they are, where they lie and how
    they were trained. Stage 2 starts from those of stage 1."""
    listed = [
        {
            "key": asdict(network.key),
            "networks": {number: str(path) for number, path in network.networks.items()},
            "training": asdict(network.training),
            "data": network.data.content,
        }
        for network in networks
    ]
    by_subject = next((network for network in networks if network.protocol.by_subject), None)
    folds = None if by_subject is None else manifest(by_subject.data, by_subject.folds)
    write_json(facts | {"folds": folds, "networks": listed}, work / "networks.json")
