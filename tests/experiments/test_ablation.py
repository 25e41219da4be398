"""Table 8: which networks are trained, and on which epochs."""

import pytest

from sleepkit.experiments import ablation
from sleepkit.experiments.ablation import SEARCHES, ablate
from sleepkit.experiments.settings import Ablation

SEARCH = {"channels": 2, "cells": 3, "nodes": 4, "batch": 64}


@pytest.mark.slow  # the golden notebook has all rows of table 8
def test_searches_of_table_8_that_find_the_same_architecture_share_its_training(made):
    """One epoch is too short for a round of pruning: all four searches are one, and so are their networks."""
    asked = Ablation(seeds=(0,), search=SEARCH | {"epochs": 1})
    table = ablate(made.networks, asked, made.pruning, made.run).set_index("variant")
    alike, others = table.loc[list(SEARCHES)], table.drop(list(SEARCHES))
    assert len(alike.drop_duplicates()) == 1
    folder = made.run.work(made.run.stage2) / "ablation"
    trainings = [path for path in folder.iterdir() if (path / "fold0.safetensors").exists()]
    assert len(trainings) == 1 + len(others) == 8


@pytest.mark.slow  # their numbers: test_runs; which epochs data pruning leaves: test_nested
def test_networks_of_table_8_are_trained_on_what_data_pruning_left(made, monkeypatch):
    """Those of a search without it, and that of a drawn architecture, on the whole fold."""
    epochs, whole, trained_on, left = made.epochs, made.networks[0].folds[0], [], {}
    train, search_fold = ablation.cross_validate, ablation.search_fold

    def watched(plans, *rest, **options):
        (fold,) = plans[0].folds
        trained_on.append(set(epochs.id[fold.train].tolist()))
        assert set(fold.test) == set(whole.test) and set(fold.valid) == set(whole.valid)
        return train(plans, *rest, **options)

    def searched(job):
        found = search_fold(job)
        left[job.search.data_pruning] = {int(number) for half in found.kept.values() for number in half}
        return found

    monkeypatch.setattr(ablation, "cross_validate", watched)
    monkeypatch.setattr(ablation, "search_fold", searched)
    asked = Ablation(seeds=(0,), search=SEARCH | {"epochs": 2, "prune_every": 2, "prune_until": 2})
    table = ablate(made.networks, asked, made.pruning, made.run)
    everything = set(epochs.id[whole.train].tolist())
    assert everything <= left[False] and len(everything - left[True]) > 0
    for row, ids in zip(table.itertuples(), trained_on, strict=True):
        pruned = row.variant not in ("DARTS", "+ DOP", "random architecture")
        assert ids == (everything & left[True] if pruned else everything), row.variant
        assert row.trained_on == len(ids)


def test_without_seeds_there_is_no_table_8(made):
    assert ablate(made.networks, Ablation(seeds=()), made.pruning, made.run).empty
