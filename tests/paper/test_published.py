"""The published numbers agree with one another, and the result files are read with care."""

import numpy as np
import pandas as pd
import pytest

from sleepkit import results
from sleepkit.epochs import STAGES
from sleepkit.execution import paths
from sleepkit.genotype import Genotype
from sleepkit.metrics import per_class, scores
from sleepkit.paper.published import (
    PREPARED_COUNTS,
    SEARCH_SAMPLES,
    baselines,
    published,
    published_confusion,
    published_genotype,
)

NETWORKS = [f"{d}_L{cells}_{model}" for d in ("edf20", "edf78") for cells in (7, 9, 11) for model in ("full", "pruned")]


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """An empty profile "demo" in a folder of its own."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("SLEEPKIT_RUNS", str(tmp_path / "runs"))
    return "demo"


@pytest.mark.parametrize("key", NETWORKS)
def test_confusion_matrices_give_the_published_scores(key):
    dataset, cells, model = key.split("_")
    table = published("cv_results").query("dataset == @dataset and model == @model and fold == 'pooled'")
    row = table[table.layers == int(cells[1:])].iloc[0]
    matrix = published_confusion(key)
    measured = scores(matrix)
    for here, there in (("acc", "acc"), ("mf1", "mf1"), ("mgm", "gmean")):
        assert measured[here] == pytest.approx(row[there], abs=0.5001e-4), here
    for _, stage in per_class(matrix).iterrows():
        for measure in ("precision", "recall", "f1", "gmean"):
            there = row[f"{measure}_{stage.stage}"]
            assert stage[measure] == pytest.approx(there, abs=0.5001e-4), (stage.stage, measure)


def test_published_totals():
    nights = published("epochs_per_recording").groupby("dataset").n_epochs.sum().to_dict()
    assert nights == {"edf20": 42308, "edf78": 195479}
    assert {name: sum(counts.values()) for name, counts in PREPARED_COUNTS.items()} == nights
    after = published("class_counts_after_bdp")
    assert after.groupby("dataset").n_epochs.sum().to_dict() == {"edf20": 34951, "edf78": 167321}
    for key in NETWORKS:
        counts = after[after.dataset == key[:5]].set_index("stage").n_epochs
        assert published_confusion(key).sum(axis=1).tolist() == counts[list(STAGES)].tolist()
    # Released: the halves that the search ended with hold eight epochs more than the networks were tested on.
    assert SEARCH_SAMPLES[["n_train", "n_valid"]].iloc[-1].sum() - 34951 == 8


def test_fold_means_are_near_the_merged_scores_but_not_equal():
    """Published scores are those of merged predictions; whoever averages folds gets slightly different ones."""
    table = published("cv_results").query("dataset == 'edf20' and layers == 9 and model == 'full'")
    merged = table[table.fold == "pooled"].mf1.item()
    mean = table[table.fold != "pooled"].mf1.mean()
    assert mean == pytest.approx(0.8059, abs=1e-4) and merged == 0.8065


def test_the_copies_equal_the_originals(shared):
    for path in sorted((shared / "paper" / "published").iterdir()) + [shared / "paper" / "genotypes.json"]:
        assert (paths.ROOT / "sleepkit" / "paper" / "published" / path.name).read_bytes() == path.read_bytes(), (
            path.name
        )


def test_genotypes():
    assert len(published_genotype("edf20").normal) == 12
    assert published_genotype("edf78").reduce[0] == ("sep_conv_1x3", 1)
    assert published_genotype("own") is None


@pytest.mark.parametrize(
    "call, known",
    [
        (lambda: published("cv_result"), "cv_results"),
        (lambda: published_confusion("edf20_L8_full"), "edf20_L9_full"),
    ],
)
def test_unknown_names_list_the_known_ones(call, known):
    with pytest.raises(ValueError, match=known):
        call()


def test_a_missing_result_names_the_command(profile):
    with pytest.raises(results.MissingResult, match="is missing; `make reproduce PROFILE=demo`.*run stage1_edf20`"):
        results.read(profile, "stage1_edf20/history.csv")
    with pytest.raises(results.MissingResult, match="run prepare -p profile mine` makes it"):
        results.read("mine", "nights.csv")
    assert results.find(profile, "stage1_edf20/history.csv") is None
    assert results.gather(profile, "confusion.csv") is None


def test_results_come_back_as_they_were_written(profile):
    folder = paths.results(profile) / "stage1_edf20"
    frame = pd.DataFrame([(1, "train", "N1", 3, 97)], columns=results.COLUMNS["removed_samples.csv"])
    results.write_table(frame, folder / "removed_samples.csv")
    pd.testing.assert_frame_equal(results.read(profile, "stage1_edf20/removed_samples.csv"), frame)
    genotype = published_genotype("edf20")
    (folder / "genotype.json").write_text(genotype.to_json())
    assert results.read(profile, "stage1_edf20/genotype.json") == genotype and isinstance(genotype, Genotype)
    np.savez(folder / "kept.npz", train=np.arange(3))
    assert results.read(profile, "stage1_edf20/kept.npz")["train"].tolist() == [0, 1, 2]


def test_a_result_without_its_columns_is_refused(profile):
    results.write_table(pd.DataFrame({"epoch": [1]}), paths.results(profile) / "stage1_edf20" / "history.csv")
    with pytest.raises(ValueError, match="lacks the columns temperature"):
        results.read(profile, "stage1_edf20/history.csv")


@pytest.mark.parametrize("name", ["kept.npz", "genotype.json", "settings.json", "history.csv"])
def test_a_damaged_result_is_named_with_the_cure(profile, name):
    """Cut at every fourth byte or with a byte changed: read nonetheless, or refused by name."""
    path, random = paths.results(profile) / "stage1_edf20" / name, np.random.default_rng(0)
    columns = results.COLUMNS["history.csv"]
    results.write_table(pd.DataFrame([range(len(columns))] * 2, columns=columns), path.with_name("history.csv"))
    np.savez_compressed(path.with_name("kept.npz"), train=np.arange(99), valid=np.arange(9))
    path.with_name("genotype.json").write_text(published_genotype("edf20").to_json())
    path.with_name("settings.json").write_text('{"seed": 1, "text": "ä"}', encoding="utf-8")
    whole, refused = path.read_bytes(), 0
    changed = [(random.integers(len(whole)), random.integers(256)) for _ in range(150)]
    damaged = [whole[:n] for n in range(0, len(whole), 4)]
    for content in damaged + [whole[:n] + bytes([value]) + whole[n + 1 :] for n, value in changed]:
        path.write_bytes(content)
        try:
            results.read(profile, f"stage1_edf20/{name}")
        except ValueError as error:
            assert str(path) in str(error) and "again" in str(error)
            refused += 1
    assert refused > 50
    path.write_bytes(b"")
    with pytest.raises(
        ValueError, match=rf"{name}: not what its name says .* Run `python -m sleepkit run .*makes it again"
    ):
        results.read(profile, f"stage1_edf20/{name}")
    path.write_bytes(whole)
    results.read(profile, f"stage1_edf20/{name}")


def crossval(genotype, fold, acc):
    return ("subjectwise", genotype, 4, 5, 0.0, "none", 0, fold, acc, 0.5, 0.5, 0.5, 100)


def test_attnsleep_at_5_s_stands_as_printed_and_as_its_predictions_give():
    printed, merged = baselines().query("dataset == 'edf20_first5s'").to_dict("records")
    assert (printed["acc"], printed["kappa"]) == (72.57, 0.6262)
    assert [merged[name] for name in ("acc", "macro_f1", "kappa")] == [73.5, 66.34, 0.6359]
    nights = published("attnsleep_first5s")
    matrix = [[nights[f"{true}_{said}"].sum() for said in STAGES] for true in STAGES]
    assert merged["mgm"] == round(100 * scores(matrix)["mgm"], 2), "the one score that tells stages from what was said"
    assert merged["protocol"] == printed["protocol"] and merged["evidence"] != printed["evidence"]
    assert len(baselines()) == len(published("baselines")) + 1


def test_crossval_of_the_notebooks_becomes_one(profile):
    columns = results.COLUMNS["crossval.csv"]
    shared_row = crossval("edf20-searched", "0", 0.7)
    first = pd.DataFrame([shared_row, crossval("edf20-searched", "pooled", 0.7)], columns=columns)
    second = pd.DataFrame([shared_row, crossval("edf20-published", "0", 0.6)], columns=columns)
    folder = paths.results(profile)
    with pytest.raises(results.MissingResult, match="crossval.csv is missing"):
        results.merge_crossval(profile)
    results.write_table(first, folder / "stage1_edf20" / "crossval.csv")
    results.write_table(second, folder / "stage2_prune" / "crossval.csv")
    merged = results.merge_crossval(profile)
    assert merged[["genotype", "fold"]].to_numpy().tolist() == [
        ["edf20-searched", "0"],
        ["edf20-searched", "pooled"],
        ["edf20-published", "0"],
    ]
    assert (folder / "crossval.csv").read_text().splitlines()[0] == ",".join(columns)
    results.write_table(second.assign(acc=0.1), folder / "stage2_prune" / "crossval.csv")
    with pytest.raises(ValueError, match="disagree"):
        results.merge_crossval(profile)
