"""The tables: published numbers in their places, this run's numbers recomputed by hand, files in two forms."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest

from sleepkit.epochs import STAGES
from sleepkit.metrics import per_class, scores
from sleepkit.paper import tables
from sleepkit.paper.published import baselines, published_confusion
from sleepkit.paper.tables.formats import HIGHER, LOWER
from sleepkit.paper.tables.runs import SEARCH_SETTINGS
from sleepkit.results import COLUMNS, NETWORK, with_parts

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
    table = tables.table_stage(dataset, pruned).set_index(["measure", "stage"])
    column = table[f"published, L = {cells}"]
    assert list(table.columns) == [f"published, L = {n}" for n in (7, 9, 11)]
    assert column["ACC, %", ""] == pytest.approx(acc, abs=0.00501) and column["parameters", ""] == total
    matrix = published_confusion(f"{dataset}_L{cells}_{'pruned' if pruned else 'full'}")
    assert column["kappa", ""] == pytest.approx(scores(matrix)["kappa"], abs=1e-6)
    assert column["recall, %", "N1"] == pytest.approx(100 * matrix[1, 1] / matrix[1].sum(), abs=1e-5)
    assert ("parameters not set to zero", "") in table.index if pruned else len(table) == 3 + 3 * 4 + 4 * 5 + 2


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
    assert column["seeds", ""] == 2 and table["published, L = 7"]["seeds", ""] == 1
    rows = crossval().query("pruned == 0.5 and context == 'none' and fold != 'pooled'")
    acc = 100 * np.array([part.acc.to_list() for _, part in rows.groupby("seed")])
    assert acc.shape == (2, 2) and np.ptp(acc.mean(axis=1)) > 0
    assert column["mean over folds of ACC, %", ""] == pytest.approx(acc.mean())
    assert column["sd over folds of ACC, %", ""] == pytest.approx(acc.std(axis=1, ddof=1).mean())


def test_of_a_data_set_of_ones_own_nothing_is_published():
    rows, (classes, sizes) = crossval(), companions()
    rows, classes, sizes = (
        with_parts(frame.assign(genotype=frame.genotype.str.replace("edf20", "lab")))
        for frame in (rows, classes, sizes)
    )
    table = tables.table_stage("lab", True, rows, classes, sizes)
    assert list(table.columns[2:]) == ["this run, lab-searched, L = 5, C = 4, 50 % pruned, subjectwise"]


def test_what_stage_2_trained_again_whole_stands_with_stage_2():
    again = {"genotype": "edf20-searched-distilled"}
    runs = [pd.concat([frame, frame[frame.pruned == 0].assign(**again)]) for frame in (crossval(), *companions())]
    runs[0] = with_parts(runs[0])
    name = "this run, edf20-searched-distilled, L = 5, C = 4, subjectwise"
    first, second = (tables.table_stage("edf20", pruned, *runs).set_index(["measure", "stage"]) for pruned in (0, 1))
    assert name not in first and second[name]["parameters", ""] == 9000
    table = tables.table_protocols(runs[0], "edf20").set_index("source")
    assert table.loc["this run, edf20-searched-distilled, not pruned"].stage.tolist() == [2, 2]
    methods = tables.table_state_of_the_art(runs[0], runs[2]).method.tolist()
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
    table = tables.table_protocols(crossval(), "edf20")
    assert table.source.tolist()[:6] == ["published"] * 6 and len(table) == 6 + 4
    found = table[table.source == "this run, edf20-searched"].set_index(["stage", "context"])
    assert found.loc[(1, "both"), "ACC, %"] == pytest.approx(77.5)
    assert found.loc[(2, "none"), "ACC, %"] == pytest.approx(67.5)
    assert found.seeds.tolist() == [2] * 4 and (table.protocol[:6] == "epochwise").all()
    assert "difference of ACC, points" not in table, "the paper has no network of depth 5"
    for without in (tables.table_protocols(crossval(), "edf78"), tables.table_protocols(None, "edf78")):
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


def test_differences_are_this_run_minus_the_published_network_of_the_same_depth_and_stage():
    runs = [frame.assign(cells=9) for frame in (crossval(), *companions())]
    for pruned, theirs, size in ((False, "edf20_L9_full", 9000), (True, "edf20_L9_pruned", 3000)):
        matrix = published_confusion(theirs)
        table = tables.table_stage("edf20", pruned, *runs).set_index(["measure", "stage"])
        name = next(column for column in table.columns if column.startswith("difference, edf20-searched, L = 9"))
        ours = 72.5 if not pruned else 67.5
        assert table[name]["ACC, %", ""] == pytest.approx(ours - 100 * scores(matrix)["acc"], abs=1e-5)
        assert table[name]["parameters", ""] == size - 94813
        assert table[name]["F1, %", "N2"] == pytest.approx(
            100 * (per_class(published_confusion("edf20_L9_full")).f1[2] - per_class(matrix).f1[2]), abs=1e-5
        )
        assert pd.isna(table[name]["protocol", ""]) and pd.isna(table[name]["MACs, M", ""])
    rows = tables.table_protocols(runs[0], "edf20").set_index(["source", "stage", "context"])
    difference = rows.loc[("this run, edf20-searched", 2, "both"), "difference of MF1, points"]
    assert difference == pytest.approx(62.5 - 100 * scores(published_confusion("edf20_L9_pruned"))["mf1"])


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
    _, sizes = companions()
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
    accuracy = next(line for line in lines if line.startswith("| ACC"))
    assert accuracy.count("**86.52**") == 1 and accuracy.count("**") == 2, "networks are columns: the best of the row"
    assert not any("**" in line for line in lines if line.startswith("| sd over"))
    by_set = tables.markdown(tables.table_state_of_the_art()).splitlines()
    assert sum("**87.50**" in line for line in by_set) == 1 and sum("**84.90**" in line for line in by_set) == 1
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
    back = pd.read_csv(csv, keep_default_na=False)
    accuracy = back.set_index("measure").loc["ACC, %", "published, L = 9"]
    assert back.shape == table.shape and float(accuracy) == pytest.approx(86.52, abs=0.005)
    lines = text.read_text().splitlines()
    assert lines[0] == "# EDF-20, stage 1" and lines[-1].startswith("Bold:") and lines[-1].endswith("Data: a test.")
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == len(table) + 2 and {row.count("|") for row in rows} == {len(table.columns) + 1}
    kappa = next(row for row in rows if row.startswith("| kappa"))
    assert "**0.813**" in kappa
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
