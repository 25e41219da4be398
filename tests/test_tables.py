"""The tables: published numbers in their places, this run's numbers recomputed by hand, files in two forms."""

import itertools

import pandas as pd
import pytest

from sleepkit import paths, tables
from sleepkit.epochs import STAGES
from sleepkit.metrics import per_class, scores
from sleepkit.reference import published_confusion
from sleepkit.results import COLUMNS, NETWORK

KEYS = ("subjectwise", "edf20-searched", 4, 5)


def removed_samples():
    rounds = itertools.product(((2, 100), (4, 95)), ("train", "valid"), STAGES)
    rows = [(epoch, half, stage, 5, left) for (epoch, left), half, stage in rounds]
    return pd.DataFrame(rows, columns=COLUMNS["removed_samples.csv"])


def crossval():
    rows = []
    for pruned in (0.0, 0.5):
        for context, gain in (("none", 0), ("both", 0.05)):
            for seed in (0, 1):
                for fold, acc in (("0", 0.70), ("1", 0.74), ("pooled", 0.72)):
                    acc += gain + seed / 100 - pruned / 10
                    rows.append((*KEYS, pruned, context, seed, fold, acc, acc - 0.1, acc - 0.2, acc + 0.1, 400))
    return pd.DataFrame(rows, columns=COLUMNS["crossval.csv"])


def companions():
    """per_class.csv and parameters.csv of the same networks."""
    matrix = published_confusion("edf20_L9_full")
    classes = [
        per_class(matrix).assign(**dict(zip(NETWORK, (*KEYS, pruned, context, seed), strict=True)))
        for pruned in (0.0, 0.5)
        for context in ("none", "both")
        for seed in (0, 1)
    ]
    sizes = [("edf20-searched", 4, 5, pruned, 9000 if not pruned else 3000, 2.5e6, 500) for pruned in (0.0, 0.5)]
    return pd.concat(classes), pd.DataFrame(sizes, columns=COLUMNS["parameters.csv"])


def test_epochs_before_and_after_pruning():
    night = ("edf20", "SC4001E0", 0, 60, 7, 50, 20, 30, 167, 0, 0, 0)
    nights = pd.DataFrame([night, night], columns=COLUMNS["nights.csv"])
    table = tables.table_epochs(nights, {"edf20": removed_samples(), "edf78": None})
    totals = table.set_index(["data set", "epochs", "source"]).total
    assert totals["EDF-20", "prepared", "published"] == 42308 and totals["EDF-78", "prepared", "published"] == 195479
    assert totals["EDF-20", "left by BDP", "published"] == 34951
    assert totals["EDF-78", "left by BDP", "published"] == 167321
    assert totals["EDF-20", "prepared", "this run"] == 334
    assert totals["EDF-20", "searched on", "this run"] == 2 * 5 * 105
    assert totals["EDF-20", "left by BDP", "this run"] == 2 * 5 * 95
    assert not ((table["data set"] == "EDF-78") & (table.source == "this run")).any()
    assert (table[list(STAGES)].sum(axis=1) == table.total).all() and list(table.columns[3:8]) == list(STAGES)
    assert len(tables.table_epochs(None, {"edf20": removed_samples().head(0)})) == 4, "a search without a round"


def test_settings_show_the_papers_value_beside_each_search_and_lose_none():
    settings = {"EDF-20": {"channels": 4, "lr": 0.025, "subjects": [0, 1]}, "EDF-78": {"channels": 3}}
    table = tables.table_settings(settings)
    by = table.set_index("setting")
    assert by.loc["channels of the search network"].tolist() == ["16", "4", "3"]
    assert by.loc["subjects"].tolist() == ["", "0, 1", ""] and by.loc["momentum"].tolist() == [
        "0.9",
        "the same",
        "the same",
    ]
    assert len(tables.table_settings({})) == len(tables.SEARCH_SETTINGS)


@pytest.mark.parametrize(
    "dataset, pruned, cells, acc, total",
    [
        ("edf20", False, 9, 86.52, 94813),
        ("edf20", True, 7, 86.37, 83789),
        ("edf78", False, 11, 83.10, 117212),
    ],
)
def test_published_networks(dataset, pruned, cells, acc, total):
    table = tables.table_stage(dataset, pruned).set_index(["measure", "stage"])
    column = table[f"published, L = {cells}"]
    assert list(table.columns) == [f"published, L = {n}" for n in (7, 9, 11)]
    assert column["ACC, %", ""] == pytest.approx(acc, abs=0.00501) and column["parameters", ""] == total
    matrix = published_confusion(f"{dataset}_L{cells}_{'pruned' if pruned else 'full'}")
    assert column["kappa", ""] == pytest.approx(scores(matrix)["kappa"], abs=1e-6)
    assert column["recall, %", "N1"] == pytest.approx(100 * matrix[1, 1] / matrix[1].sum(), abs=1e-5)
    assert ("parameters not set to zero", "") in table.index if pruned else len(table) == 2 + 2 * 4 + 4 * 5 + 2


