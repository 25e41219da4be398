"""The tables: published numbers in their places, this run's numbers recomputed by hand, files in two forms."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from sleepkit.epochs import STAGES
from sleepkit.execution import paths
from sleepkit.metrics import CELLS, per_class, scores
from sleepkit.paper import tables
from sleepkit.paper.published import baselines, published_confusion
from sleepkit.paper.tables.formats import HIGHER, LOWER
from sleepkit.paper.tables.runs import SEARCH_SETTINGS
from sleepkit.results import COLUMNS, with_parts

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
    return with_parts(pd.DataFrame(rows, columns=COLUMNS["crossval.csv"]))


def companions():
    """confusion.csv, confusion_by_night.csv and parameters.csv of the same networks."""
    matrix = published_confusion("edf20_L9_full")
    rows, nights = [], []
    for pruned, context, seed in itertools.product((0.0, 0.5), ("none", "both"), (0, 1)):
        network = (*KEYS, pruned, context, seed)
        rows += [(*network, STAGES[i], STAGES[j], n) for (i, j), n in np.ndenumerate(matrix + seed)]
        for night, share in (("SC4001E0", 0.2), ("SC4002E0", 0.2), ("SC4011E0", 0.6 + seed / 10)):
            nights.append((*network, night, *(matrix * share + 40 * share * np.eye(5)).round().astype(int).ravel()))
    sizes = [("edf20-searched", 4, 5, pruned, 9000 if not pruned else 3000, 2.5e6, 500) for pruned in (0.0, 0.5)]
    frames = (rows, "confusion.csv"), (nights, "confusion_by_night.csv"), (sizes, "parameters.csv")
    return [pd.DataFrame(frame, columns=COLUMNS[name]) for frame, name in frames]


def test_epochs_before_and_after_pruning():
    night = ("edf20", "SC4001E0", 0, 60, 7, 50, 20, 30, 167, 0, 0, 0)
    nights = pd.DataFrame([night] * 39, columns=COLUMNS["nights.csv"])
    table = tables.table_epochs(nights, {"edf20": removed_samples(), "edf78": None})
    totals = table.set_index(["data set", "epochs", "source"]).total
    assert totals["EDF-20", "prepared", "published"] == 42308 and totals["EDF-78", "prepared", "published"] == 195479
    assert totals["EDF-20", "left by BDP", "published"] == 34951
    assert totals["EDF-78", "left by BDP", "published"] == 167321
    assert totals["EDF-20", "prepared", "this run"] == 39 * 167
    assert totals["EDF-20", "searched on", "this run"] == 2 * 5 * 105
    assert totals["EDF-20", "left by BDP", "this run"] == 2 * 5 * 95
    assert totals["EDF-20", "prepared", "difference"] == 39 * 167 - 42308
    assert totals["EDF-20", "left by BDP", "difference"] == 2 * 5 * 95 - 34951
    assert not ((table["data set"] == "EDF-78") & (table.source != "published")).any()
    assert (table[list(STAGES)].sum(axis=1) == table.total).all() and list(table.columns[3:8]) == list(STAGES)
    assert len(tables.table_epochs(None, {"edf20": removed_samples().head(0)})) == 4, "a search without a round"


def test_fewer_nights_than_the_data_set_has_are_said_to_be_and_have_no_difference():
    night = ("edf78", "SC4001E0", 0, 60, 7, 50, 20, 30, 167, 0, 0, 0)
    nights = pd.DataFrame([night] * 39, columns=COLUMNS["nights.csv"])
    table = tables.table_epochs(nights, {"edf78": removed_samples()}).query("`data set` == 'EDF-78'")
    ours = table[table.source != "published"]
    assert ours.source.tolist() == ["this run, 39 of 153 nights"] * 3
    assert ours.total.tolist() == [39 * 167, 2 * 5 * 95, 2 * 5 * 105]


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
    assert len(tables.table_settings({})) == len(SEARCH_SETTINGS)


@pytest.mark.parametrize(
    "dataset, pruned, cells, acc, total",
    [
        ("edf20", False, 9, 86.52, 94813),
        ("edf20", True, 7, 86.37, 83789),
        ("edf78", False, 11, 83.10, 117212),
    ],
)
def test_published_networks(dataset, pruned, cells, acc, total):
    table = tables.table_stage(dataset, pruned)
    rows = table[table.network == f"published, L = {cells}"].set_index("stage")
    assert list(rows.index) == [*STAGES, "all"] and table.network[::6].tolist()[:3] == [
        f"published, L = {n}" for n in (7, 9, 11)
    ]
    assert rows["ACC, %"]["all"] == pytest.approx(acc, abs=0.00501) and rows.parameters["all"] == total
    matrix = published_confusion(f"{dataset}_L{cells}_{'pruned' if pruned else 'full'}")
    assert rows.kappa["all"] == pytest.approx(scores(matrix)["kappa"])
    assert rows["F1, %"]["all"] == pytest.approx(100 * scores(matrix)["mf1"])
    assert rows["G-mean, %"]["all"] == pytest.approx(100 * scores(matrix)["mgm"])
    assert rows["recall, %"]["N1"] == pytest.approx(100 * matrix[1, 1] / matrix[1].sum())
    assert rows.epochs.tolist() == [*matrix.sum(axis=1), matrix.sum()]
    y, said = (np.repeat(side, matrix.ravel()) == 1 for side in np.indices((5, 5)).reshape(2, -1))
    assert rows.kappa["N1"] == pytest.approx(cohen_kappa_score(y, said))
    assert ("parameters not set to zero" in table) == pruned


def test_human_scorers_stand_below_the_networks():
    humans = tables.table_stage("edf20", False).tail(8)
    assert humans.network.str.startswith("human scorers").all() and humans["epoch, s"].isna().all()
    assert humans.set_index("stage").kappa[["W", "N1", "N2", "N3", "REM"]].tolist() == [0.70, 0.24, 0.57, 0.57, 0.69]
    assert humans["ACC, %"].dropna().tolist() == [82.0, 80.6]


def test_this_runs_networks_stand_below_the_published_ones():
    matrices, nights, sizes = companions()
    table = tables.table_stage("edf20", True, crossval(), matrices, nights, sizes)
    name = "edf20-searched, L = 5, C = 4, 50 % pruned"
    assert table.network.drop_duplicates()[3:4].tolist() == [name], "networks with context have a table of their own"
    assert len(tables.table_stage("edf78", True, crossval(), matrices, nights, sizes)) == 18 + 8, "another data set's"
    with pytest.raises(ValueError, match="parameters.csv has no row"):
        tables.table_stage("edf20", True, crossval(), matrices, nights, sizes.head(1))
    rows, matrix = table[table.network == name].set_index("stage"), published_confusion("edf20_L9_full")
    of_seeds = [scores(matrix + seed) for seed in (0, 1)]
    assert rows["ACC, %"]["all"] == pytest.approx(100 * np.mean([one["acc"] for one in of_seeds])), "mean of the seeds"
    assert rows.kappa["all"] == pytest.approx(np.mean([one["kappa"] for one in of_seeds]))
    f1 = [100 * per_class(matrix + seed).f1[0] for seed in (0, 1)]
    assert rows["F1, %"]["W"] == pytest.approx(np.mean(f1))
    assert rows.parameters["all"] == 3000 and rows["MACs, M"]["all"] == 2.5
    assert set(rows.protocol) == {"subjectwise"} and set(rows["epoch, s"]) == {"5"} and set(rows.seeds) == {2}
    cells = nights.query("pruned == 0.5 and context == 'none'").assign(subject=lambda rows: rows.night.str[3:5])
    cells = cells.groupby(["seed", "subject"])[CELLS].sum()
    assert len(cells) == 4, "two nights are one subject's"
    by = pd.Series([100 * per_class(row.reshape(5, 5)).f1[2] for row in cells.to_numpy()], cells.index)
    assert rows["F1, % sd"]["N2"] == pytest.approx(by.groupby("seed").std().mean())
    acc = pd.Series([100 * row.reshape(5, 5).trace() / row.sum() for row in cells.to_numpy()], cells.index)
    assert rows["ACC, % sd"]["all"] == pytest.approx(acc.groupby("seed").std().mean())


def test_a_subject_without_a_stage_does_not_count_in_its_spread():
    matrices, nights, sizes = companions()
    gone = nights.assign(night="SC4031E0", **{cell: 0 for cell in CELLS if cell.startswith("N3_")})
    table = tables.table_stage("edf20", True, crossval(), matrices, pd.concat([nights, gone]), sizes)
    rows = table[table.network.str.startswith("edf20")].set_index("stage")
    same = tables.table_stage("edf20", True, crossval(), matrices, nights, sizes)
    same = same[same.network.str.startswith("edf20")].set_index("stage")
    assert rows["F1, % sd"]["N3"] == same["F1, % sd"]["N3"] and rows["F1, % sd"]["N2"] != same["F1, % sd"]["N2"]


def test_of_a_data_set_of_ones_own_nothing_is_published():
    found = [
        with_parts(frame.assign(genotype=frame.genotype.str.replace("edf20", "lab")))
        for frame in (crossval(), *companions())
    ]
    table = tables.table_stage("lab", True, *found)
    assert {name for name in table.network if "human" not in name} == {"lab-searched, L = 5, C = 4, 50 % pruned"}


def test_what_stage_2_trained_again_whole_stands_with_stage_2():
    again = {"genotype": "edf20-searched-distilled"}
    runs = [pd.concat([frame, frame[frame.pruned == 0].assign(**again)]) for frame in (crossval(), *companions())]
    runs[0] = with_parts(runs[0])
    name = "edf20-searched-distilled, L = 5, C = 4"
    first, second = (tables.table_stage("edf20", pruned, *runs).query("stage == 'all'") for pruned in (0, 1))
    assert name not in set(first.network) and second.set_index("network").parameters[name] == 9000
    table = tables.table_protocols(runs[0], runs[-1], "edf20").set_index("source")
    assert table.loc["this run, edf20-searched-distilled, not pruned"].stage.tolist() == [2, 2]
    methods = tables.table_state_of_the_art(runs[0], runs[-1]).method.tolist()
    assert "this run, edf20-searched-distilled, not pruned, stage 2, L = 5, C = 4" in methods


def test_ablation_has_mean_and_sd_over_seeds_in_the_order_of_the_file():
    rows = [
        ("DARTS", 0, 0.80, 0.7, 0.6, 0.8, 90, 2e6, 400, 50),
        ("DARTS", 1, 0.84, 0.7, 0.6, 0.8, 94, 2e6, 400, 50),
        ("+ BDP", 0, 0.81, 0.7, 0.6, 0.8, 90, 2e6, 380, 50),
    ]
    table = tables.table_ablation(pd.DataFrame(rows, columns=COLUMNS["ablation.csv"]))
    assert table.variant.tolist() == ["DARTS", "+ BDP"] and table.seeds.tolist() == [2, 1]
    assert table["ACC, %"].tolist() == pytest.approx([82, 81]) and table["ACC, % sd"][0] == pytest.approx(8**0.5)
    assert pd.isna(table["ACC, % sd"][1]), "one seed has no sd"
    assert table.parameters.tolist() == [92, 90] and table["MACs, M"].tolist() == [2, 2]
    assert table["epochs trained on"].tolist() == [400, 380]
    lines = tables.markdown(table).splitlines()
    assert "82.00 ± 2.83" in lines[2] and "±" not in lines[3] and "sd" not in lines[0]


def test_the_ablation_says_how_its_networks_were_made():
    facts = {"fold": 3, "finetune_epochs": 2, "train": {"epochs": 4}}
    facts["search"] = {"channels": 2, "cells": 5, "nodes": 6, "epochs": 7, "prune_every": 3, "prune_until": 7}
    note = tables.ablation_note(facts)
    assert "cannot change" not in note
    late = {"search": facts["search"] | {"epochs": 3, "prune_until": 3}}
    assert tables.ablation_note(facts | late).endswith("data pruning cannot change what they find.")
    assert "Fold 3," in note and "C = 2, L = 5, N = 6, 7 epochs; then 4 epochs of training, on" in note
    assert "left of the fold, and 2 more" in note


def test_protocols_and_contexts_have_rows_of_their_own():
    table = tables.table_protocols(crossval(), companions()[-1], "edf20")
    assert table.source.tolist()[:6] == ["published"] * 6 and len(table) == 6 + 4
    found = table[table.source == "this run, edf20-searched"].set_index(["stage", "context"])
    assert found.loc[(1, "both"), "ACC, %"] == pytest.approx(77.5)
    assert found.loc[(2, "none"), "ACC, %"] == pytest.approx(67.5)
    assert found.seeds.tolist() == [2] * 4 and (table.protocol[:6] == "epochwise").all()
    assert "difference of ACC, points" not in table, "the paper has no network of depth 5"
    assert table["epoch, s"].tolist() == ["30"] * 6 + ["5"] * 4
    for runs in ((crossval(), companions()[-1]), (None, None)):
        without = tables.table_protocols(*runs, "edf78")
        assert len(without) == 6 and without.C.tolist() == [9] * 6


def test_the_gap_between_the_protocols_is_said_in_words():
    subjectwise = crossval()
    assert tables.protocol_gap(subjectwise, "edf20") == "", "one protocol has no gap"
    better = subjectwise.assign(protocol="epochwise", acc=subjectwise.acc + 0.08, mf1=subjectwise.mf1 + 0.05)
    nested = with_parts(subjectwise[subjectwise.pruned == 0].assign(genotype="edf20-nested", acc=0.66))
    rows = pd.concat([subjectwise, better[better.context == "none"], nested])
    said = tables.protocol_gap(rows, "edf20")
    assert said.startswith("Epochwise, epochs of the same people train a network")
    for sentence in (
        "edf20-searched, L = 5, C = 4: 80.5 % accuracy epochwise, 72.5 % subjectwise, a gap of 8.0 points "
        "(5.0 in macro-F1), seed 0, 1.",
        "edf20-searched, L = 5, C = 4, 50 % pruned: 75.5 % accuracy epochwise, 67.5 % subjectwise, a gap of 8.0 points",
        "edf20-nested, L = 5, C = 4: 66.0 % subjectwise, where every fold searches, by a smaller search, and "
        "prunes data",
    ):
        assert said.count(sentence) == 1
    # on the epochs that both score: of 4 kept ones, the network is right in 3
    y, said = np.array([0, 1, 2, 3, 4, 0]), [0, 1, 2, 3, 0, 1]
    network = {"protocol": "subjectwise", "genotype": "edf20-searched", "channels": 4, "cells": 5, "pruned": 0.0}
    network |= {"seed": 0}
    predictions = {"network": np.array(json.dumps(network)), "id": np.arange(6), "y": y, "prob": np.eye(5)[said]}
    kept = {"train": np.array([1, 2]), "valid": np.array([3, 5])}
    same = tables.protocol_gap(rows, "edf20", predictions, kept)
    assert (
        "(5.0 in macro-F1), seed 0, 1; subjectwise on the same epochs, seed 0, 75.0 %, a gap of 5.0 points (" in same
    ), "epochwise, too, of that seed alone: 80.0 %, where the mean of both seeds is 80.5 %"
    assert same.count("on the same epochs") == 1
    rows = rows[(rows.seed == 1) | (rows.protocol == "subjectwise")]
    assert "same epochs" not in tables.protocol_gap(rows, "edf20", predictions, kept), "no epochwise run of that seed"
    rows = pd.concat([subjectwise, better[better.context == "none"], nested])
    other = predictions | {"network": np.array(json.dumps(network | {"protocol": "epochwise"}))}
    for changed in (other, {name: values[:5] if name != "network" else values for name, values in predictions.items()}):
        assert "same epochs" not in tables.protocol_gap(rows, "edf20", changed, kept)
    more = subjectwise[subjectwise.seed == 0].assign(seed=2, acc=0.1)
    assert tables.protocol_gap(pd.concat([rows, more]), "edf20") == tables.protocol_gap(rows, "edf20"), "common seeds"
    assert tables.protocol_gap(nested, "edf20").startswith("edf20-nested"), "there is no gap to explain"
    assert tables.protocol_gap(rows, "edf78") == tables.protocol_gap(None, "edf20") == ""


@pytest.mark.parametrize(
    ("protocol", "samples", "same"),
    [("epochwise", 3000, True), ("epochwise", 500, False), ("subjectwise", 3000, False)],
)
def test_differences_are_of_the_same_depth_stage_protocol_and_length(protocol, samples, same):
    runs = crossval().assign(cells=9, protocol=protocol), companions()[-1].assign(cells=9, samples=samples)
    table = tables.table_protocols(*runs, "edf20")
    assert ("difference of MF1, points" in table) == same
    if same:
        difference = table.set_index(["source", "stage", "context"])["difference of MF1, points"]
        theirs = 100 * scores(published_confusion("edf20_L9_pruned"))["mf1"]
        assert difference["this run, edf20-searched", 2, "both"] == pytest.approx(62.5 - theirs)
        assert difference["published"].isna().all()


def test_state_of_the_art_names_every_protocol_and_keeps_every_baseline():
    table = tables.table_state_of_the_art()
    assert len(table) == len(baselines()) + 12 and table.protocol.notna().all()
    row = table[(table.method == "AttnSleep (2021)") & (table["data set"] == "EDF-20")].iloc[0]
    assert (row["ACC, %"], row["MACs, M"], row.parameters) == (84.4, 63.43, 522805)
    paper = table[table.method == "this paper, stage 1, L = 9"].iloc[0]
    assert paper["ACC, %"] == pytest.approx(86.52, abs=0.005) and paper.protocol.startswith("epochwise")
    for dataset in ("EDF-20", "EDF-78"):
        others = table[(table["data set"] == dataset) & (~table.method.str.startswith("this paper"))]
        assert others["ACC, %"].dropna().is_monotonic_decreasing
    sizes = companions()[-1]
    assert row["epoch, s"] == "30" and table[table.method.str.contains("at 5 s")]["epoch, s"].tolist() == ["5", "5"]
    mine = tables.table_state_of_the_art(crossval(), sizes)
    mine = mine[mine.source == "this run"].set_index("method")
    assert len(mine) == 4 and set(mine.protocol) == {"2-fold subjectwise"}
    assert mine.loc["this run, edf20-searched, stage 2, L = 5, C = 4, context of the night"].parameters == 3000


def cost():
    rows = [
        (network, runtime, 3000, params, macs, size, median, 1.5 * median, 200.0, 1.0, 1000 / median)
        for network, params, macs in (("full", 83789, 81.34e6), ("pruned", 24153, 20e6))
        for runtime, size, median in (
            ("pytorch", 4 * params, 9.0),
            ("onnx", 4 * params + 999, 5.0),
            ("int8", params, 4.0),
        )
    ]
    return pd.DataFrame(rows, columns=COLUMNS["cost.csv"])


def test_cost_has_units_in_its_heads():
    table = tables.table_cost(cost())
    assert len(table) == 6 and table["MACs, M"].tolist() == [81.34] * 3 + [20] * 3
    assert table["file, kB"].tolist() == pytest.approx([335.156, 336.155, 83.789, 96.612, 97.611, 24.153])
    assert table["median, ms per epoch"].tolist() == [9, 5, 4] * 2 and "samples of an epoch" in table
    assert all(unit in " ".join(table.columns) for unit in (", ms", ", kB", ", MB", ", s"))


def test_departures_say_three_things_of_every_topic():
    table = tables.table_departures()
    assert list(table.columns) == ["topic", "paper", "released code", "companion"]
    assert len(table) >= 15 and (table.map(len) > 0).all(axis=None) and table.topic.is_unique
    assert (table["released code"] != table.companion).mean() > 0.8, "a departure is a difference"


# --- files


def test_the_best_value_of_a_column_is_bold():
    lines = tables.markdown(tables.table_cost(cost())).splitlines()[2:]
    bold = [[cell.strip() for cell in line.split("|")[1:-1] if "**" in cell] for line in lines]
    assert bold[0] == [] and bold[3] == ["**24,153**", "**20.00**"]
    assert bold[2] == ["**4.00**", "**6.00**", "**250.00**"] and bold[5][2] == "**24.15**"
    lines = tables.markdown(tables.table_stage("edf20", False)).splitlines()
    everything = [line for line in lines if "| all |" in line]
    assert sum("**86.52**" in line for line in everything) == 1
    assert not any("**" in line for line in lines if "human scorers" in line), "theirs are other nights"
    by_set = tables.markdown(tables.table_state_of_the_art()).splitlines()
    for best, protocol in (
        ("87.50", "20-fold subject-wise"),
        ("84.90", "10-fold subject-wise"),
        ("86.90", "not stated"),
    ):
        (line,) = [line for line in by_set if f"**{best}**" in line]
        assert f"| {protocol} |" in line, "the best of its protocol"
    assert not set(HIGHER) & set(LOWER)


def test_differences_carry_their_sign():
    table = pd.DataFrame(
        {"a": ["x"], "difference of ACC, points": [1.5], "difference of kappa": [-0.25], "ACC, %": [3.0]}
    )
    assert tables.markdown(table).splitlines()[2] == "| x | +1.50 | −0.250 | 3.00 |"


def test_files_are_csv_markdown_and_latex(tmp_path):
    table = tables.table_stage("edf20", False, crossval(), *companions())
    csv, text, tex = tables.save(table, tmp_path / "tab03_edf20_stage1", "EDF-20, stage 1", note="Data: a test.")
    assert [path.name for path in (csv, text, tex)] == [
        f"tab03_edf20_stage1.{ending}" for ending in ("csv", "md", "tex")
    ]
    back = pd.read_csv(csv)
    accuracy = back.set_index(["network", "stage"])["ACC, %"]["published, L = 9", "all"]
    assert back.shape == table.shape and accuracy == pytest.approx(86.52, abs=0.005)
    lines = text.read_text().splitlines()
    assert lines[0] == "# EDF-20, stage 1" and lines[-1].endswith("Data: a test.")
    assert lines[-1].startswith("Bold: the best of its column among rows of the same protocol, epoch, s, stage.")
    rows = [line for line in lines if line.startswith("|")]
    shown = [column for column in table.columns if not column.endswith(" sd")]
    assert len(rows) == len(table) + 2 and {row.count("|") for row in rows} == {len(shown) + 1}
    assert any("**0.813**" in row and "| all |" in row for row in rows) and any(" ± " in row for row in rows)
    assert r"\caption{EDF-20, stage 1}" in tex.read_text() and r"\label{tab03}" in tex.read_text()


@pytest.mark.parametrize(
    "make",
    [
        lambda: tables.table_epochs(None, {}),
        lambda: tables.table_settings({"EDF-20": {"seed": 1, "odd_&_name_50%": "a_b~{c}^\\#"}}),
        lambda: tables.table_stage("edf78", True),
        lambda: tables.table_ablation(
            pd.DataFrame(
                [("+ BDP", seed, 0.8 + seed / 50, 0.7, 0.6, 0.8, 90, 2e6, 400, 50) for seed in (0, 1)],
                columns=COLUMNS["ablation.csv"],
            )
        ),
        lambda: tables.table_state_of_the_art(),
        lambda: tables.table_cost(cost()),
        lambda: tables.table_departures(),
    ],
    ids=["epochs", "settings", "stage", "ablation", "art", "cost", "departures"],
)
def test_latex_is_a_booktabs_table_with_every_cell(make):
    table = make()
    text = tables.latex(table, "tab00", "50 % & more", "A note: α_1.")
    lines = text.splitlines()
    order = [next(i for i, line in enumerate(lines) if rule in line) for rule in ("toprule", "midrule", "bottomrule")]
    body = lines[order[1] + 1 : order[2]]
    heads = [column for column in table.columns if not column.endswith(" sd")]
    assert len(body) == len(table) and lines[order[0] + 1].endswith(r" \\")
    for line in (lines[order[0] + 1], *body):
        assert len(re.findall(r"(?<!\\)&", line)) == len(heads) - 1 and line.endswith(r" \\")
    begin = next(line for line in lines if line.startswith(r"\begin{tabular}"))
    spec = re.sub(r"p\{[^}]*\}", "p", re.search(r"tabular\}\{(.*)\}$", begin)[1])
    assert len(spec) == len(heads) and set(spec) <= set("lrp")
    bare = re.sub(r"\\[&%$#_{}\\]", "", text)
    depth = list(itertools.accumulate((c == "{") - (c == "}") for c in bare))
    assert min(depth) >= 0 and depth[-1] == 0, "braces balance"
    assert bare.count("$") % 2 == 0
    outside = "\n".join(line for line in bare.splitlines()[1:])
    assert "%" not in outside.replace("{!}{%", "") and "#" not in outside and "_" not in outside
    assert r"\caption{50 \% \& more}" in text and r"$\alpha$\_1" in text
    assert all(ord(character) < 128 for character in text), "nothing that plain LaTeX cannot set"
    if (table.columns == "ACC, % sd").any():
        assert r"81.00 $\pm$ 1.41" in text


def test_a_bar_in_a_cell_does_not_break_the_table():
    rows = tables.markdown(tables.table_settings({})).splitlines()
    assert {row.replace("\\|", "").count("|") for row in rows} == {3}


def test_table_12_says_what_fits_which_device():
    costs = {"network": ["full", "pruned"], "type": ["float32", "int8"], "samples": [3000, 500], "params": [9, 4]}
    costs |= {"macs": [8e7, 2e7], "flash_bytes": [400 * 1024, 50 * 1024], "ram_bytes": [1000 * 1024, 63 * 1024]}
    costs = pd.DataFrame(costs | {"instructions": [640e6, 128e6]})
    table = tables.table_wearable(costs).set_index("network")
    assert table["RAM, kB"].head(2).tolist() == [1000, 63] and table["flash, kB"].head(2).tolist() == [400, 50]
    assert table["s at 64 MHz"].head(2).tolist() == [15, 3] and table["s at 480 MHz"].tolist()[0] == 2
    assert table["% of real time at 64 MHz"].head(2).tolist() == [50, 10]
    assert [words.split(":")[0] for words in table["smallest device"]] == ["STM32H743", "nRF52832", "not compiled"]
    assert table.loc["AttnSleep", ["parameters", "MACs, M"]].tolist() == [522805, 63.43]
    assert "hold: pruned int8, 5 s. They do not hold: full float32, 30 s." in tables.wearable_remarks(costs)[1]
    slow = tables.table_wearable(costs.assign(instructions=1.1 * 30 * 480e6 / 1.5))
    assert slow["smallest device"].tolist()[:2] == ["none of these"] * 2
    assert slow["% of real time at 480 MHz"][0] == pytest.approx(110)


def test_table_12_is_of_the_networks_and_the_plans_of_today():
    from sleepkit.evaluation.protocols import Normalisation
    from sleepkit.network.saved import load_network
    from sleepkit.scoring.c_plan import plan_network
    from sleepkit.scoring.onnx_graph import network_graph

    costs = pd.read_csv(paths.WEIGHTS / "wearable.csv")
    assert set(costs.network) == {"full", "pruned", "distilled"} and len(costs) == 12
    net, about = load_network(paths.WEIGHTS / "edf20_first5s_L7_pruned")
    plan = plan_network(network_graph(net, 500, Normalisation(0.0, 20.0), block=1), 500)
    rows = costs[(costs.network == "pruned") & (costs.samples == 500)].set_index("type")
    assert (rows.params == about["parameters"]).all()
    for kind, size in (("float32", 4), ("int8", 1)):
        assert rows.loc[kind, ["arena_bytes", "bound_bytes"]].tolist() == [size * plan.arena, size * plan.bound]
        limit = 256 if kind == "float32" else 128
        assert rows.loc[kind, ["flash_bytes", "ram_bytes"]].max() <= limit * 1024
    assert (costs.arena_bytes <= 1.2 * costs.bound_bytes).all()
