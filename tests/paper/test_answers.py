"""The answers at the end of the notebooks."""

from types import SimpleNamespace

import pandas as pd
import pytest

from sleepkit import results
from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution import paths
from sleepkit.experiments import Pruning
from sleepkit.paper import answer, settings_table

CPU = SimpleNamespace(profile="first5s-cpu", dataset="edf20")


def test_the_real_run_answers_as_its_result_files_say():
    (epochs,) = answer("prepare", CPU).itertuples()
    assert epochs.published == epochs[3] == "42,308" and epochs.verdict == "the paper's epochs"
    accuracy = answer("stage1", CPU).set_index("question")
    rows = results.gather("first5s-cpu", "crossval.csv").query(
        "fold == 'pooled' and context == 'none' and protocol == 'subjectwise' and pruned == 0 and cells == 7 "
        "and variant == '' and origin != 'nested'"
    )
    assert accuracy.loc["accuracy on new people, %", "this run"] == f"{100 * rows.acc.mean():.1f}"
    assert accuracy.loc["kappa on new people (0 is chance)", "this run"] == f"{rows.kappa.mean():.3f}"
    lost, left = answer("stage2", CPU)["this run"]
    assert lost == "1.0 (0.3 to 1.6)" and left == f"{100 * 24_153 / 83_789:.1f}"
    assert answer("stage2", CPU).verdict[0] == "more than the paper says"


def test_simulated_nights_are_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    results.write_json({"simulated": True}, tmp_path / "results" / "toy" / "preparation.json")
    for notebook in ("prepare", "stage1", "stage2"):
        shown = answer(notebook, SimpleNamespace(profile="toy", dataset="edf20"))
        assert set(shown.verdict) == {"simulated nights: says nothing about people"}
        assert (shown["this run"] == "–").all()


@pytest.mark.parametrize(("difference", "words"), [(-0.004, "as the paper says"), (-0.006, "more than the paper says")])
def test_half_a_point_is_next_to_none(tmp_path, monkeypatch, difference, words):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    facts = {"genotype": "edf20-toy", "channels": 8, "cells": 7, "seeds": 1, "subjects": 2}
    row = facts | {"comparison": "pruned - full", "metric": "acc", "difference": difference, "low": -0.01, "high": 0.0}
    folder = tmp_path / "results" / "toy"
    results.write_table(pd.DataFrame([row]), folder / "stage2_prune" / "differences.csv")
    sizes = {"genotype": "edf20-toy", "channels": 8, "cells": 7, "macs": 1, "samples": 500}
    sizes = pd.DataFrame([sizes | {"pruned": 0.0, "params": 100}, sizes | {"pruned": 0.5, "params": 30}])
    results.write_table(sizes, folder / "stage2_prune" / "parameters.csv")
    shown = answer("stage2", SimpleNamespace(profile="toy", dataset="edf20"))
    assert shown.verdict[0] == words and shown["this run"][1] == "30.0"


def test_settings_stand_next_to_the_papers():
    table = settings_table(Pruning(finetune_epochs=4), TrainSettings())
    assert table.set_index("setting").loc["Pruning: finetune_epochs"].tolist() == ["25", "4"]
    training = table[table.setting.str.startswith("TrainSettings")]
    assert len(training) and (training.paper == training["this run"]).all()
