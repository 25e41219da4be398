"""Comparisons on the same epochs: differences paired by subject, the peer, and calibration."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from sleepkit import results
from sleepkit.epochs import STAGES
from sleepkit.evaluation.context import fit_context, smooth
from sleepkit.evaluation.crossval import CrossValidated, fold_probabilities
from sleepkit.evaluation.scores import Scored
from sleepkit.execution import paths
from sleepkit.experiments import compare
from sleepkit.experiments.calibration import expected_calibration_error, fit_temperature, temper
from sleepkit.experiments.compare import calibrate, paired_differences, peer_confusions
from sleepkit.experiments.settings import Pruning, Run
from sleepkit.experiments.stage2 import load_pruned, pruning_plan
from sleepkit.metrics import CELLS, confusion, scores
from sleepkit.paper.published import published


def differences(made):
    return paired_differences(made.pruning, made.run)


def carried_out(plan):
    """What stage 2 has trained by a plan."""
    networks = {fold.number: plan.run / f"fold{fold.number}" for fold in plan.folds}
    return CrossValidated(plan.key, plan.data, plan.folds, networks, plan.training)


def test_pruned_against_full_is_the_mean_over_seeds(made, capsys):
    frame, pair_of_seeds = differences(made), made.networks[:2]
    assert "No comparison with AttnSleep: it staged epochs of 500 samples, these have 60." in capsys.readouterr().out
    assert list(frame) == results.COLUMNS["differences.csv"]
    pairs = ("pruned - full", "distilled - full", "ensemble - full", "ensemble - distilled", "full distilled - full")
    pairs += ("distilled - full distilled",)
    names = [pair + context for pair in pairs for context in ("", ", context", ", context with rarity")]
    assert frame.comparison.tolist() == np.repeat(names, 4).tolist()
    assert set(frame.seeds) == {2} and set(frame.subjects) == {6}

    def made_by(method, ratio=0.5):
        pruning = replace(made.pruning, ratio=ratio)
        return [
            carried_out(pruning_plan(network, method, pruning, made.run, teachers=pair_of_seeds))
            for network in pair_of_seeds
        ]

    sides = {"full": pair_of_seeds, "pruned": load_pruned(made.run)[:2], "distilled": made_by("distilled")}
    sides |= {"ensemble": made_by("ensemble"), "full distilled": made_by("distilled", 0.0)}
    acc = {
        name: [
            accuracy_score(one.predictions.y, one.predictions[list(STAGES)].to_numpy().argmax(1)) for one in networks
        ]
        for name, networks in sides.items()
    }
    for pair in pairs:
        row = frame.set_index(["comparison", "metric"]).loc[(pair, "acc")]
        left, right = (np.mean(acc[name]) for name in pair.split(" - "))
        assert row.difference == pytest.approx(left - right)
        assert row.low <= row.difference <= row.high


def test_the_full_network_trained_again_is_a_side_of_its_own(made):
    """Were it right everywhere, what it gains on the full one and what pruning costs against it would still add up."""
    path = made.run.results(made.run.stage2) / "confusion_by_night.csv"
    whole = pd.read_csv(path)
    right, again = whole.copy(), whole.pruned == 0
    counts = right.loc[again, CELLS].to_numpy().reshape(-1, 5, 5).sum(axis=2)
    right.loc[again, CELLS] = (counts[:, :, None] * np.eye(5, dtype=int)).reshape(-1, 25)
    try:
        results.write_table(right, path)
        acc = differences(made).query("metric == 'acc'").set_index("comparison").difference
    finally:
        results.write_table(whole, path)
        differences(made)
    assert acc["full distilled - full"] > 0.5 and acc["distilled - full distilled"] < -0.5
    assert acc["full distilled - full"] + acc["distilled - full distilled"] == pytest.approx(acc["distilled - full"])


def test_networks_that_were_tested_on_other_epochs_are_not_paired(made):
    """One epoch of one night with another stage, a night that one side lacks, be it a seed or a depth, a ratio that
    nobody pruned by."""
    path = made.run.results(made.run.stage2) / "confusion_by_night.csv"
    whole, before = pd.read_csv(path), differences(made)
    changed = whole.copy()
    row = changed.index[(changed.protocol == "subjectwise") & (changed.N1_N2 > 0)][0]
    changed.loc[row, ["N1_N2", "N2_N2"]] += [-1, 1]
    fewer = whole[~((whole.night == "SC4001E0") & (whole.seed == 1))]
    first = paths.results("toy") / "stage1_edf20" / "confusion_by_night.csv"
    shallow = pd.read_csv(first)
    deeper = shallow[shallow.night != "SC4001E0"].assign(cells=5)  # the subject's other night is still there
    try:
        for file, wrong in ((path, changed), (path, fewer), (first, pd.concat([shallow, deeper]))):
            right = pd.read_csv(file)
            results.write_table(wrong, file)
            with pytest.raises(ValueError, match="confusion_by_night.csv: .* other epochs than these; run"):
                differences(made)
            results.write_table(right, file)
        path.unlink()
        with pytest.raises(results.MissingResult, match="run stage2_prune -p profile toy"):
            differences(made)
    finally:
        results.write_table(whole, path)
        results.write_table(shallow, first)
    with pytest.raises(ValueError, match="no network of edf20 pruned by 0.3 with a seed of stage 1"):
        paired_differences(replace(made.pruning, ratio=0.3), made.run)
    written = results.read("toy", "stage2_prune/differences.csv").drop(columns=results.PARTS)
    pd.testing.assert_frame_equal(written, before, check_dtype=False)


def test_differences_with_context_are_those_of_the_smoothed_predictions(made):
    """Of what the cross-validation wrote: crossval.csv's rows of context "both"."""
    frame = differences(made).set_index(["comparison", "metric"])
    pooled = made.rows.query("protocol == 'subjectwise' and fold == 'pooled' and genotype == 'edf20-toy'")
    pruned = pooled[pooled.context == "both"]
    matrices = [confusion(one.predictions["y"], Scored(one).staged["both"]) for one in made.networks[:2]]
    for metric in ("acc", "mf1", "kappa"):
        whole = [scores(matrix)[metric] for matrix in matrices]
        found = frame.loc[("pruned - full, context", metric)].difference
        assert found == pytest.approx(pruned[metric].mean() - np.mean(whole))


