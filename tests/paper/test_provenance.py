"""The line at the foot of a table or figure: nothing in it that did not make the item."""

import json

import pandas as pd
import pytest

from sleepkit import results
from sleepkit.execution import paths, record
from sleepkit.paper import provenance as lines
from sleepkit.paper.display import write_index
from sleepkit.paper.items import ITEMS, item
from sleepkit.paper.provenance import searched_on_all
from sleepkit.results import COLUMNS

SETTINGS = {"dataset": "edf20", "n_subjects": 4, "n_epochs": 1234, "seconds": 5.0, "seed": 42}
HEAD = "This run: profile toy, Sleep-EDF nights, 4 subjects, 1,234 epochs of 5 s"
LABEL = "Architecture has seen the test subjects: "


def provenance(profile, key):
    return lines.provenance(profile, item(key))


def published_alone(profile, key):
    return lines.published_alone(profile, item(key))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Results of a profile whose first network, of seed 3, was trained with a second seed and in other ways."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    folder = paths.results("toy")
    (folder / "stage1_edf20").mkdir(parents=True)
    (folder / "preparation.json").write_text('{"simulated": false}')
    (folder / "stage1_edf20" / "settings.json").write_text(json.dumps(SETTINGS))
    rows = [
        (protocol, genotype, 8, 7, 0.0, "none", seed, "pooled", 0.7, 0.6, 0.5, 0.7, 900)
        for protocol, genotype, seed in (
            ("subjectwise", "edf20-published", 3),
            ("subjectwise", "edf20-published", 4),
            ("subjectwise", "edf20-nested", 3),
            ("epochwise", "edf20-searched", 3),
        )
    ]
    results.write_table(pd.DataFrame(rows, columns=COLUMNS["crossval.csv"]), folder / "stage1_edf20" / "crossval.csv")
    return folder / "stage2_prune"


def test_the_search_alone_names_no_folds(toy):
    for key in ("fig02", "fig06", "fig08", "tab01"):
        assert provenance("toy", key) == f"{HEAD}; search seed 42."


@pytest.mark.parametrize("trained", ["neither", "the other"])
def test_a_search_whose_networks_are_still_in_training_shows_none(toy, trained):
    """As where the notebooks of both data sets run side by side, or one was interrupted."""
    searched, other = toy.with_name("stage1_edf20"), toy.with_name("stage1_edf78")
    other.mkdir()
    (other / "settings.json").write_text(json.dumps(SETTINGS | {"dataset": "edf78", "n_subjects": 5}))
    rows = pd.read_csv(searched / "crossval.csv").replace({"genotype": {"edf20": "edf78"}}, regex=True)
    (searched / "crossval.csv").unlink()
    if trained == "the other":
        results.write_table(rows, other / "crossval.csv")
    for entry in ITEMS:
        foot = lines.provenance("toy", entry)
        if entry.networks != "none" and "edf20" in entry.datasets:
            assert "4 subjects" not in foot, entry.key
    assert "4 subjects" in provenance("toy", "fig06"), "which shows the search"
    assert ("5 subjects" in provenance("toy", "fig11")) == (trained == "the other")


def test_all_networks_are_named_with_their_protocols_seeds_and_label(toy):
    for key in ("fig14", "tab03", "tab10"):  # all of them are of stage 1
        assert provenance("toy", key) == (
            f"{HEAD}; search seed 42; epochwise and subjectwise folds, training seed 3, 4 (not all for every network). "
            f"{LABEL}edf20-published."
        )


def test_what_shows_the_first_network_with_all_its_seeds_names_these(toy):
    for key in ("fig09", "fig11"):
        assert provenance("toy", key) == f"{HEAD}; subjectwise folds, training seed 3, 4. {LABEL}edf20-published."
    assert lines.provenance("toy", item("fig09").rest).startswith(f"{HEAD}; search seed 42; epochwise and subjectwise")


def test_the_first_family_is_of_one_network_without_context_and_variants():
    rows = [
        ("epochwise", "a", ""),
        ("subjectwise", "b", "distilled"),
        ("subjectwise", "c", ""),
        ("subjectwise", "a", ""),
    ]
    frame = pd.DataFrame(rows, columns=["protocol", "genotype", "variant"]).assign(context="none", channels=8)
    rest = [frame.assign(context="both", genotype="d"), frame, frame.assign(channels=4), frame.assign(pruned=0.5)]
    family = lines.first_family(pd.concat(rest))
    assert family[["protocol", "genotype", "channels"]].to_numpy().tolist() == [["subjectwise", "c", 8]] * 2
    assert lines.first_family(frame.head(1)).protocol.tolist() == ["epochwise"], "where no one kept people apart"
    assert lines.first_family(frame.head(0)).empty


def test_what_shows_the_first_network_names_its_seed_alone(toy):
    foot = f"; subjectwise folds, training seed 3. {LABEL}edf20-published."
    for key in ("fig13", "fig15", "fig16"):
        assert provenance("toy", key) == HEAD + foot, "a published cell has no search seed"
    network = "This run: profile toy, Sleep-EDF nights, the network of fold pooled, trained on epochs of 5 s"
    assert provenance("toy", "fig12") == provenance("toy", "tab09") == network + foot
    toy.mkdir()
    cost = pd.DataFrame(0, index=range(2), columns=COLUMNS["cost.csv"])
    for frame, name in ((cost, "a processor that was not recorded"), (cost.assign(processor="Acme 3000"), "Acme 3000")):
        results.write_table(frame, toy / "cost.csv")
        assert provenance("toy", "fig17") == provenance("toy", "tab09") == f"{network}; one thread of {name}{foot}"


