"""Search and data pruning repeated inside every fold: not even the architecture has seen whom it is tested on."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import EpochSet
from sleepkit.evaluation.crossval import CrossValidated, Plan, cross_validate, share, shared
from sleepkit.evaluation.protocols import SUBJECTWISE, Fold
from sleepkit.execution import jobs
from sleepkit.execution.checkpoint import Deadline
from sleepkit.experiments.settings import changed
from sleepkit.network.sleepnet import new_network
from sleepkit.results import NetworkKey, write_json
from sleepkit.search.bilevel import run_search, search_key
from sleepkit.search.settings import SearchSettings


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
    """Search on the training and validation subjects of a fold: a SearchResult. Raises TimeOver.

    Its halves are drawn stratified by stage, as in the search on everybody: both hold epochs of every such sleeper.
    """
    seen = shared(job.data).subset(np.sort(np.concatenate([job.fold.train, job.fold.valid])))
    folder = Path(job.folder) / f"search-{search_key(seen, job.search)}"
    try:
        return run_search(seen, job.search, folder, job.deadline, job.device)
    except ValueError as error:
        raise ValueError(f"the search inside fold {job.fold.number}: {error}") from error


def nested_network(epochs, folds, *, search, training, networks, run):
    """The network whose genotype every fold finds for itself, as one CrossValidated: of the first depth and the first
    seed of `networks`. Raises TimeOver."""
    plans = nested_plans(epochs, folds, search=search, training=training, networks=networks, run=run)
    done = cross_validate(plans, **run.places())
    paths = {number: path for network in done for number, path in network.networks.items()}
    return CrossValidated(done[0].key, epochs, tuple(plan.folds[0] for plan in plans), paths, done[0].training)


def nested_plans(epochs, folds, *, search, training, networks, run):
    """The plans of `nested_network`, one a fold: a search of `networks.nested` on its training and validation
    subjects, then training on the training epochs that data pruning left. What a fold's run is called depends on what
    this fold found and on nothing of the others.

    Writes nested.json: per fold the genotype, the epochs searched on, left in either half of the search, and trained
    on, and the operations removed. Raises TimeOver.
    """
    search, work = changed(search, networks.nested, "nested"), run.work(run.stage1)
    data, deadline = epochs if run.where == "inline" else share(epochs, work / "folds"), run.deadline()
    todo = [FoldSearch(data, fold, search, work / "nested", run.device, deadline) for fold in folds]
    found = jobs.map(search_fold, todo, run.where, work / "jobs", gpus=run.gpus, label="searches")
    cells, seed = networks.cells[0], networks.seeds[0]
    key = NetworkKey(SUBJECTWISE.name, run.dataset, "nested", networks.channels, cells, seed=seed)
    training = replace(training, lr=networks.lr_of(cells), select_by=SUBJECTWISE.select_by)
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
    write_json({"search": asdict(search), "folds": report}, run.results(run.stage1) / "nested.json")
    return plans


def full_plan(key, data, folds, genotype, training, work):
    """The plan of a genotype at full width; work : folder of stage 1."""
    start = partial(new_network, genotype, key.channels, key.cells)
    facts = {"architecture": json.loads(genotype.to_json())}
    return Plan(key, data, folds, start, replace(training, seed=key.seed), work / "folds", facts)


def left_by(found, fold, epochs):
    """The fold without the training epochs that data pruning removed."""
    left = np.concatenate(list(found.kept.values()))
    return replace(fold, train=fold.train[np.isin(epochs.id[fold.train], left)])


def nested_report(run):
    """What the folds found, from nested.json, as a data frame: epochs searched on, left by data pruning, and trained on,
    operations removed, and how often each is in the normal and the reduction cell; empty without nested searches."""
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
