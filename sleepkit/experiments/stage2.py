"""Stage 2 of the paper: remove filters from the trained networks, fine-tune, test again. Files in, files out."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sleepkit import results
from sleepkit.evaluation import crossval, protocols
from sleepkit.evaluation.protocols import SIDES, Fold
from sleepkit.evaluation.training import predict_logits
from sleepkit.execution import jobs, paths
from sleepkit.experiments.nested import changed
from sleepkit.experiments.stage1 import load_epochs, require_once, run_plans, write_networks, write_runs
from sleepkit.experiments.trained import load_trained, seeds_of
from sleepkit.metrics import softmax
from sleepkit.network.saved import load_network
from sleepkit.network.sleepnet import SleepNet
from sleepkit.pruning.filters import (
    filter_scores,
    l1_scores,
    prune_filters,
    random_scores,
    released_mask,
    with_kept,
)
from sleepkit.pruning.methods import VARIANTS
from sleepkit.recordings.sleep_edf import DATASETS
from sleepkit.results import NETWORK, SCORES, gather, write_table
from sleepkit.search.settings import SearchSettings

METHODS = ("importance", "random", "l1", "scratch", "released", "distilled")
TAUGHT = ("distilled", "ensemble")  # by the full network, or by those of all seeds
FRESH = ("scratch", "released")  # those that train a new network, for as many epochs as what is fine-tuned has had
SOFT = 0.5  # share of the full networks' probabilities in what a distilled one is trained towards
# Seeds of the authors' shuffled folds in stage 2 (method section 4) by data set and depth; 42 where none is listed.
EPOCHWISE_SEEDS = {("edf20", 7): 49}


@dataclass(frozen=True)
class Stage2:
    """Settings of the stage-2 notebook.

    dataset : whose stage-1 networks are pruned, "edf20" or "edf78";  subjects : as in stage 1, empty takes all
    ratio : share of channels removed in every tied set
    balance : weight of capacity against independence
    finetune_epochs : epochs after pruning, at a fifth of the learning rate
    ablation_seeds : seeds of table 8, each with searches of its own (none leaves table 8 out)
    ablation_search : dict of what changes in stage 1's settings for those searches; empty or None changes nothing
    beside : those of VARIANTS that are trained on all folds beside importance, as rows whose genotype ends in their name;
        "distilled" does the same to the full network, too: what pruning costs shows where both had as many epochs;
        "ensemble" is distilled from the full networks of all seeds together
    ratios : pruning ratios of figure 13 (none leaves the sweep out);  sweep_folds : its folds, empty takes all
    sweep_seeds : its seeds, empty takes stage 1's; of others the full network is trained on those folds first
    methods : those of METHODS that the sweep compares
    where : where folds run, "inline", "local" or "slurm" (sleepkit.execution.jobs)
    max_minutes : minutes that each call may train; then ValueError, and the next call goes on
    cost_repeats : timed answers of each network, runtime and length of epoch (table 9)
    also : further data sets, of which `prune_others` prunes all subjects' networks by importance
    """

    profile: str
    dataset: str = "edf20"
    subjects: tuple = ()
    ratio: float = 0.5
    balance: float = 0.5
    finetune_epochs: int = 25
    ablation_seeds: tuple = (0, 1, 2)
    ablation_search: dict | None = None
    device: str = "cpu"
    beside: tuple = ()
    ratios: tuple = ()
    sweep_folds: tuple = (0,)
    sweep_seeds: tuple = ()
    methods: tuple = METHODS
    where: str = "inline"
    max_minutes: float | None = None
    cost_repeats: int = 200
    also: tuple = ()

    def __post_init__(self):
        jobs.require_place(self.where)
        for name in ("subjects", "ablation_seeds", "ratios", "sweep_folds", "sweep_seeds", "methods", "beside", "also"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance={self.balance}: a share lies between 0 and 1")
        for name in ("ablation_seeds", "ratios", "sweep_folds", "sweep_seeds", "methods", "beside", "also"):
            require_once(name, getattr(self, name))
        if self.finetune_epochs < 1:
            raise ValueError(f"finetune_epochs={self.finetune_epochs}: must be at least 1")
        changed(SearchSettings(), self.ablation_search or {}, "ablation_search")
        for name, ratios in (("ratio", (self.ratio,)), ("ratios", self.ratios)):
            if wrong := [ratio for ratio in ratios if not 0 <= ratio < 1]:
                raise ValueError(f"{name}: {wrong}: a share of channels to remove lies in [0, 1)")
        for name, known in (("methods", METHODS), ("beside", VARIANTS), ("also", DATASETS)):
            if wrong := [method for method in getattr(self, name) if method not in known]:
                raise ValueError(f"{name}: {wrong} is not among {', '.join(known)}")

    @property
    def name(self):
        """Name of the folders that it fills: every data set has its own, EDF-20's is called as the notebook is."""
        return "stage2_prune" if self.dataset == "edf20" else f"stage2_prune_{self.dataset}"

    @property
    def folder(self):
        return paths.results(self.profile) / self.name

    @property
    def work(self):
        return paths.runs(self.profile) / self.name

    @property
    def first(self):
        """Where stage 1 left its networks."""
        return paths.runs(self.profile) / f"stage1_{self.dataset}"


