"""Search and data pruning repeated inside every training fold, so that not even the architecture has seen whom it is
tested on. Files in, files out."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import EpochSet
from sleepkit.evaluation import crossval
from sleepkit.evaluation.fold import share, shared
from sleepkit.evaluation.protocols import Fold
from sleepkit.execution import jobs, paths
from sleepkit.execution.checkpoint import Deadline, TimeOver
from sleepkit.network.sleepnet import new_network
from sleepkit.search.bilevel import run_search, search_key
from sleepkit.search.settings import SearchSettings


@dataclass(frozen=True)
class FoldSearch:
    """The search of one fold, complete in itself.

    data : the epochs, or the folder that `fold.share` wrote them to;  folder : where the folders of searches lie
    """

    data: EpochSet | Path
    fold: Fold
    settings: SearchSettings
    folder: Path
    device: str = "cpu"
    deadline: Deadline = Deadline()


def search_fold(job):
    """Search on the training and validation subjects of a fold: a SearchResult, or None when the deadline came
    first.

    The halves of the search are drawn as in that on everybody, stratified by stage: both hold epochs of every sleeper
    but those of the fold's test.
    """
    seen = shared(job.data).subset(np.sort(np.concatenate([job.fold.train, job.fold.valid])))
    folder = Path(job.folder) / f"search-{search_key(seen, job.settings)}"
    try:
        return run_search(seen, job.settings, folder, job.deadline, job.device)
    except TimeOver:
        return None
    except ValueError as error:
        raise ValueError(f"the search inside fold {job.fold.number}: {error}") from error


def nested_search(settings):
    """The settings of the searches inside folds: those of the search, changed by `settings.nested` of a Stage1.

    Raises ValueError where these are no settings of a search, or there are no subject-wise folds.
    """
    if "subjectwise" not in settings.protocols:
        raise ValueError('nested: searches inside subject-wise folds need "subjectwise" among the protocols')
    return changed(settings.search, settings.nested, "nested")


def changed(search, changes, name):
    """SearchSettings that differ from `search` in `changes`, a dict, which an error calls `name`: ValueError where it
    is no dict of some of the search's settings."""
    known = [field.name for field in fields(SearchSettings)]
    if not isinstance(changes, dict) or set(changes) - set(known):
        raise ValueError(f"{name}={changes!r}: expected a dict of some of the search's settings: {', '.join(known)}")
    return replace(search, **changes)


def nested_plans(epochs, folds, settings):
    """The plans of the network whose genotype every fold finds for itself, one a fold: a search of `settings.nested`
    on its training and validation subjects, then training on the training epochs that data pruning left.

    epochs : EpochSet;  folds : subject-wise;  settings : Stage1, of which the first depth and the first seed are used
    Writes nested.json: per fold the genotype, the epochs searched on, left in either half of the search, and trained
    on, and the operations removed. Raises ValueError when `max_minutes` were over first.
    """
    search, limit = nested_search(settings), settings.max_minutes
    folds = [fold for fold in folds if not settings.only_folds or fold.number in settings.only_folds]
    data = epochs if settings.where == "inline" else share(epochs, settings.work / "folds")
    deadline = Deadline.after(limit)
    todo = [FoldSearch(data, fold, search, settings.work / "nested", settings.device, deadline) for fold in folds]
    gpus = int(settings.device.startswith("cuda"))
    found = jobs.map(search_fold, todo, settings.where, settings.work / "jobs", gpus=gpus, label="searches")
    found = {fold.number: crossval.finished(one, limit) for fold, one in zip(folds, found, strict=True)}
    _write(found, search, epochs, folds, settings)
    return [training_plan(epochs, fold, found[fold.number], settings) for fold in folds]


def training_plan(epochs, fold, found, settings):
    """The plan of one fold's network, whose name depends on what this fold found and on nothing of the others."""
    cells, seed = settings.network_cells[0], settings.seeds[0]
    keys = {"protocol": "subjectwise", "genotype": f"{settings.dataset}-nested", "channels": settings.network_channels}
    keys |= {"cells": cells, "pruned": 0.0, "context": "none", "seed": seed}
    return crossval.Plan(
        epochs,
        [left_by(found, fold, epochs)],
        "subjectwise",
        partial(new_network, found.genotype, settings.network_channels, cells),
        replace(settings.train_of(cells), seed=seed),
        settings.work / "folds",
        keys | {"architecture": json.loads(found.genotype.to_json())},
    )


def left_by(found, fold, epochs):
    """The fold without the training epochs that data pruning removed."""
    left = np.concatenate(list(found.kept.values()))
    return replace(fold, train=fold.train[np.isin(epochs.id[fold.train], left)])


def _write(found, search, epochs, folds, settings):
    report = {
        str(fold.number): {
            "genotype": json.loads(found[fold.number].genotype.to_json()),
            "searched_on": len(fold.train) + len(fold.valid),
            "left": {half: len(ids) for half, ids in found[fold.number].kept.items()},
            "trained_on": len(left_by(found[fold.number], fold, epochs).train),
            "removed_operations": len(found[fold.number].removed_operations),
        }
        for fold in folds
    }
    with paths.written(settings.folder / "nested.json") as path:
        path.write_text(json.dumps({"search": asdict(search), "folds": report}, indent=1) + "\n")


def nested_report(settings):
    """What the folds found, from nested.json, as a data frame with a row per fold: epochs searched on, left by data
    pruning, and trained on, operations removed, and the operations of the normal and the reduction cell with their
    numbers; empty without nested searches."""
    rows = []
    if settings.nested:
        report = json.loads((settings.folder / "nested.json").read_text())
        for number, found in report["folds"].items():
            row = {"fold": int(number), "searched on": found["searched_on"], "left": sum(found["left"].values())}
            row["trained on"] = found["trained_on"]
            row["operations removed"] = found["removed_operations"]
            for kind, entries in found["genotype"].items():
                counts = Counter(name for name, _ in entries).most_common()
                row[f"{kind} cell"] = ", ".join(f"{n} {name}" for name, n in counts)
            rows.append(row)
    return pd.DataFrame(rows)
