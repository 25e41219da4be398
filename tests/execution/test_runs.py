"""What the five notebooks leave in results/demo and figures/demo, once `--nbval notebooks` has run them."""

import json

import pandas as pd
import pytest

from sleepkit import results
from sleepkit.epochs import STAGES
from sleepkit.execution import notebooks, paths
from sleepkit.genotype import Genotype


@pytest.fixture(autouse=True)
def run(request):
    if not request.config.getoption("nbval"):
        pytest.skip("reads what the notebooks leave: pytest --nbval notebooks tests/execution/test_runs.py")


def read(*parts):
    path = paths.results("demo").joinpath(*parts)
    return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else pd.read_csv(path)


def test_prepared_nights():
    nights = read("nights.csv")
    assert (nights[list(STAGES)].sum(axis=1) == nights.n_epochs).all()
    totals = nights.groupby("dataset").n_epochs.sum()
    assert list(totals.index) == ["edf20", "edf78"] and (totals > 0).all()


@pytest.mark.parametrize("name", ["stage1_edf20", "stage1_edf78"])
def test_stage1(name):
    history = read(name, "history.csv")
    assert list(history.epoch) == list(range(1, len(history) + 1))
    assert history.valid_acc.between(0, 1).all()
    # what is removed at the end of an epoch is missing from the next
    for half in ("train", "valid"):
        lost = history[f"n_{half}"].diff().dropna()
        assert list(lost) == list(-history[f"removed_{half}"][:-1])
    assert history.removed_train.sum() > 0 and history.removed_operations.sum() > 0
    assert list(history.operations.diff().dropna()) == list(-history.removed_operations[:-1])
    Genotype.from_json((paths.results("demo") / name / "genotype.json").read_text(encoding="utf-8"))  # or ValueError
    assert_crossval_agrees_with_confusion(name)


def test_stage2():
    size = pd.concat([read("stage1_edf20", "parameters.csv"), read("stage2_prune", "parameters.csv")])
    keys = ["genotype", "channels", "cells"]
    both = size[size.pruned == 0].merge(size[size.pruned > 0], on=keys, suffixes=("_full", "_pruned"))
    assert len(both) > 0
    assert (both.params_pruned < both.params_full).all() and (both.macs_pruned < both.macs_full).all()
    assert_crossval_agrees_with_confusion("stage2_prune")
    assert_crossval_agrees_with_confusion("stage2_prune_edf78")
    assert read("stage2_prune_edf78", "crossval.csv").genotype.str.startswith("edf78").all()
    table_8 = read("stage2_prune", "ablation.csv").set_index("variant")
    whole = table_8.trained_on == table_8.trained_on["DARTS"]
    assert len(table_8) == 11 and sorted(table_8.index[whole]) == ["+ DOP", "DARTS", "random architecture"]
    left = table_8.trained_on[~whole]
    assert left.nunique() <= 2 and left.max() < table_8.trained_on["DARTS"], "what the searches with data pruning left"
    searched = json.loads((paths.results("demo") / "stage2_prune" / "ablation.json").read_text())["search"]
    sizes = searched["channels"], searched["epochs"], searched["batch"]
    assert sizes == (4, 2, 64), "stage 1's search but for ablation_search"


def test_cost_has_a_row_per_network_runtime_and_length():
    cost = read("stage2_prune", "cost.csv")
    rows = cost[["network", "samples", "runtime"]].itertuples(index=False, name=None)
    lengths = sorted(cost.samples.unique())
    assert list(rows) == [(n, s, r) for n in ("full", "pruned") for s in lengths for r in ("pytorch", "onnx", "int8")]
    by_network = cost.groupby("network")[["params", "macs"]].max()
    assert (by_network.loc["pruned"] < by_network.loc["full"]).all()


def test_figures():
    folder = paths.figures("demo")
    index = (folder / "index.md").read_text(encoding="utf-8")
    items = {path.stem for path in folder.iterdir() if path.name.startswith(("fig", "tab"))}
    assert {"fig01", "fig06", "fig15", "tab01", "tab08"} <= {item[:5] for item in items}
    assert all(item in index for item in items)
    merged = read("crossval.csv")
    assert len(merged) == sum(len(read(name, "crossval.csv")) for name in results.FOLDERS)


def assert_crossval_agrees_with_confusion(name):
    """The accuracy of a pooled row is the share on the diagonal of its confusion matrix, and n its sum."""
    crossval, confusion = read(name, "crossval.csv"), read(name, "confusion.csv")
    keys = [key for key in confusion.columns if key not in ("true", "predicted", "n")]
    pooled = crossval[crossval.fold == "pooled"].set_index(keys).sort_index()
    folds = crossval[crossval.fold != "pooled"].groupby(keys, dropna=False).n.sum()
    assert len(pooled) > 0
    for key, matrix in confusion.groupby(keys, dropna=False):
        row = pooled.loc[key]
        assert row.n == matrix.n.sum() == folds[key]
        assert row.acc == pytest.approx(matrix.n[matrix.true == matrix.predicted].sum() / row.n, abs=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # papermill, zmq and the kernels warn about each other
def test_the_profile_smoke_through_papermill(tmp_path, monkeypatch):
    """All five with parameters of their own, in kernels that papermill starts."""
    monkeypatch.setenv("SLEEPKIT_RUNS", str(tmp_path))
    for name in notebooks.NAMES:
        notebooks.run(name, profile="smoke")
    assert len(pd.read_csv(paths.results("smoke") / "stage2_prune" / "ablation.csv")) == 11
    assert (paths.figures("smoke") / "index.md").exists()
