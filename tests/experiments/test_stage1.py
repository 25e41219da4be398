"""Stage 1's networks: what is trained, under which names, and how."""

import json
import shutil
from dataclasses import replace

import pytest
from toy import save_nights, toy

from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution import paths
from sleepkit.experiments.checks import evaluation_checks
from sleepkit.experiments.compare import paired_differences
from sleepkit.experiments.settings import Networks, Pruning, Run
from sleepkit.experiments.stage1 import search_architecture, train_networks
from sleepkit.experiments.stage2 import load_networks, load_pruned, prune_and_finetune, prune_other_dataset
from sleepkit.results import gather, merge_crossval, read
from sleepkit.search.bilevel import run_search, search_key
from sleepkit.search.settings import SearchSettings

SEARCH = SearchSettings(channels=2, cells=3, nodes=4, epochs=1, batch=64)
TRAINING = TrainSettings(lr=0.01, batch=32, epochs=1)
SIZE = {"channels": 2, "cells": (3,), "folds": 2, "validation_subjects": 1, "lr": (0.01,)}
PRUNING = Pruning(finetune_epochs=1)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """What a finished search of the toy nights leaves; every run here takes it up."""
    folder = tmp_path_factory.mktemp("search")
    run_search(toy(4, per_night=16, samples=32), SEARCH, folder)
    return folder / "search.pt"


@pytest.fixture
def root(tmp_path, monkeypatch, searched):
    shutil.copy(searched, tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("SLEEPKIT_RUNS", str(tmp_path / "runs"))
    return tmp_path


def trained(profile, dataset="edf20", **changes):
    """Run, networks and rows of a small stage 1 on toy nights."""
    epochs, run = toy(4, per_night=16, samples=32), Run(profile=profile, dataset=dataset)
    networks = Networks(**SIZE | changes)
    save_nights(epochs, paths.runs(profile) / "nights")
    folder = run.work(run.stage1) / f"search-{search_key(epochs, SEARCH)}"
    folder.mkdir(parents=True)
    shutil.copy(paths.ROOT / "search.pt", folder)
    found = search_architecture(epochs, SEARCH, run)
    rows = train_networks(epochs, found, search=SEARCH, training=TRAINING, networks=networks, run=run)
    return run, networks, rows


def test_the_published_protocol_alone(root):
    """It is checked and pruned; what needs subjects kept apart says so."""
    run, networks, rows = trained("published_protocol", protocols=["epochwise"])
    assert set(rows.protocol) == {"epochwise"}
    checked = evaluation_checks(rows, toy(4, per_night=16, samples=32), networks, run)
    assert checked.claim.tolist() == ["epochs that test every network once, epochwise"] and checked.holds.all()
    pruned = prune_and_finetune(load_networks(run), PRUNING, run)
    assert set(pruned.protocol) == {"epochwise"}
    with pytest.raises(ValueError, match='paired by subject, .* add "subjectwise" to its protocols'):
        paired_differences(PRUNING, run)


def test_depths_have_learning_rates_of_their_own(root):
    """A network whose rate is the same keeps its run."""
    run, _, _ = trained("rates", cells=(3, 4), lr=[0.01, 0.002])
    listed = json.loads((run.work(run.stage1) / "networks.json").read_text())["networks"]
    assert {(entry["key"]["cells"], entry["training"]["lr"]) for entry in listed} == {(3, 0.01), (4, 0.002)}
    alike, _, _ = trained("alike", cells=(3, 4))
    folders = [one.work(one.stage1) / "folds" for one in (run, alike)]
    runs = [{path.parent.name for path in folder.glob("*/fold0.npz")} for folder in folders]
    assert [len(names) for names in runs] == [2, 2] and len(runs[0] & runs[1]) == 1


def test_learning_rates_that_fit_no_depths_are_refused():
    with pytest.raises(ValueError, match="lr=.*one for each of the depths"):
        Networks(cells=(7, 9, 11), lr=(0.01, 0.02))


def test_stage_2_of_another_data_set_leaves_the_first_ones_results_alone(root, capsys):
    run, _, _ = trained("two")
    other = replace(run, dataset="edf78")
    assert prune_other_dataset(PRUNING, other) is None
    assert "stage1_edf78 of profile two has not run" in capsys.readouterr().out
    prune_and_finetune(load_networks(run), PRUNING, run)
    rows = read("two", "stage2_prune/crossval.csv")
    trained("two", "edf78")
    compared = prune_other_dataset(PRUNING, other)
    assert set(compared.genotype) == {"edf78-searched"} and set(compared.pruned) == {0.0, 0.5}
    assert read("two", "stage2_prune/crossval.csv").equals(rows)
    assert [network.key.label for network in load_pruned(run)] == ["edf20-searched"]
    pruned = merge_crossval("two").query("pruned == 0.5")
    assert pruned.groupby("genotype").size().to_dict() == {"edf20-searched": len(rows), "edf78-searched": len(rows)}
    assert set(gather("two", "confusion.csv").query("pruned == 0.5").genotype) == {"edf20-searched", "edf78-searched"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"seeds": (0, 0)}, "seeds=.*stands twice"),
        ({"cells": (7, 0)}, "at least one cell"),
        ({"origins": ["drawn"]}, r"origins: \['drawn'\] is not among searched, published"),
        ({"protocols": ["by night"]}, r"protocols: \['by night'\] is not among subjectwise, epochwise"),
        ({"folds": 0}, "folds=0: must be at least 1"),
    ],
)
def test_networks_that_cannot_be_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Networks(**wrong)


@pytest.mark.parametrize("name", ["protocols", "origins", "cells", "seeds"])
def test_a_list_that_leaves_no_network_is_refused_before_the_search(name):
    with pytest.raises(ValueError, match=f"{name} is empty: name at least one"):
        Networks(nested={"epochs": 2}, **{name: []})
