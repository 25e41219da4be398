"""Table 8: what each level of pruning does to one network, and what else the same training epochs could have bought.

A network is trained on the epochs of the fold that the data pruning of its search left, as those whose search is
repeated inside every fold are; without data pruning on all of them.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from sleepkit.epochs import EpochSet
from sleepkit.evaluation import crossval
from sleepkit.evaluation.fold import share, shared
from sleepkit.execution import jobs, paths
from sleepkit.execution.checkpoint import Deadline
from sleepkit.experiments.nested import FoldSearch, changed, left_by, search_fold
from sleepkit.experiments.stage1 import size_of
from sleepkit.experiments.stage2 import Stage2, finetuning, first_fold
from sleepkit.experiments.trained import Trained, subjectwise
from sleepkit.genotype import random_genotype
from sleepkit.metrics import scores
from sleepkit.network.saved import load_network
from sleepkit.network.sleepnet import SleepNet
from sleepkit.pruning.filters import l1_scores, prune_filters, random_scores, released_mask
from sleepkit.results import COLUMNS, write_table
from sleepkit.search.settings import SearchSettings

# Variant -> (data pruning, operation pruning) of its search.
SEARCHES = {"DARTS": (False, False), "+ BDP": (True, False), "+ DOP": (False, True), "+ BDP + DOP": (True, True)}
BASE = "+ BDP + DOP"  # the network that the other variants prune or train on


@dataclass(frozen=True)
class AblationJob:
    """All variants with one seed.

    data : epochs, or where `fold.share` wrote them;  first : the network whose data, size and training they share
    """

    data: EpochSet | Path
    first: Trained
    settings: Stage2
    seed: int
    deadline: Deadline


def ablate(epochs, trained, settings):
    """Every variant of table 8 on the first fold of the first network, with each of the ablation seeds.

    Searches see the fold's training and validation subjects alone. Seeds are independent jobs; within one the variants
    follow one another, as most start from the network of another. Writes ablation.csv (variant, seed, acc, mf1,
    kappa, mgm, params, macs, trained_on: training epochs of the fold that were used, n: its test epochs) and
    ablation.json (what was searched and trained, and where), and returns the former as a data frame; without seeds
    nothing is computed or written. Raises ValueError when `max_minutes` were over first.
    """
    seeds, limit, rows = settings.ablation_seeds, settings.max_minutes, []
    if seeds:
        data = epochs if settings.where == "inline" else share(epochs, settings.work / "ablation")
        first = subjectwise(trained)[0]
        deadline = Deadline.after(limit)
        todo = [AblationJob(data, first, settings, seed, deadline) for seed in seeds]
        gpus, folder = int(settings.device.startswith("cuda")), settings.work / "jobs"
        parts = jobs.map(ablate_seed, todo, settings.where, folder, gpus=gpus, label="ablation")
        rows = [row for part in parts for row in crossval.finished(part, limit)]
    frame = pd.DataFrame(rows, columns=COLUMNS["ablation.csv"])
    if rows:
        write_table(frame, settings.folder / "ablation.csv")
        search = asdict(_search_settings(settings, seeds[0], BASE))
        facts = {"fold": first_fold(epochs, first, settings).number, "search": search, "train": asdict(first.train)}
        with paths.written(settings.folder / "ablation.json") as path:
            path.write_text(json.dumps(facts | {"finetune_epochs": settings.finetune_epochs}, indent=1) + "\n")
    return frame


def ablate_seed(job):
    """The rows of one seed as a list of dicts, or None when the time was over first."""
    try:
        return _rows(job)
    except crossval.TimeOver:
        return None


def _rows(job):
    epochs, first, settings, seed = shared(job.data), job.first, job.settings, job.seed
    fold = first_fold(epochs, first, settings)
    channels, cells = first.keys["channels"], first.keys["cells"]
    train = replace(first.train, seed=seed)
    extra, longer = finetuning(train, settings), replace(train, epochs=train.epochs + settings.finetune_epochs)
    rows, networks = [], {}

    def test(variant, make, train, fold, start="fresh"):
        """Train what `make` returns on the fold, note its scores on the fold's test epochs and where it lies.

        start : names how it begins. Searches that end at the same architecture and epochs share one training.
        """
        net = make()
        config = {"start": start, "channels": net.channels, "cells": cells, "ratio": settings.ratio}
        config |= {"balance": settings.balance, "architecture": json.loads(net.genotype.to_json())}
        # A run's name is a hash of all that went into it, so what starts from a run is told apart by that name.
        config |= {"from": "" if start in ("fresh", "mask") else networks[BASE].parent.name}
        result = crossval.cross_validate(
            epochs,
            [fold],
            "subjectwise",
            lambda _: make(),
            train,
            settings.work / "ablation",
            config,
            settings.device,
            job.deadline,
        )
        predictions, _, (network,) = crossval.finished(result, settings.max_minutes)
        networks[variant] = network
        params, macs, _ = size_of(net, epochs)
        score = scores(crossval.pooled_confusion(predictions))
        size = {"params": params, "macs": macs, "trained_on": len(fold.train), "n": len(predictions)}
        rows.append({"variant": variant, "seed": seed} | score | size)

    for variant in SEARCHES:
        found = _search(epochs, fold, job, variant)
        genotype, left = found.genotype, left_by(found, fold, epochs)
        test(variant, partial(SleepNet, genotype, channels, cells), train, left)
    drawn = random_genotype(_search_settings(settings, seed, "DARTS").nodes, seed)
    test("random architecture", partial(SleepNet, drawn, channels, cells), train, fold)

    def full():
        return load_network(networks[BASE])[0]

    def masked():
        return released_mask(SleepNet(genotype, channels, cells), settings.ratio)

    def pruned(criterion=None):
        return lambda: prune_filters(full(), settings.ratio, settings.balance, criterion and criterion(full()))

    test("both + filter pruning", pruned(), extra, left, "importance")
    test("both + random filters", pruned(lambda net: random_scores(net, seed)), extra, left, "random")
    test("both + filters by L1", pruned(l1_scores), extra, left, "l1")
    test("both, same extra epochs", full, extra, left, "full")
    test("both, released mask", masked, longer, left, "mask")
    test("both, half width from scratch", lambda: SleepNet(genotype, max(channels // 2, 1), cells), longer, left)
    return rows


def _search_settings(settings, seed, variant):
    """Settings of stage 1's search with the variant's levels of pruning."""
    data_pruning, operation_pruning = SEARCHES[variant]
    first = json.loads((settings.first / "networks.json").read_text())["search"]
    search = changed(SearchSettings(**first), settings.ablation_search or {}, "ablation_search")
    return replace(search, data_pruning=data_pruning, operation_pruning=operation_pruning, seed=seed)


def _search(epochs, fold, job, variant):
    settings, search = job.settings, _search_settings(job.settings, job.seed, variant)
    found = search_fold(FoldSearch(epochs, fold, search, settings.work, settings.device, job.deadline))
    return crossval.finished(found, settings.max_minutes)
