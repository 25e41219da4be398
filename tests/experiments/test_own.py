"""Stages 1 and 2 on a data set of one's own: which nights, which folders, and nothing published beside them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from toy import toy

from sleepkit import results
from sleepkit.epochs import STAGES
from sleepkit.execution import paths
from sleepkit.experiments import Networks, Preparation, Run, load_epochs, prepare_nights, train_networks
from sleepkit.experiments.compare import _by_subject
from sleepkit.paper import answer, figures, preview
from sleepkit.paper.published import published_genotype, published_search

PEOPLE = {"01_a": "01", "01_b": "01", "2_a": "2"}


def save(folder, dataset="lab", names=PEOPLE, **changes):
    """Prepared nights of one's own, an epoch of each stage in each."""
    folder.mkdir(parents=True, exist_ok=True)
    epochs, facts = toy(1, (1,), 10, 3000), {"bad": 0, "hz": 256.0, "unit": "mV", "scoring": "x.txt", "notes": ""}
    for name, subject in names.items():
        who = {"dataset": dataset, "subject": subject, "night": name, "channel": "C4 - M1", "ch_label": "C4 - M1"}
        arrays = {"x": epochs.x[:, :, None], "y": epochs.y, "fs": 100.0}
        np.savez(folder / f"{name}.npz", **arrays, **who, **facts | changes)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("SLEEPKIT_RUNS", str(tmp_path / "runs"))
    save(tmp_path / "nights")
    settings = Preparation(profile="mine", source=str(tmp_path / "nights"), seconds=5)
    return SimpleNamespace(root=tmp_path, settings=settings, table=prepare_nights(tmp_path / "nights", settings))


def test_a_run_of_a_data_set_of_ones_own():
    run = Run(profile="mine", dataset="lab")
    assert (run.stage1, run.stage2, run.notebook) == ("stage1_lab", "stage2_prune_lab", "stage1_edf20")
    assert Run(profile="mine", dataset="edf78").notebook == "stage1_edf78"
    for name in ("my-lab", "", "../lab", "1st"):
        with pytest.raises(ValueError, match="letters, digits and _"):
            Run(profile="mine", dataset=name)


def test_the_nights_of_a_data_set_are_those_that_were_listed(lab):
    assert lab.table.status.tolist() == ["written"] * 3, lab.table.problem.tolist()
    listed = results.read("mine", "nights.csv")
    assert listed.subject.tolist() == ["01", "01", "2"] and set(listed.dataset) == {"lab"}
    assert list(listed.columns) == results.COLUMNS["nights.csv"]
    save(lab.settings.nights, names={"9_x": "9"})  # of an earlier run
    epochs = load_epochs(Run(profile="mine", dataset="lab"))
    assert sorted(set(epochs.subject)) == ["01", "2"] and epochs.x.shape == (30, 500)
    assert set(load_epochs(Run(profile="mine", dataset="lab", subjects=["01"])).night) == {"01_a", "01_b"}
    for run in (
        Run(profile="mine", dataset="other"),
        Run(profile="mine", dataset="lab", subjects=[1]),
        Run(profile="mine"),
    ):
        with pytest.raises(ValueError, match=f"no prepared night of {run.dataset}"):
            load_epochs(run)
    assert lab.settings.origin == "Nights of lab."
    assert answer("prepare", "mine").to_numpy().tolist() == [["epochs of lab", "30"]]


def test_people_are_told_apart_by_the_list_and_not_by_numbers(lab):
    """ "01" and "1" would be one person as numbers."""
    nights = pd.DataFrame({"seed": 0, "night": ["a", "b", "c"], "subject": ["01", "1", "01"]})
    nights = nights.assign(**{cell: 1 for cell in results.CELLS})
    assert _by_subject(nights)[0].sum(axis=(1, 2)).tolist() == [50, 25]