def score_filters(network, settings):
    """One row per filter of a saved network: layer, filter, capacity, independence, importance, and whether its
    channel stays.

    A filter stays when its channel does; a channel is judged by the mean over all filters tied to it. Also written as
    filters.csv.
    """
    net, _ = load_network(network)
    scores = with_kept(net, filter_scores(net, settings.balance), settings.ratio)
    write_table(scores, settings.folder / "filters.csv")
    return scores


def prune_and_finetune(epochs, trained, settings):
    """Prune every trained network, fine-tune it on its folds, write the result files and return crossval.csv.

    Epoch-wise networks are tested on the folds of the authors' stage 2, which cut the epochs anew: a further leak, as
    they were. Networks of one seed are left out of "ensemble". Raises ValueError when that leaves none, or
    `max_minutes` were over first.
    """
    data = {network.keys["protocol"]: network for network in trained}
    data = {protocol: epochs_of(epochs, network, settings) for protocol, network in data.items()}
    ways = [(method, settings.ratio) for method in ("importance", *settings.beside)]
    if "distilled" in settings.beside and settings.ratio:
        ways.append(("distilled", 0.0))
    seeds = [seeds_of(network, trained) for network in trained]
    if "ensemble" in settings.beside and max(map(len, seeds)) < 2:
        raise ValueError('beside: "ensemble" learns from networks of several seeds, and stage 1 trained one: add seeds')
    plans = [
        pruning_plan(data[network.keys["protocol"]], network, settings, method, ratio, teachers=teachers)
        for method, ratio in ways
        for network, teachers in zip(trained, seeds, strict=True)
        if method != "ensemble" or len(teachers) > 1
    ]
    runs = run_plans(plans, settings)
    facts = {"folds": next((network.sides for network in trained if network.sides), None)}
    write_networks(runs[: len(trained)], settings, facts)
    return write_runs(runs, settings.folder)


def epochs_of(epochs, network, settings):
    """The epochs that a network's protocol uses: all, or epoch-wise those that the search kept."""
    if network.sides is not None:
        return epochs
    kept = results.read(settings.profile, f"stage1_{settings.dataset}/kept.npz")
    return epochs.subset(np.isin(epochs.id, np.concatenate([kept["train"], kept["valid"]])))


def folds_of(epochs, network, settings):
    """All folds of a network's protocol: the subjects' of stage 1, or the authors' of stage 2.

    Raises ValueError where these are not the epochs that the network was trained and tested on: as many parameters and
    other signals would make what pruning costs and saves a comparison of two data sets.
    """
    require_data(epochs, network, settings)
    if network.sides is None:
        seed = EPOCHWISE_SEEDS.get((settings.dataset, network.keys["cells"]), 42)
        return protocols.epoch_folds(len(epochs), seed=seed)
    return [
        Fold(int(number), *(np.flatnonzero(np.isin(epochs.subject, side[name])) for name in SIDES))
        for number, side in network.sides.items()
    ]


def require_data(epochs, network, settings):
    """ValueError where a network's folds are not of these epochs; further subjects do not matter."""
    listed = settings.first / "networks.json"
    missing = sorted(set(network.subjects) - set(epochs.subject.tolist())) if network.sides is not None else []
    if missing:
        raise ValueError(
            f"subjects: {missing} are in the folds of {listed} and have no epochs here; give stage 2 the subjects of "
            "stage 1"
        )
    if network.sides is not None and set(epochs.subject.tolist()) > set(network.subjects):
        epochs = epochs.subset(np.isin(epochs.subject, network.subjects))
    if epochs.content != network.data:
        raise ValueError(
            f"{listed}: its {network.keys['protocol']} networks were trained on other epochs than these: prepared or "
            f"searched anew since. Run the notebook stage1_{settings.dataset} of profile {settings.profile} again"
        )


def first_fold(epochs, network, settings):
    """The first fold that a network was tested on."""
    return next(fold for fold in folds_of(epochs, network, settings) if fold.number in network.networks)


