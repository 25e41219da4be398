"""Stage 1 of the paper: search an architecture, then train and test the network it describes. Files in, files out."""

from dataclasses import asdict, replace
from itertools import product

import numpy as np

from sleepkit.epochs import EpochSet, parse_night
from sleepkit.evaluation.crossval import cross_validate
from sleepkit.evaluation.protocols import PROTOCOLS, manifest
from sleepkit.evaluation.scores import write_scores
from sleepkit.execution import paths
from sleepkit.experiments.nested import full_plan, nested_network
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.data import removed_examples, sample_variances
from sleepkit.recordings import nights_of
from sleepkit.results import NetworkKey, write_json, write_table
from sleepkit.search.bilevel import run_search, search_key


def load_epochs(run):
    """The prepared nights of the profile that belong to the run's data set and subjects, as an EpochSet."""
    folder = paths.runs(run.profile) / "nights"
    there = {path.stem for path in folder.glob("[!.]*.npz")}
    nights = [night for night in nights_of(run.dataset) if night in there]
    if run.subjects:
        nights = [night for night in nights if parse_night(night)[0] in run.subjects]
    if not nights:
        what = f"no prepared night of {run.dataset}, subjects {run.subjects or 'all'}"
        raise ValueError(f"{folder}: {what}; run the prepare notebook of profile {run.profile} first")
    return EpochSet.load(folder, nights)


def search_architecture(epochs, search, run):
    """Search on all epochs and write what came of it under results/; an unfinished search is resumed.

    Also writes settings.json, from which tables say what this run was. Returns a SearchResult; raises TimeOver.
    """
    folder, work = run.results(run.stage1), run.work(run.stage1) / f"search-{search_key(epochs, search)}"
    found = run_search(epochs, search, work, run.deadline(), run.device)
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
    for origin, name, cells, seed in product(networks.origins, networks.protocols, networks.cells, networks.seeds):
        key = NetworkKey(name, run.dataset, origin, networks.channels, cells, seed=seed)
        how = replace(training, lr=networks.lr_of(cells), select_by=PROTOCOLS[name].select_by)
        plans.append(full_plan(key, data[name], folds[name], choices[origin], how, run.work(run.stage1)))
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


def list_networks(networks, work, **facts):
    """Write the list of a notebook's CrossValidated networks, networks.json: which they are, where they lie and how
    they were trained. Stage 2 starts from those of stage 1."""
    listed, folds = [], None
    for network in networks:
        files = {number: str(path) for number, path in network.networks.items()}
        named = {"key": asdict(network.key), "networks": files, "training": asdict(network.training)}
        listed.append(named | {"data": network.data.content})
        if network.protocol.by_subject and folds is None:
            folds = manifest(network.data, network.folds)
    write_json(facts | {"folds": folds, "networks": listed}, work / "networks.json")