def test_this_runs_networks_stand_beside_the_published_ones():
    classes, sizes = companions()
    table = tables.table_stage("edf20", True, crossval(), classes, sizes).set_index(["measure", "stage"])
    column = table["this run, edf20-searched, L = 5, C = 4, 50 % pruned, subjectwise"]
    assert len(table.columns) == 4, "networks with context have a table of their own"
    assert len(tables.table_stage("edf78", True, crossval(), classes, sizes).columns) == 2 + 3, "another data set's"
    with pytest.raises(ValueError, match="parameters.csv has no row"):
        tables.table_stage("edf20", True, crossval(), classes, sizes.head(1))
    assert column["ACC, %", ""] == pytest.approx(100 * (0.67 + 0.68) / 2), "mean of the seeds' merged scores"
    assert column["parameters", ""] == 3000 and column["MACs, M", ""] == 2.5
    assert column["F1, %", "W"] == pytest.approx(100 * per_class(published_confusion("edf20_L9_full")).f1[0], abs=1e-5)
    assert column["epochs scored", ""] == 400 and column["protocol", ""] == "subjectwise"


def test_ablation_has_mean_and_sd_over_seeds_in_the_order_of_the_file():
    rows = [
        ("DARTS", 0, 0.80, 0.7, 0.6, 0.8, 90, 2e6, 50),
        ("DARTS", 1, 0.84, 0.7, 0.6, 0.8, 94, 2e6, 50),
        ("+ BDP", 0, 0.81, 0.7, 0.6, 0.8, 90, 2e6, 50),
    ]
    table = tables.table_ablation(pd.DataFrame(rows, columns=COLUMNS["ablation.csv"]))
    assert table.variant.tolist() == ["DARTS", "+ BDP"] and table.seeds.tolist() == [2, 1]
    assert table["ACC, %"].tolist() == pytest.approx([82, 81]) and table["ACC, % sd"][0] == pytest.approx(8**0.5)
    assert pd.isna(table["ACC, % sd"][1]), "one seed has no sd"
    assert table.parameters.tolist() == [92, 90] and table["MACs, M"].tolist() == [2, 2]
    lines = tables.markdown(table).splitlines()
    assert "82.00 ± 2.83" in lines[2] and "±" not in lines[3] and "sd" not in lines[0]


def test_protocols_and_contexts_have_rows_of_their_own():
    table = tables.table_protocols(crossval(), "edf20")
    assert table.source.tolist()[:6] == ["published"] * 6 and len(table) == 6 + 4
    found = table[table.source == "this run, edf20-searched"].set_index(["stage", "context"])
    assert found.loc[(1, "both"), "ACC, %"] == pytest.approx(77.5)
    assert found.loc[(2, "none"), "ACC, %"] == pytest.approx(67.5)
    assert found.seeds.tolist() == [2] * 4 and (table.protocol[:6] == "epochwise").all()
    assert len(tables.table_protocols(crossval(), "edf78")) == 6


def test_files_are_csv_and_markdown(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    table = tables.table_stage("edf20", False, crossval(), *companions())
    csv, text = tables.save(table, "demo", "tab03", note="Data: a test.")
    assert csv.name == "tab03_edf20_stage1.csv" and text.name == "tab03_edf20_stage1.md"
    back = pd.read_csv(csv, keep_default_na=False)
    assert back.shape == table.shape and float(back["published, L = 9"][2]) == pytest.approx(86.52, abs=0.005)
    lines = text.read_text().splitlines()
    assert lines[0] == "# EDF-20, stage 1" and lines[-1] == "Data: a test."
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == len(table) + 2 and {row.count("|") for row in rows} == {len(table.columns) + 1}
    kappa = next(row for row in rows if row.startswith("| kappa"))
    assert "| 0.813 |" in kappa


def test_a_bar_in_a_cell_does_not_break_the_table():
    rows = tables.markdown(tables.table_settings({})).splitlines()
    assert {row.replace("\\|", "").count("|") for row in rows} == {3}
