"""Stage 2 of the paper: remove filters from the trained networks, fine-tune, test again."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from sleepkit import results
from sleepkit.evaluation.crossval import CrossValidated, Plan, cross_validate
from sleepkit.evaluation.protocols import EPOCHWISE, PROTOCOLS, SIDES, SUBJECTWISE, Fold
from sleepkit.evaluation.scores import pooled_confusion, write_scores
from sleepkit.evaluation.training import TrainSettings, predict_logits
from sleepkit.execution import record
from sleepkit.experiments.stage1 import data_of, list_networks, load_epochs
from sleepkit.metrics import scores, softmax
from sleepkit.network.saved import load_network
from sleepkit.pruning.filters import filter_scores, with_kept
from sleepkit.pruning.methods import METHODS, VARIANTS
from sleepkit.results import SCORES, NetworkKey, gather, write_table

SOFT = 0.5  # share of the teacher's probabilities in what a distilled network is trained towards
# Seeds of the authors' shuffled folds in stage 2 (method section 4) by data set and depth; 42 where none is listed.
EPOCHWISE_SEEDS = {("edf20", 7): 49}
NONE_SUBJECTWISE = 'stage 1 trained no network subject-wise; add "subjectwise" to its protocols'


def load_networks(run):
    """The networks that stage 1 trained, as a list of CrossValidated, subject-wise ones first. Raises ValueError when
    it has not run, or trained on other epochs than those that are there."""
    return sorted(_listed(run, run.stage1, run.notebook), key=lambda network: not network.protocol.by_subject)


def load_pruned(run):
    """The networks that `prune_and_finetune` pruned by importance, in the order of the full ones."""
    return _listed(run, run.stage2, "stage2_prune")


def _listed(run, stage, notebook):
    """The networks of a stage's networks.json, which a notebook wrote."""
    path, rerun = run.work(stage) / "networks.json", f"run the notebook {notebook} of profile {run.profile}"
    if not path.exists():
        raise ValueError(f"{path} is missing: {rerun} first")
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        sides, entries = listed["folds"], []
        for entry in listed["networks"]:
            files = {int(number): Path(network) for number, network in entry["networks"].items()}
            entries.append((NetworkKey(**entry["key"]), files, TrainSettings(**entry["training"]), entry["data"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"not a list of networks as this version writes it ({error!r})"
        raise ValueError(f"{path}: {what}; {rerun} again, which skips what is trained") from error
    if listed.get("made_with") != record.hash_of(run.profile, notebook):
        what = f"its networks and results/{run.profile}/{notebook} are of runs with different settings"
        raise ValueError(f"{path}: {what}; {rerun} again")
    epochs, networks = load_epochs(run), []
    data = {name: _epochs_of(PROTOCOLS[name], epochs, sides, run, path) for name in {e[0].protocol for e in entries}}
    for key, files, training, content in entries:
        own = data[key.protocol]
        if own.content != content:
            what = f"{key.protocol} networks were trained on other epochs than these: prepared or searched anew since"
            raise ValueError(f"{path}: its {what}. Run the notebook {run.notebook} of profile {run.profile} again")
        if PROTOCOLS[key.protocol].by_subject:
            folds = [Fold.of_subjects(int(number), side, own) for number, side in sides.items()]
        else:
            folds = EPOCHWISE.folds(own) if stage == run.stage1 else stage2_folds(key, own)
        tested = tuple(fold for fold in folds if fold.number in files)
        networks.append(CrossValidated(key=key, data=own, folds=tested, networks=files, training=training))
    return networks


def _epochs_of(protocol, epochs, sides, run, path):
    """The epochs of a protocol's networks; further subjects do not matter."""
    if not protocol.by_subject:
        return data_of(protocol, epochs, results.read(run.profile, f"{run.stage1}/kept.npz"))
    subjects = {subject for side in sides.values() for name in SIDES for subject in side[name]}
    if missing := sorted(subjects - set(epochs.subject.tolist())):
        what = f"{missing} are in the folds of {path} and have no epochs here"
        raise ValueError(f"subjects: {what}; give stage 2 the subjects of stage 1")
    return epochs.subset(np.isin(epochs.subject, sorted(subjects)))


def stage2_folds(key, data):
    """The authors' stage 2 cuts the epochs anew: folds that share epochs with those of stage 1, a further leak."""
    return EPOCHWISE.folds(data, seed=EPOCHWISE_SEEDS.get((key.dataset, key.cells), 42))


def subjectwise(networks):
    """Those of the networks that were tested on subjects of their own; ValueError where there are none."""
    if not (chosen := [network for network in networks if network.protocol is SUBJECTWISE]):
        raise ValueError(NONE_SUBJECTWISE)
    return chosen


def seeds_of(network, networks):
    """Those of the networks that differ from one in nothing but their seed, itself among them."""
    return [other for other in networks if replace(other.key, seed=network.key.seed) == network.key]


def first_family(networks):
    """The first subject-wise network with all its seeds: the sweep, the ablation and calibration look at it."""
    return seeds_of(subjectwise(networks)[0], networks)


def measured(network):
    """Pooled scores and size of a CrossValidated, and how many epochs tested it, as a dict."""
    params, macs, _ = network.size
    return scores(pooled_confusion(network)) | {"params": params, "macs": macs, "n": len(network.predictions)}


def filter_importance(network, pruning, run):
    """One row per filter of the first fold's network: layer, filter, capacity, independence, importance, and kept,
    whether its channel stays. Also written as filters.csv."""
    net, _ = load_network(next(iter(network.networks.values())))
    frame = with_kept(net, filter_scores(net, pruning.balance), pruning.ratio)
    return write_table(frame, run.results(run.stage2) / "filters.csv")


def prune_and_finetune(networks, pruning, run):
    """Prune every network by importance and in `pruning.variants`, train it on its folds, write the result files and
    return crossval.csv. Networks of one seed are left out of "ensemble". Raises ValueError when that leaves none."""
    families = [seeds_of(network, networks) for network in networks]
    if "ensemble" in pruning.variants and max(map(len, families)) < 2:
        raise ValueError(
            'variants: "ensemble" learns from networks of several seeds, and stage 1 trained one: add seeds'
        )
    ways = [(method, pruning.ratio) for method in ("importance", *pruning.variants)]
    if "distilled" in pruning.variants and pruning.ratio:
        ways.append(("distilled", 0.0))
    plans = [
        pruning_plan(network, method, replace(pruning, ratio=ratio), run, teachers=family)
        for method, ratio in ways
        for network, family in zip(networks, families, strict=True)
        if method != "ensemble" or len(family) > 1
    ]
    done = cross_validate(plans, **run.places())
    list_networks(done[: len(networks)], run.work(run.stage2), made_with=record.hash_of(run.profile, "stage2_prune"))
    return write_scores(done, run.results(run.stage2))


def pruning_plan(network, method, pruning, run, only=(), teachers=()):
    """The plan of a trained network with the share `pruning.ratio` of its filters removed by one of METHODS.
    teachers : CrossValidated networks of all seeds, for methods that an ensemble teaches"""
    how, ratio = METHODS[method], pruning.ratio
    key = replace(network.key, pruned=ratio, variant=method if method in VARIANTS else "")
    training = network.training
    if how.trains == "finetune":
        training = finetuning(training, pruning)
    elif how.trains == "both":
        training = replace(training, epochs=training.epochs + pruning.finetune_epochs)
    # A run's name is a hash of all that went into it, so what starts from a run is told apart by that name.
    facts, targets = {"balance": pruning.balance, "method": method, "from": _run_of(network)}, None
    if how.teacher:
        teachers = [network] if how.teacher == "itself" else teachers
        targets = partial(soft_targets, [teacher.networks for teacher in teachers])
        facts |= {"soft": SOFT, "teachers": sorted(map(_run_of, teachers))}
    start = partial(pruned_network, network.networks, ratio, pruning.balance, method, network.key.seed)
    folds = network.folds if network.protocol.by_subject else stage2_folds(network.key, network.data)
    return Plan(
        key=key,
        data=network.data,
        folds=tuple(folds),
        start=start,
        training=training,
        folder=run.work(run.stage2) / "folds",
        facts=facts,
        only=tuple(only or network.networks),
        targets=targets,
    )


def finetuning(training, pruning):
    """Settings of the epochs after pruning: a fifth of the learning rate (method section 3, step 6)."""
    return replace(training, lr=training.lr / 5, epochs=pruning.finetune_epochs)


def pruned_network(networks, ratio, balance, method, seed, fold):
    """What the saved network of a fold becomes before it is trained again, by one of METHODS."""
    return METHODS[method].start(load_network(networks[fold])[0], ratio, balance, seed)


def soft_targets(teachers, fold, x, y, device):
    """The mean of each epoch's stage and what a fold's saved networks make of it, (n, 5) float32 (distillation after
    Hinton et al. 2015, temperature 1). teachers : dicts fold -> path;  x : (n, samples) normalised;  y : (n,) stages"""
    nets = (load_network(networks[fold])[0].to(device) for networks in teachers)
    prob = np.mean([softmax(predict_logits(net, x, device)) for net in nets], axis=0)
    return (SOFT * prob + (1 - SOFT) * np.eye(prob.shape[1])[y]).astype(np.float32)


def _run_of(network):
    return next(iter(network.networks.values())).parent.name


def prune_other_dataset(pruning, run):
    """`prune_and_finetune` by importance for the run of the other data set, as `full_and_pruned` shows it; None, and a
    line that says so, where its stage 1 has not run."""
    if not (run.work(run.stage1) / "networks.json").exists():
        print(f"{run.dataset}: the notebook {run.notebook} of profile {run.profile} has not run; left out")
        return None
    prune_and_finetune(load_networks(run), replace(pruning, variants=()), run)
    return full_and_pruned(run)


def full_and_pruned(run):
    """Data frame of the data set's subject-wise networks, full and pruned, with their pooled scores and sizes."""
    rows, kind = gather(run.profile, "crossval.csv"), SUBJECTWISE.name
    rows = rows[(rows.fold == "pooled") & (rows.protocol == kind) & (rows.dataset == run.dataset)]
    names = ["genotype", "channels", "cells", "pruned"]
    rows = rows.merge(gather(run.profile, "parameters.csv")[[*names, "params", "macs"]], on=names)
    columns = ["genotype", "cells", "pruned", "context", "seed", *SCORES, "params", "macs"]
    return rows.sort_values(["context", "pruned"], ascending=[False, True])[columns].reset_index(drop=True)