def test_differences_of_the_real_nights_follow_from_the_confusions_beside_them(monkeypatch):
    """Of the committed results of first5s-cpu; the confusions sum up to the scores in crossval.csv."""
    monkeypatch.setattr(compare, "write_table", lambda frame, path: frame)
    monkeypatch.setattr(paths, "ROOT", Path(__file__).parents[2])
    frame = paired_differences(Pruning(), Run(profile="first5s-cpu"))
    written = results.read("first5s-cpu", "stage2_prune/differences.csv").drop(columns=results.PARTS)
    pd.testing.assert_frame_equal(frame, written, check_dtype=False)
    assert frame.subjects.eq(20).all()
    pooled = results.read("first5s-cpu", "crossval.csv").query("fold == 'pooled'").set_index(results.NETWORK)
    nights = results.gather("first5s-cpu", "confusion_by_night.csv").query("protocol == 'subjectwise'")
    for key, rows in nights.groupby(results.NETWORK):
        total = scores(rows[CELLS].to_numpy().sum(0).reshape(5, 5))
        assert [total[name] for name in results.SCORES] == pytest.approx(pooled.loc[key, results.SCORES].tolist())
        assert rows[CELLS].to_numpy().sum() == 42_308 == pooled.loc[key].n and len(rows) == 39
    first = pooled.xs(("subjectwise", "edf20-published", 8), level=["protocol", "genotype", "channels"]).reset_index()
    full = first[(first.pruned == 0) & (first.context == "both") & (first.seed == 0)].set_index("cells")
    found = frame.set_index(["genotype", "comparison", "cells", "metric"]).difference["edf20-published"]
    for cells, kappa in full.kappa.drop(7).items():
        assert found["full - L = 7, context", cells, "kappa"] == pytest.approx(kappa - full.kappa[7])
    assert set(found["full - L = 7"].index.get_level_values("cells")) == set(full.index) - {7} >= {9}
    rows = pooled.reset_index().query("cells == 7 and pruned == 0 and context == 'both' and seed == 0")
    acc = rows.set_index("genotype").acc
    same = frame.set_index(["genotype", "comparison", "metric"]).difference
    gain = same["edf20-searched", "full - published genotype, context", "acc"]
    assert gain == pytest.approx(acc["edf20-searched"] - acc["edf20-published"])


def test_calibration_scales_every_fold_by_its_own_validation_subjects(made):
    frame, network = calibrate(made.networks, made.run), made.networks[0]
    assert list(frame) == results.COLUMNS["calibration.csv"] and len(frame) == 4 * 15
    stages = dict(zip(made.epochs.id.tolist(), made.epochs.y.tolist(), strict=True))
    folds = [fold_probabilities(path) for path in network.networks.values()]

    def of(ids):
        return np.array([stages[sample] for sample in ids.tolist()])

    y, prob = np.concatenate([of(fold["id"]) for fold in folds]), np.concatenate([fold["prob"] for fold in folds])
    chosen = frame.set_index(["network", "temperature_scaled"]).sort_index()
    assert chosen.loc[("full", 0), "ece"].iloc[0] == pytest.approx(expected_calibration_error(y, prob))
    temperatures = [fit_temperature(of(fold["valid_id"]), fold["valid_prob"]) for fold in folds]
    scaled = np.concatenate([temper(fold["prob"], t) for fold, t in zip(folds, temperatures, strict=True)])
    assert chosen.loc[("full", 1), "ece"].iloc[0] == pytest.approx(expected_calibration_error(y, scaled))
    assert chosen.loc[("full", 1), "temperature"].iloc[0] == pytest.approx(np.mean(temperatures))
    assert set(chosen.groupby(level=[0, 1]).n.sum()) == {len(made.epochs)}


