"""Stage 2 of the paper: remove filters from the trained networks, fine-tune, test again. Files in, files out."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sleepkit import crossval, paths
from sleepkit.checks import checks
from sleepkit.network import count_parameters, load_network
from sleepkit.pruning.filters import filter_scores, kept_channels, prune_filters, tied_sets
from sleepkit.results import NETWORK, SCORES, gather, write_table
from sleepkit.stage1 import NetworkRun, size_of, write_runs
from sleepkit.training import TrainSettings


@dataclass(frozen=True)
class Stage2:
    """Settings of the stage-2 notebook.

    dataset : whose stage-1 networks are pruned, "edf20" or "edf78";  subjects : as in stage 1, empty takes all
    ratio : share of channels removed in every tied set
    balance : weight of capacity against independence
    finetune_epochs : epochs after pruning, at a fifth of the learning rate
    ablation_seeds : seeds of table 8, each with searches of its own (none leaves table 8 out)
    ablation_epochs : search epochs of those
    """

    profile: str
    dataset: str = "edf20"
    subjects: tuple = ()
    ratio: float = 0.5
    balance: float = 0.5
    finetune_epochs: int = 25
    ablation_seeds: tuple = (0, 1, 2)
    ablation_epochs: int = 25
    device: str = "cpu"

    def __post_init__(self):
        for name in ("subjects", "ablation_seeds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("ratio", "balance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: a share lies between 0 and 1")

    @property
    def folder(self):
        return paths.results(self.profile) / "stage2_prune"

    @property
    def work(self):
        return paths.runs(self.profile) / "stage2_prune"

    @property
    def first(self):
        """Where stage 1 left its networks."""
        return paths.runs(self.profile) / f"stage1_{self.dataset}"


@dataclass(frozen=True)
class Trained:
    """A stage-1 network over its folds: keys of crossval.csv, paths without ending, settings of its training."""

    keys: dict
    networks: tuple
    train: TrainSettings


def load_trained(settings):
    """The subject-wise networks that stage 1 trained, as a list of Trained.

    Raises ValueError when stage 1 of the profile has not run.
    """
    path = settings.first / "networks.json"
    if not path.exists():
        raise ValueError(
            f"{path} is missing: run the notebook stage1_{settings.dataset} of profile {settings.profile} first"
        )
    trained = [
        Trained(entry["keys"], tuple(map(Path, entry["networks"])), TrainSettings(**entry["train"]))
        for entry in json.loads(path.read_text())["networks"]
    ]
    return [network for network in trained if network.keys["protocol"] == "subjectwise"]


def score_filters(network, settings):
    """One row per filter of a saved network: layer, filter, capacity, independence, importance, and whether its
    channel stays.

    A filter stays when its channel does; a channel is judged by the mean over all filters tied to it. Also written as
    filters.csv.
    """
    net, _ = load_network(network)
    scores = filter_scores(net, settings.balance)
    kept = set()
    for tied, _, channels in kept_channels(net, scores, settings.ratio):
        for layer, first in tied.producers + tuple((layer, 0) for layer in tied.readers):
            kept |= {(layer, channel - first) for channel in channels}
    scores = scores.assign(kept=[(row.layer, row.filter) in kept for row in scores.itertuples()])
    write_table(scores, settings.folder / "filters.csv")
    return scores


def prune_and_finetune(epochs, trained, settings):
    """Prune every trained network, fine-tune it on its own folds, write the result files and return crossval.csv."""
    runs = [_prune_network(epochs, network, settings) for network in trained]
    return write_runs(runs, settings.folder)


def finetuning(train, settings):
    """Settings of the epochs after pruning: a fifth of the learning rate (method section 3, step 6)."""
    return replace(train, lr=train.lr / 5, epochs=settings.finetune_epochs)


def _prune_network(epochs, trained, settings):
    keys = trained.keys | {"pruned": settings.ratio}
    train = finetuning(trained.train, settings)

    def start(fold):
        return prune_filters(load_network(trained.networks[fold])[0], settings.ratio, settings.balance)

    config = keys | {"balance": settings.balance, "from": Path(trained.networks[0]).parent.name}
    folds, work = saved_folds(epochs, trained), settings.work / "folds"
    result = crossval.cross_validate(epochs, folds, "subjectwise", start, train, work, config, settings.device)
    return NetworkRun(keys, *result, train, *size_of(start(0), epochs))


def saved_folds(epochs, trained):
    """The folds that the saved networks were trained on, from the subjects that stand in their descriptions."""
    folds = []
    for number, network in enumerate(trained.networks):
        subjects = load_network(network)[1]["training"]
        sides = (np.flatnonzero(np.isin(epochs.subject, subjects[side])) for side in ("train", "valid", "test"))
        folds.append(crossval.Fold(number, *sides))
    return folds


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


def pruning_checks(epochs, trained, crossval_rows, ablation, settings):
    """Whether pruning removed what it should, and whether what is left still stages sleep."""
    full = load_network(trained[0].networks[0])[0]
    pruned = prune_filters(full, settings.ratio, settings.balance)
    wanted = [max(1, int((1 - settings.ratio) * tied.width + 1e-9)) for tied in tied_sets(full)]
    widths = [tied.width for tied in tied_sets(pruned)]
    sizes, small = size_of(full, epochs), size_of(pruned, epochs)
    kappa = crossval_rows.query("fold == 'pooled' and context == 'none'").kappa.min()
    rows = 11 * len(settings.ablation_seeds)
    return checks(
        (
            f"channels left in {len(widths)} tied sets at ratio {settings.ratio:g}",
            sum(wanted),
            sum(widths),
            widths == wanted,
        ),
        (
            "the pruned network has fewer parameters",
            f"below {sizes[0]:,}",
            f"below: {small[0] < sizes[0]}",
            small[0] < sizes[0],
        ),
        ("and fewer multiplications", "below", f"below: {small[1] < sizes[1]}", small[1] < sizes[1]),
        ("nothing is left to grow back: its size after fine-tuning", f"{small[0]:,}", *_size_after(settings, small[0])),
        ("better than chance: kappa of the pruned networks", "above 0", f"above: {kappa > 0}", bool(kappa > 0)),
        ("rows of the ablation: 11 variants, every seed", rows, len(ablation), len(ablation) == rows),
    )


def _size_after(settings, expected):
    saved = sorted(settings.work.glob("folds/*/fold0.json"))
    sizes = {count_parameters(load_network(path.with_suffix(""))[0]) for path in saved}
    return f"{max(sizes):,}", sizes == {expected}