def test_spreads_over_people_of_ones_own(lab):
    """Table 3 of this run alone; whose a night is stands in nights.csv."""
    folder, run = lab.root / "results" / "mine" / "stage1_lab", Run(profile="mine", dataset="lab")
    key = {"protocol": "subjectwise", "genotype": "lab-searched", "channels": 4, "cells": 3, "pruned": 0.0, "seed": 0}
    one = pd.DataFrame([key | {"context": "none"}])
    scores = {"fold": "pooled", "acc": 0.5, "mf1": 0.5, "kappa": 0.4, "mgm": 0.3, "n": 30}
    results.write_table(one.assign(**scores), folder / "crossval.csv")
    results.write_table(one.assign(params=9, macs=1e6, samples=500), folder / "parameters.csv")
    cells = pd.DataFrame([(true, said) for true in STAGES for said in STAGES], columns=["true", "predicted"])
    results.write_table(one.merge(cells.assign(n=6), how="cross"), folder / "confusion.csv")
    matrix = dict.fromkeys(results.CELLS, 2)
    nights = pd.DataFrame([matrix | {"night": night} for night in PEOPLE])
    results.write_table(one.merge(nights, how="cross"), folder / "confusion_by_night.csv")
    shown = preview("tab03", run).data
    assert "lab-searched, L = 3, C = 4" in shown and "20.00 ± 0.00" in shown and "published" not in shown


def test_what_is_published_is_left_out(lab):
    folder = lab.root / "results" / "mine"
    row = {
        "protocol": "subjectwise",
        "genotype": "lab-searched",
        "channels": 4,
        "cells": 3,
        "pruned": 0.0,
        "context": "none",
    }
    row |= {"seed": 0, "fold": "pooled", "acc": 0.5, "mf1": 0.4, "kappa": 0.3, "mgm": 0.2, "n": 30}
    results.write_table(pd.DataFrame([row]), folder / "stage1_lab" / "crossval.csv")
    shown = answer("stage1", Run(profile="mine", dataset="lab"))
    assert list(shown.columns) == ["question", "this run"]
    assert shown.iloc[:2].to_numpy().tolist() == [
        ["accuracy on new people, %", "50.0"],
        ["macro-F1 on new people, %", "40.0"],
    ]
    assert list(answer("stage2", Run(profile="mine", dataset="lab")).columns) == ["question", "this run"]
    assert published_genotype("lab") is None and published_search("lab") == (None, None)
    with pytest.raises(ValueError, match="none is published"):
        run = Run(profile="mine", dataset="lab")
        found = SimpleNamespace(kept={"train": [], "valid": []}, genotype=None)
        how = {"search": None, "training": None, "networks": Networks(origins=["published"]), "run": run}
        train_networks(toy(), found, **how)


def test_figures_of_a_search_and_a_cell_without_published_ones():
    history = pd.DataFrame(0.5, index=range(3), columns=results.COLUMNS["history.csv"]).assign(epoch=[1, 2, 3])
    drawn = figures.plot_search(history, None, None)
    texts = [text.get_text() for legend in drawn.legends for text in legend.get_texts()]
    assert len(texts) == 3 and not any("published" in text for text in texts)
    cell = figures.plot_cells(None, published_genotype("edf20"), "normal")
    assert [ax.get_label() for ax in cell.axes] == ["found in this run"]


def test_an_example_of_ones_own_bears_no_number_of_a_subject():
    voe = {"half": np.array(["train"]), "voe": np.array([1e-3]), "removed": np.array([True]), "y": np.array([0])}
    for number, place in ((13, "subject 1, night 3, epoch 7"), (1 << 47, "epoch 7")):
        x, stage = np.zeros((1, 50), np.float16), np.array(["W"])
        one = {"id": np.array([number * 10_000 + 7]), "stage": stage, "half": voe["half"], "voe": voe["voe"], "x": x}
        titles = [ax.get_title(loc="right") for ax in figures.plot_removed(voe, one | {"fs": 100.0}).axes]
        assert f"{place}; VoE 1.0e-03" in titles
