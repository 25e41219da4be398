"""Stage 1's networks: what is trained, under which names, and how."""

import json

import pytest
from toy import toy

from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution import paths
from sleepkit.experiments import stage1
from sleepkit.experiments.checks import evaluation_checks
from sleepkit.experiments.compare import paired_differences
from sleepkit.experiments.stage1 import Stage1
from sleepkit.experiments.stage2 import Stage2, prune_and_finetune, prune_others
from sleepkit.experiments.trained import load_pruned, load_trained
from sleepkit.metrics import CELLS, scores
from sleepkit.results import SCORES, gather, merge_crossval, read, write_table
from sleepkit.search.settings import SearchSettings

SEARCH = SearchSettings(channels=2, cells=3, nodes=4, epochs=1, batch=32)
TRAIN = TrainSettings(lr=0.01, batch=32, epochs=1)
SIZE = {"network_channels": 2, "network_cells": (3,), "folds": 2, "validation_subjects": 1}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("SLEEPKIT_RUNS", str(tmp_path / "runs"))
    return tmp_path


def trained(profile, **changes):
    epochs, run = toy(4, per_night=16, samples=32), Stage1(profile, "edf20", SEARCH, TRAIN, **SIZE | changes)
    return epochs, run, stage1.train_networks(epochs, stage1.search_architecture(epochs, run), run)


def test_the_published_protocol_alone(root):
    """It is checked and pruned; what needs subjects kept apart says so."""
    epochs, run, rows = trained("published protocol", protocols=["epochwise"])
    assert set(rows.protocol) == {"epochwise"}
    checked = evaluation_checks(rows, epochs, run)
    assert checked.claim.tolist() == ["better than chance: kappa of the merged predictions"]
    second = Stage2("published protocol", finetune_epochs=1)
    pruned = prune_and_finetune(epochs, load_trained(second), second)
    assert set(pruned.protocol) == {"epochwise"}
    with pytest.raises(ValueError, match='paired by subject, .* add "subjectwise" to its protocols'):
        paired_differences(second)


def test_networks_trained_with_hum_have_rows_of_their_own_after_the_others(root):
    """Those are what they are without them; stage 2 prunes both and says what hum is worth."""
    epochs, run, rows = trained("both", seeds=(0, 1), beside=["hum"])
    without = trained("plain", seeds=(0, 1))[2]
    assert rows.genotype.unique().tolist() == ["edf20-searched", "edf20-searched-hum"]
    assert rows[rows.genotype == "edf20-searched"].equals(without)
    others = rows[rows.genotype == "edf20-searched-hum"].reset_index(drop=True)
    assert not others[list(SCORES)].equals(without[list(SCORES)])
    listed = json.loads((run.work / "networks.json").read_text())["networks"]
    assert [entry["train"]["hum"] for entry in listed] == [0, 0, 0.25, 0.25]

    second = Stage2("both", finetune_epochs=1)
    prune_and_finetune(epochs, load_trained(second), second)
    pruned = json.loads((second.work / "networks.json").read_text())["networks"]
    assert [(entry["keys"]["genotype"], entry["train"]["hum"]) for entry in pruned] == [
        (entry["keys"]["genotype"], entry["train"]["hum"]) for entry in listed
    ]
    found = paired_differences(second).set_index(["genotype", "comparison", "metric"]).difference
    nights = read("both", "stage1_edf20/confusion_by_night.csv").query("context == 'both'")
    totals = (
        nights.groupby(["genotype", "seed"])[CELLS]
        .sum()
        .apply(lambda row: scores(row.to_numpy().reshape(5, 5))["acc"], axis=1)
    )
    expected = totals["edf20-searched-hum"].mean() - totals["edf20-searched"].mean()
    assert found["edf20-searched-hum", "full - without hum, context", "acc"] == pytest.approx(expected)
    assert "full - without hum" not in found["edf20-searched"]

    path = run.folder / "confusion_by_night.csv"
    alone = read("both", "stage1_edf20/confusion_by_night.csv").query("genotype == 'edf20-searched-hum'")
    write_table(alone, path)
    left = paired_differences(second)
    assert set(left.comparison) == {f"pruned - full{ending}" for ending in ("", ", context", ", context with rarity")}


def test_depths_have_learning_rates_of_their_own(root):
    """As papermill hands them on, with words for keys; a network whose rate is the same keeps its run."""
    sizes = {"network_cells": (3, 4), "seeds": (0, 1)}
    _, run, _ = trained("rates", **sizes, rates={"4": 0.002})
    listed = json.loads((run.work / "networks.json").read_text())["networks"]
    assert {(entry["keys"]["cells"], entry["train"]["lr"]) for entry in listed} == {(3, TRAIN.lr), (4, 0.002)}
    _, alike, _ = trained("alike", **sizes)
    runs = [{path.parent.name for path in (one.work / "folds").glob("*/fold0.npz")} for one in (run, alike)]
    assert [len(names) for names in runs] == [4, 4] and len(runs[0] & runs[1]) == 2
    for rates in ([0.1], {"deep": 1}, {3: None}):
        with pytest.raises(ValueError, match="rates.*by depth"):
            Stage1("toy", "edf20", SEARCH, TRAIN, **SIZE, rates=rates)


def test_stage_2_of_another_data_set_leaves_the_first_ones_results_alone(root, capsys):
    epochs, _, _ = trained("two")
    second = Stage2("two", finetune_epochs=1, also=["edf20", "edf78"])
    assert prune_others(second) == [] and "stage1_edf78 of profile two has not run" in capsys.readouterr().out
    prune_and_finetune(epochs, load_trained(second), second)
    rows = read("two", "stage2_prune/crossval.csv")
    other = Stage1("two", "edf78", SEARCH, TRAIN, **SIZE)
    stage1.train_networks(epochs, stage1.search_architecture(epochs, other), other)
    epochs.save(paths.runs("two") / "nights")
    (compared,) = prune_others(second)
    assert set(compared.genotype) == {"edf78-searched"} and set(compared.pruned) == {0.0, 0.5}
    assert read("two", "stage2_prune/crossval.csv").equals(rows)
    assert [network.keys["genotype"] for network in load_pruned(second)] == ["edf20-searched"]
    pruned = merge_crossval("two").query("pruned == 0.5")
    assert pruned.groupby("genotype").size().to_dict() == {"edf20-searched": len(rows), "edf78-searched": len(rows)}
    assert set(gather("two", "confusion.csv").query("pruned == 0.5").genotype) == {"edf20-searched", "edf78-searched"}


def test_another_data_set_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="also: .'edf-78'. is not among edf20, edf78"):
        Stage2("two", also=["edf-78"])


def test_another_way_to_train_is_refused():
    with pytest.raises(ValueError, match=r"beside: unknown \['noise'\]; known are hum"):
        Stage1("toy", "edf20", SEARCH, TRAIN, beside=["noise"])


@pytest.mark.parametrize(
    ("wrong", "words"), [({"seeds": (0, 0)}, "seeds=.*stands twice"), ({"network_cells": (7, 0)}, "at least one cell")]
)
def test_a_network_without_cells_or_one_that_counts_twice_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Stage1("toy", "edf20", SearchSettings(), TrainSettings(), **wrong)


@pytest.mark.parametrize("name", ["protocols", "origins", "network_cells", "seeds"])
def test_a_list_that_leaves_no_network_is_refused_before_the_search(name):
    with pytest.raises(ValueError, match=f"{name} is empty: name at least one"):
        Stage1("toy", "edf20", SEARCH, TRAIN, nested={"epochs": 2}, **{name: []})