def test_what_has_seeds_of_its_own_names_those(toy):
    toy.mkdir()
    for name, key in (("sweep.csv", "fig13"), ("ablation.csv", "tab08")):
        frame = pd.DataFrame(0, index=range(4), columns=COLUMNS[name]).assign(seed=[7, 5, 5, 7], n=1234)
        results.write_table(frame, toy / name)
        assert "; subjectwise" in provenance("toy", key) and "training seed 5, 7." in provenance("toy", key)
    assert provenance("toy", "tab08") == f"{HEAD}; subjectwise, search and training seed 5, 7."


def test_what_was_tested_on_one_fold_names_its_subjects(toy):
    toy.mkdir()
    stage1 = toy.with_name("stage1_edf20")
    rows = pd.read_csv(stage1 / "crossval.csv")
    results.write_table(pd.concat([rows, rows.assign(fold="3", n=55)]), stage1 / "crossval.csv")
    (stage1 / "folds.json").write_text(json.dumps({"3": {"test": [5, 14]}}))
    for n, said in ((55, "fold 3 alone, test subjects: 2, 55 epochs of 5 s;"), (56, "nights, 56 epochs of 5 s;")):
        frame = pd.DataFrame(0, index=range(2), columns=COLUMNS["sweep.csv"]).assign(n=n)
        results.write_table(frame, toy / "sweep.csv")
        assert said in provenance("toy", "fig13") and "20 subjects" not in provenance("toy", "fig13")


def test_what_shows_both_data_sets_names_both(toy):
    other = toy.with_name("stage1_edf78")
    other.mkdir()
    (other / "settings.json").write_text(json.dumps(SETTINGS | {"dataset": "edf78", "n_epochs": 99, "seed": 43}))
    rows = pd.read_csv(toy.with_name("stage1_edf20") / "crossval.csv").assign(genotype="edf78-searched")
    results.write_table(rows.drop_duplicates(["protocol", "genotype", "seed"]), other / "crossval.csv")
    for key in ("fig14", "tab07"):
        line = provenance("toy", key)
        assert "EDF-20: 4 subjects, 1,234 epochs of 5 s; search seed 42; EDF-78: 4 subjects, 99 epochs of 5 s;" in line
        assert "search seed 43; epochwise and" in line and line.endswith(f"{LABEL}edf20-published, edf78-searched.")
    assert provenance("toy", "tab02").endswith("99 epochs of 5 s; search seed 43.") and "EDF-20: 4" in provenance(
        "toy", "tab01"
    )
    assert "EDF-78" not in provenance("toy", "fig09") and "99 epochs" in provenance("toy", "fig10")


def test_published_numbers_alone_are_called_so(toy):
    for key in ("tab05", "fig10"):  # the profile has no EDF-78
        assert published_alone("toy", key)
        assert provenance("toy", key) == "Published numbers; profile toy has no run of its own."
    assert not published_alone("toy", "fig09") and not published_alone("toy", "tab03")
    assert published_alone("toy", "tab04"), "stage 2 has not run"
    toy.mkdir()
    pruned = pd.read_csv(toy.with_name("stage1_edf20") / "crossval.csv").query("seed == 4").assign(pruned=0.5)
    results.write_table(pruned, toy / "crossval.csv")
    assert provenance("toy", "tab04").endswith(
        f"epochs of 5 s; subjectwise folds, training seed 4. {LABEL}edf20-published."
    )
    assert "training seed 3, 4" in provenance("toy", "tab03")
    (toy.with_name("stage1_edf20") / "settings.json").unlink()
    assert published_alone("toy", "tab01") and published_alone("toy", "tab02")
    results.write_table(pd.DataFrame(columns=COLUMNS["nights.csv"]), toy.with_name("nights.csv"))
    assert provenance("toy", "tab01") == "This run: profile toy, Sleep-EDF nights." and published_alone("toy", "tab02")
    nobodys = {"fig01", "tab11", "fig18", "tab12"}
    assert {entry.key for entry in ITEMS if not published_alone("nowhere", entry.key)} == nobodys
    assert provenance("toy", "fig01") == provenance("toy", "tab11") == ""


def test_results_that_do_not_belong_together_are_marked(toy):
    """Every item and the index say so; published numbers alone are nobody's run."""
    marked, mark = (
        ("fig09", "fig14", "tab03", "tab10", "fig06"),
        "stage2_prune was made from another run of stage1_edf20",
    )
    record.write("stage1_edf20", {"profile": "toy", "search_epochs": 5})
    record.write("stage2_prune", {"profile": "toy"})
    assert not [key for key in marked if mark in provenance("toy", key)] and mark not in write_index("toy").read_text()
    record.write("stage1_edf20", {"profile": "toy", "search_epochs": 8})
    assert [key for key in marked if mark in provenance("toy", key)] == list(marked)
    assert f"\n\n**{mark} than the one that is here" in write_index("toy").read_text()
    assert mark not in provenance("toy", "tab05")


def test_whose_search_had_the_test_subjects():
    names = ["edf20-nested", "edf20-published", "edf20-published-distilled", "edf20-searched-scratch"]
    assert searched_on_all(names, simulated=False) == ["edf20-published", "edf20-searched"]
    assert searched_on_all(names, simulated=True) == ["edf20-searched"], "nobody published what was found on these"
    assert searched_on_all(["edf20-nested"], simulated=False) == []