def test_stored_confusions_of_attnsleep_are_its_predictions(shared):
    """Night by night from what its repository stores, and the pooled scores that go with it."""
    stored = published(compare.PEER[False]).set_index("night")
    epochs = np.load(shared / "data" / "sleepedf20_first5s.npz")
    with epochs, np.load(shared / "data" / "attnsleep_first5s_predictions.npz") as predictions:
        fold = dict(entry.split(":") for entry in predictions["fold_of_night"].tolist())
        assert sorted(stored.index) == sorted(fold) and len(fold) == 39
        total = 0
        for night, number in fold.items():
            matrix = confusion(epochs[f"{night}_y"].astype(int), predictions[f"{night}_pred"].astype(int))
            np.testing.assert_array_equal(stored.loc[night, CELLS].to_numpy(int).reshape(5, 5), matrix)
            assert stored.loc[night, "fold"] == int(number)
            total = total + matrix
    assert total.sum() == 42_308
    pooled = scores(total)
    assert [round(pooled[key], 4) for key in ("acc", "mf1", "kappa")] == [0.7350, 0.6634, 0.6359]


def test_stored_confusions_with_context_follow_from_the_predictions_of_attnsleep(shared):
    """Smoothed by the transitions and confusions (plus one) of the nights of the other nine folds."""
    stored = published(compare.PEER[True]).set_index("night")
    epochs = np.load(shared / "data" / "sleepedf20_first5s.npz")
    with epochs, np.load(shared / "data" / "attnsleep_first5s_predictions.npz") as predictions:
        fold = dict(entry.split(":") for entry in predictions["fold_of_night"].tolist())
        y = {night: epochs[f"{night}_y"].astype(int) for night in sorted(fold)}
        said = {night: predictions[f"{night}_pred"].astype(int) for night in sorted(fold)}
    assert sorted(stored.index) == sorted(fold)
    total = 0
    for night in sorted(fold):
        others = [other for other in sorted(fold) if fold[other] != fold[night]]
        labels = np.concatenate([y[other] for other in others])
        context = fit_context(labels, np.repeat(others, [len(y[other]) for other in others]))
        counts = confusion(labels, np.concatenate([said[other] for other in others])) + 1
        likelihood = (counts / counts.sum(1, keepdims=True))[:, said[night]].T
        matrix = confusion(y[night], smooth(likelihood * context.prior, context).argmax(1))
        np.testing.assert_array_equal(stored.loc[night, CELLS].to_numpy(int).reshape(5, 5), matrix)
        total = total + matrix
    pooled = scores(total)
    assert [round(pooled[key], 4) for key in ("acc", "mf1", "kappa")] == [0.8137, 0.7433, 0.7448]


def nights_of_peer():
    """Rows of confusion_by_night.csv of a network that is always right about AttnSleep's nights of subjects 0 and 3."""
    stored = published(compare.PEER[False])
    stored = stored[stored.night.str[3:5].isin(["00", "03"])]
    right = pd.DataFrame(0, index=stored.index, columns=CELLS)
    for stage in STAGES:
        right[f"{stage}_{stage}"] = stored[[f"{stage}_{said}" for said in STAGES]].sum(axis=1)
    return right.assign(night=stored.night)


def test_attnsleep_is_a_peer_on_the_same_nights_alone():
    nights = nights_of_peer()
    for context in (False, True):
        matrices, reason = peer_confusions(nights, 500, context)
        assert reason == "" and matrices.shape == (2, 5, 5)
        np.testing.assert_array_equal(matrices.sum((0, 2)), nights[CELLS].to_numpy().sum(0).reshape(5, 5).diagonal())
    reason = "it staged epochs of 500 samples, these have 3000"
    assert peer_confusions(nights, 3000) == (None, reason)
    changed = nights.assign(W_W=nights.W_W - 1, N1_N1=nights.N1_N1 + 1)
    assert peer_confusions(changed, 500) == (None, "it staged other epochs of night SC4001E0")
    elsewhere = nights.assign(night=nights.night.str.replace("SC40", "SC44"))
    assert peer_confusions(elsewhere, 500) == (None, "it did not stage night SC4401E0")
