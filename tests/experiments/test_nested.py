"""Searches inside folds: what a fold finds does not depend on whom it is tested on."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from toy import toy

from sleepkit import results
from sleepkit.epochs import STAGES, EpochSet
from sleepkit.evaluation import protocols
from sleepkit.evaluation.context import fit_context, smooth
from sleepkit.evaluation.crossval import cross_validate
from sleepkit.evaluation.scores import CONTEXTS, Scored
from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution import paths
from sleepkit.execution.checkpoint import TimeOver
from sleepkit.experiments import stage1
from sleepkit.experiments.settings import Networks, Run
from sleepkit.experiments.stage1 import FoldSearch, left_by, nested_plans, nested_report, search_fold
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_parameters
from sleepkit.search.settings import SearchSettings

SEARCH = SearchSettings(channels=2, cells=3, nodes=4, epochs=3, batch=64, alpha_lr=0.3, prune_every=2, prune_until=2)
TRAIN = TrainSettings(lr=0.01, batch=32, epochs=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root, patch = tmp_path_factory.mktemp("root"), pytest.MonkeyPatch()
    patch.setattr(paths, "ROOT", root)
    patch.setenv("SLEEPKIT_RUNS", str(root / "runs"))
    yield root
    patch.undo()


def some_epochs():
    return toy(4, per_night=16, samples=32)


def settings(profile, where="inline", max_minutes=0, **changes):
    """The keywords of a nested network."""
    how = {"channels": 2, "cells": (3,), "folds": 2, "validation_subjects": 1, "nested": {"epochs": 2}, "lr": (0.01,)}
    run = Run(profile=profile, where=where, max_minutes=max_minutes)
    return {"search": SEARCH, "training": TRAIN, "networks": Networks(**how | changes), "run": run}


def folds_of(epochs):
    return protocols.subject_folds(epochs.subject, 2, 1)


@pytest.fixture(scope="module")
def plans(root):
    epochs = some_epochs()
    return nested_plans(epochs, folds_of(epochs), **settings("whole"))


@pytest.fixture
def searches(plans):
    """Folder of the finished searches of both folds, which others take up."""
    return Run(profile="whole").work("stage1_edf20") / "nested"


def test_nothing_that_a_fold_finds_depends_on_its_test_subjects(root, plans):
    epochs, folds = some_epochs(), folds_of(some_epochs())
    test = folds[0].test
    x, y = epochs.x.copy(), epochs.y.copy()
    x[test], y[test] = 7 * x[test][:, ::-1] + 100, (y[test] + 1) % 5
    changed = EpochSet(x, y, epochs.subject, epochs.night, epochs.id, epochs.fs)
    others = nested_plans(changed, folds, **settings("changed"))
    (first, second), (other_first, other_second) = plans, others
    assert first.facts == other_first.facts
    np.testing.assert_array_equal(first.folds[0].train, other_first.folds[0].train)
    # fold 1, which searches on those subjects, does see the change
    same = np.array_equal(second.folds[0].train, other_second.folds[0].train)
    assert second.facts != other_second.facts or not same
    trained = [cross_validate([plan])[0].networks[0] for plan in (first, other_first)]
    one, two = (load_network(path)[0].state_dict() for path in trained)
    assert all(torch.equal(weights, two[name]) for name, weights in one.items())


def test_data_pruning_thins_the_training_epochs_alone(plans):
    for before, plan in zip(folds_of(some_epochs()), plans, strict=True):
        (after,) = plan.folds
        assert set(after.train) < set(before.train)
        lost = len(before.train) + len(before.valid) - len(after.train)
        assert len(before.valid) < lost <= len(before.valid) + 0.05 * (len(before.train) + len(before.valid)) + 2
        for side in ("valid", "test"):
            np.testing.assert_array_equal(getattr(before, side), getattr(after, side))


def test_left_by_keeps_what_both_halves_kept(searches):
    epochs = some_epochs()
    fold = folds_of(epochs)[1]
    found = search_fold(FoldSearch(epochs, fold, replace(SEARCH, epochs=2), searches))
    removed = set(found.voe[found.voe.removed.astype(bool)].id)
    assert removed and removed <= set(epochs.id[np.concatenate([fold.train, fold.valid])])
    left = left_by(found, fold, epochs)
    assert set(epochs.id[left.train]) == set(epochs.id[fold.train]) - removed


@pytest.mark.slow  # test_crossval shows it of folds with every run
def test_searches_in_other_processes_find_the_same(root, plans):
    epochs = some_epochs()
    others = nested_plans(epochs, folds_of(epochs), **settings("apart", where="local"))
    assert [plan.run.name for plan in others] == [plan.run.name for plan in plans]


def test_a_fold_alone_is_the_fold_among_all(root, plans):
    epochs = some_epochs()
    (alone,) = nested_plans(epochs, folds_of(epochs)[1:], **settings("whole"))
    assert alone.run == plans[1].run


def test_a_run_has_the_nested_network_as_rows_of_its_own(searches):
    epochs = some_epochs()
    how = settings("rows", seeds=(0, 1))
    run = how["run"]
    shutil.copytree(searches, run.work(run.stage1) / "nested")
    rows = stage1.train_networks(epochs, stage1.search_architecture(epochs, SEARCH, run), **how)
    nested = rows[rows.genotype == "edf20-nested"]
    assert set(nested.context) == set(CONTEXTS) and set(nested.seed) == {0}
    assert (nested[nested.fold == "pooled"].n == len(epochs)).all()
    report = json.loads((run.results(run.stage1) / "nested.json").read_text())
    assert report["search"]["epochs"] == 2 and report["search"]["channels"] == SEARCH.channels
    assert {fold["searched_on"] for fold in report["folds"].values()} == {
        len(fold.train) + len(fold.valid) for fold in folds_of(epochs)
    }
    shown = nested_report(run).set_index("fold")
    assert shown["searched on"].tolist() == [report["folds"][fold]["searched_on"] for fold in ("0", "1")]
    assert (shown.left < shown["searched on"]).all() and (shown["trained on"] < shown.left).all()
    names = [name for name, _ in report["folds"]["1"]["genotype"]["normal"]]
    assert sorted(shown["normal cell"][1].split(", ")) == sorted(f"{names.count(name)} {name}" for name in set(names))
    assert nested_report(replace(run, profile="none")).empty
    sizes = results.read("rows", "stage1_edf20/parameters.csv").set_index("genotype").params
    files = (run.work(run.stage1) / "folds").glob("*/fold?.json")
    saved = [count_parameters(load_network(path.with_suffix(""))[0]) for path in files if "nested" in path.read_text()]
    assert len(saved) == 2 and sizes["edf20-nested"] == round(np.mean(saved))
    # stage 2 prunes networks that are one architecture over all folds
    listed = json.loads((run.work(run.stage1) / "networks.json").read_text())["networks"]
    assert {entry["key"]["origin"] for entry in listed} == {"searched"}
    again = stage1.train_networks(epochs, stage1.search_architecture(epochs, SEARCH, run), **how)
    pd.testing.assert_frame_equal(again, rows)


def test_time_that_is_over_is_said_and_what_is_done_is_kept(root):
    epochs = some_epochs()
    nested_plans(epochs, folds_of(epochs)[:1], **settings("short"))
    (done,) = (root / "runs" / "short").rglob("search.pt")
    before = done.read_bytes()
    with pytest.raises(TimeOver, match="the minutes are over"):
        nested_plans(epochs, folds_of(epochs), **settings("short", max_minutes=1e-9))
    assert list((root / "runs" / "short").rglob("search.pt")) == [done] and done.read_bytes() == before


def test_a_search_that_cannot_be_names_its_fold(root):
    epochs = some_epochs()
    rare = np.where(epochs.y == 1, 2, epochs.y)
    rare[np.flatnonzero(np.isin(epochs.subject, epochs.subject[folds_of(epochs)[0].train]))[0]] = 1
    few = EpochSet(epochs.x, rare, epochs.subject, epochs.night, epochs.id, epochs.fs)
    with pytest.raises(ValueError, match="the search inside fold 0: .*least populated"):
        nested_plans(few, folds_of(epochs)[:1], **settings("rare"))


def test_the_context_of_a_thinned_fold_is_that_of_whole_nights(root, plans):
    epochs, plan = some_epochs(), plans[0]
    scored = Scored(cross_validate([plan])[0])
    predictions, forward = scored.network.predictions, scored.probabilities["forward"]
    whole = np.isin(epochs.subject, epochs.subject[plan.folds[0].train])
    context = fit_context(epochs.y[whole], epochs.night[whole])
    night = (predictions.night == predictions.night.iloc[0]).to_numpy()
    smoothed = smooth(predictions.loc[night, list(STAGES)].to_numpy(), context, forward_only=True)
    np.testing.assert_allclose(forward[night], smoothed, rtol=1e-6)


@pytest.mark.parametrize("nested", [{"epoch": 2}, ["epochs"], 3])
def test_changes_that_a_search_does_not_have(nested):
    with pytest.raises(ValueError, match="nested=.*expected a dict of some of the search's settings: channels, cells"):
        settings("wrong", nested=nested)


def test_epochwise_folds_have_no_searches_of_their_own():
    with pytest.raises(ValueError, match='need "subjectwise" among the protocols'):
        settings("wrong", protocols=("epochwise",))