def finetuning(train, settings):
    """Settings of the epochs after pruning: a fifth of the learning rate (method section 3, step 6)."""
    return replace(train, lr=train.lr / 5, epochs=settings.finetune_epochs)


def prune_others(settings):
    """`prune_and_finetune` of the networks of `settings.also`: a list of what `compare` says of each data set.

    One whose stage 1 has not run is named and left out.
    """
    compared = []
    for dataset in (name for name in settings.also if name != settings.dataset):
        other = replace(settings, dataset=dataset, subjects=(), beside=(), also=())
        if not (other.first / "networks.json").exists():
            print(f"{dataset}: the notebook stage1_{dataset} of profile {settings.profile} has not run; left out")
            continue
        prune_and_finetune(load_epochs(other), load_trained(other), other)
        compared.append(compare(other))
    return compared


def pruning_plan(epochs, network, settings, method, ratio, only=(), teachers=()):
    """The plan of a trained network with filters removed by one of METHODS or VARIANTS.

    "scratch" is a fresh network as wide as the pruned one; "released" is what the authors' code did, a fresh network
    whose weights are masked once and then trained freely; "distilled" is the network pruned by importance, trained as
    the full one was, towards the stages and what the full one says of the same epochs; "ensemble" the same, towards the
    mean of what all `teachers`, a list of Trained, say.
    """
    keys = network.keys | {"pruned": ratio}
    train, targets = finetuning(network.train, settings), None
    if method in VARIANTS:
        keys["genotype"] += f"-{method}"
    if method in FRESH:
        train = replace(network.train, epochs=network.train.epochs + settings.finetune_epochs)
    elif method in TAUGHT:
        teachers = [network] if method == "distilled" else teachers
        train, targets = network.train, partial(soft_targets, [teacher.networks for teacher in teachers])
    start = partial(pruned_network, network.networks, ratio, settings.balance, method, network.keys["seed"])
    # A run's name is a hash of all that went into it, so what starts from a run is told apart by that name.
    config = keys | {"balance": settings.balance, "method": method, "from": _run_of(network)}
    config |= {"soft": SOFT} if targets else {}
    config |= {"teachers": sorted(map(_run_of, teachers))} if method == "ensemble" else {}
    folds, only = folds_of(epochs, network, settings), only or tuple(network.networks)
    return crossval.Plan(
        epochs, folds, network.keys["protocol"], start, train, settings.work / "folds", config, tuple(only), targets
    )


def pruned_network(networks, ratio, balance, method, seed, fold):
    """The saved network of a fold with the share `ratio` of its filters removed by one of METHODS."""
    net = load_network(networks[fold])[0]
    if method == "scratch":
        return SleepNet(net.genotype, net.channels, len(net.cells), widths=prune_filters(net, ratio, balance).widths)
    if method == "released":
        return released_mask(SleepNet(net.genotype, net.channels, len(net.cells)), ratio)
    scores = {"l1": lambda: l1_scores(net), "random": lambda: random_scores(net, seed)}
    scores |= dict.fromkeys(("importance", *TAUGHT), lambda: filter_scores(net, balance))
    return prune_filters(net, ratio, balance, scores[method]())


def soft_targets(teachers, fold, x, y, device):
    """The mean of each epoch's stage and what the saved networks of the fold make of it (distillation after Hinton et
    al. 2015, at temperature 1).

    teachers : list of dicts fold -> path of a network, whose probabilities are averaged
    x : (n, samples) normalised;  y : (n,) stages.  returns (n, 5) float32 probabilities
    """
    nets = (load_network(networks[fold])[0].to(device) for networks in teachers)
    prob = np.mean([softmax(predict_logits(net, x, device)) for net in nets], axis=0)
    return (SOFT * prob + (1 - SOFT) * np.eye(prob.shape[1])[y]).astype(np.float32)


def _run_of(network):
    return next(iter(network.networks.values())).parent.name


def compare(settings):
    """Full beside pruned: every subject-wise network of the data set with its pooled scores and its size, as a data
    frame."""
    rows = gather(settings.profile, "crossval.csv")
    rows = rows[
        (rows.fold == "pooled") & (rows.protocol == "subjectwise") & rows.genotype.str.startswith(settings.dataset)
    ]
    sizes = gather(settings.profile, "parameters.csv")
    rows = rows.merge(sizes, on=["genotype", "channels", "cells", "pruned"])
    columns = [name for name in NETWORK if name not in ("protocol", "channels")]
    return rows.sort_values(["context", "pruned"], ascending=[False, True])[
        [*columns, *SCORES, "params", "macs"]
    ].reset_index(drop=True)
