"""Stage 1's networks: what is trained, under which names, and how."""

import json

import pytest
from test_crossval import toy

from sleepkit import paths, stage1
from sleepkit.comparison import paired_differences
from sleepkit.metrics import CELLS, scores
from sleepkit.results import SCORES, read, write_table
from sleepkit.search import SearchSettings
from sleepkit.stage1 import Stage1
from sleepkit.stage2 import Stage2, load_trained, prune_and_finetune
from sleepkit.training import TrainSettings

SEARCH = SearchSettings(2, 3, 4, 1, 32)
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
    assert set(left.comparison) == {"pruned - full", "pruned - full, context"}


def test_another_way_to_train_is_refused():
    with pytest.raises(ValueError, match=r"beside: unknown \['noise'\]; known are hum"):
        Stage1("toy", "edf20", SEARCH, TRAIN, beside=["noise"])
