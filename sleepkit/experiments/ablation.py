"""Table 8: what each level of pruning does to one network, and what else the same training epochs could have bought.

A network is trained on the epochs of the fold that the data pruning of its search left; without it on all of them.
"""

import json
from collections import namedtuple
from dataclasses import replace
from functools import partial

import pandas as pd

from sleepkit.evaluation.crossval import Plan, cross_validate, share, shared
from sleepkit.execution import jobs
from sleepkit.execution.record import told
from sleepkit.experiments.settings import changed
from sleepkit.experiments.stage1 import FoldSearch, left_by, search_fold
from sleepkit.experiments.stage2 import finetuning, measured, pruned_network, subjectwise
from sleepkit.genotype import random_genotype
from sleepkit.network.saved import load_network
from sleepkit.network.sleepnet import new_network
from sleepkit.pruning.filters import released_mask
from sleepkit.results import COLUMNS, write_json, write_table
from sleepkit.search.settings import SearchSettings

# Variant -> (data pruning, operation pruning) of its search. The other variants start from the last one's network.
SEARCHES = {"DARTS": (False, False), "+ BDP": (True, False), "+ DOP": (False, True), "+ BDP + DOP": (True, True)}
# All variants with one seed, that of `key`, `training` and `search`; data : epochs, or where `share` wrote them
AblationJob = namedtuple("AblationJob", "key training search data fold pruning run deadline")


def ablate(networks, ablation, pruning, run):
    """Every variant of table 8 on the first fold of the first network, with each of the ablation seeds.

    Seeds are independent jobs. Writes ablation.csv (variant, seed, scores, params, macs, trained_on: training epochs
    that were used, n: test epochs) and ablation.json (what was searched and trained), and returns the former as a data
    frame; without seeds nothing is computed or written. Raises TimeOver."""
    if not ablation.seeds:
        return pd.DataFrame(columns=COLUMNS["ablation.csv"])
    first, work, folder = subjectwise(networks)[0], run.work(run.stage2), run.results(run.stage2)
    listed = json.loads((run.work(run.stage1) / "networks.json").read_text())["search"]
    search = changed(SearchSettings(**listed), ablation.search, "ablation_search")
    data = first.data if run.where == "inline" else share(first.data, work / "ablation")
    same = {"data": data, "fold": first.folds[0], "pruning": pruning, "run": run, "deadline": run.deadline()}
    seeded = {"key": first.key, "training": first.training, "search": search}
    todo = [AblationJob(**same, **{k: replace(v, seed=seed) for k, v in seeded.items()}) for seed in ablation.seeds]
    parts = jobs.map(ablate_seed, todo, run.where, work / "jobs", gpus=run.gpus, label="ablation")
    frame = pd.DataFrame([row for part in parts for row in part], columns=COLUMNS["ablation.csv"])
    write_table(frame, folder / "ablation.csv")
    facts = {"fold": first.folds[0].number, "search": told(todo[0].search), "train": told(first.training)}
    write_json(facts | {"finetune_epochs": pruning.finetune_epochs}, folder / "ablation.json")
    return frame


def ablate_seed(job):
    """The rows of one seed as a list of dicts. Raises TimeOver."""
    width, cells, seed, pruning = job.key.channels, job.key.cells, job.key.seed, job.pruning
    epochs, work, rows = shared(job.data), job.run.work(job.run.stage2), []
    for name, (data_pruning, operation_pruning) in SEARCHES.items():
        search = replace(job.search, data_pruning=data_pruning, operation_pruning=operation_pruning)
        found = search_fold(FoldSearch(epochs, job.fold, search, work, job.run.device, job.deadline))
        make, left = partial(new_network, found.genotype, width, cells), left_by(found, job.fold, epochs)
        row, networks = _tested(job, name, make, job.training, left)
        rows.append(row)
    (path,) = networks.values()  # of the last search, from which most of the others start
    extra, run = finetuning(job.training, pruning), path.parent.name
    longer = replace(job.training, epochs=job.training.epochs + pruning.finetune_epochs)
    drawn = partial(new_network, random_genotype(job.search.nodes, seed), width, cells)
    half = partial(new_network, found.genotype, max(width // 2, 1), cells)
    pruned = partial(pruned_network, networks, pruning.ratio, pruning.balance)
    others = (
        ("random architecture", drawn, job.training, job.fold),
        ("both + filter pruning", partial(pruned, "importance", seed), extra, left, "importance", run),
        ("both + random filters", partial(pruned, "random", seed), extra, left, "random", run),
        ("both + filters by L1", partial(pruned, "l1", seed), extra, left, "l1", run),
        ("both, same extra epochs", lambda _: load_network(path)[0], extra, left, "full", run),
        ("both, released mask", lambda _: released_mask(make(0), pruning.ratio), longer, left, "mask"),
        ("both, half width from scratch", half, longer, left),
    )
    return [*rows, *(_tested(job, *variant)[0] for variant in others)]


def _tested(job, name, make, training, fold, start="fresh", base=""):
    """The row of a variant, and its networks, a dict fold -> path. make : of the fold's number, the network to train;
    fold : with the training epochs to use;  start, base : how and from which run's network it begins, for the name of
    its run (searches with the same outcome share one training)"""
    net, epochs, folder = make(fold.number), shared(job.data), job.run.work(job.run.stage2) / "ablation"
    facts = {"start": start, "channels": net.channels, "ratio": job.pruning.ratio, "balance": job.pruning.balance}
    facts |= {"architecture": json.loads(net.genotype.to_json()), "from": base}
    plan = Plan(key=job.key, data=epochs, folds=(fold,), start=make, training=training, folder=folder, facts=facts)
    (done,) = cross_validate([plan], job.run.device, deadline=job.deadline)
    return {"variant": name, "seed": job.key.seed, "trained_on": len(fold.train)} | measured(done), done.networks
