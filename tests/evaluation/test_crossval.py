"""Folds and protocols: who is on which side, and that nothing of a test fold is seen before it is scored."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, f1_score
from toy import TINY, toy

from sleepkit import metrics, results
from sleepkit.epochs import STAGES, EpochSet
from sleepkit.evaluation import crossval
from sleepkit.evaluation.context import POWERS, WEIGHTS, fit_context, fit_powers, smooth
from sleepkit.evaluation.crossval import Plan, cross_validate, fold_probabilities
from sleepkit.evaluation.protocols import EPOCHWISE, SUBJECTWISE, epoch_folds, manifest, subject_folds
from sleepkit.evaluation.scores import (
    CONTEXTS,
    Scored,
    class_rows,
    confusion_rows,
    fold_context,
    halved,
    in_context,
    night_rows,
    score_rows,
    write_probabilities,
)
from sleepkit.evaluation.training import TrainSettings, predict_logits
from sleepkit.execution import jobs, outlook
from sleepkit.execution.checkpoint import Deadline, TimeOver
from sleepkit.execution.paths import ROOT
from sleepkit.metrics import confusion, scores, softmax
from sleepkit.network.saved import load_network
from sleepkit.network.sleepnet import new_network
from sleepkit.results import NetworkKey

SETTINGS = TrainSettings(lr=0.01, batch=32, epochs=2)
OTHER_SETTINGS = {"lr": 0.02, "schedule": "cosine", "batch": 16, "epochs": 3, "patience": 3, "select_by": "acc"}
OTHER_SETTINGS |= {"seed": 43, "precision": "bfloat16"}
KEY = NetworkKey("subjectwise", "edf20", "published", channels=2, cells=3, seed=42)

# Method section 4: AttnSleep's ten pairs.
PAIRS = "14 5 | 4 17 | 8 7 | 19 12 | 0 15 | 16 9 | 11 10 | 3 1 | 6 18 | 2 13"
EDF78 = sorted(set(range(83)) - {39, 68, 69, 78, 79})


def plan_of(folder, epochs=None, folds=None, settings=SETTINGS, key=KEY, only=()):
    epochs = toy() if epochs is None else epochs
    folds = subject_folds(epochs.subject, 2, 1) if folds is None else folds
    start = partial(new_network, TINY, key.channels, key.cells)
    return Plan(key, epochs, tuple(folds), start, settings, folder, only=only)


def validate(folder, *given, where="inline", deadline=Deadline(), **options):
    return cross_validate([plan_of(folder, *given, **options)], where=where, deadline=deadline)[0]


@pytest.fixture(scope="module")
def folder_of_whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(folder_of_whole):
    return validate(folder_of_whole)


def people(subject, rows):
    return set(subject[rows].tolist())


# Folds


@pytest.mark.parametrize(
    ("present", "k", "validation"),
    [(range(20), 10, 3), (range(20), 20, 3), (EDF78, 10, 3), (range(8), 4, 2), ([3, 14, 15, 92], 2, 1)],
)
def test_no_subject_is_on_two_sides_and_all_are_tested_once(present, k, validation):
    subject = np.random.default_rng(0).permutation(np.repeat(list(present), 7))
    folds, tested = subject_folds(subject, k, validation), []
    assert [fold.number for fold in folds] == list(range(k))
    for fold in folds:
        sides = [people(subject, rows) for rows in (fold.train, fold.valid, fold.test)]
        assert set.union(*sides) == set(present)
        assert sum(map(len, sides)) == len(present)
        assert len(sides[1]) == validation
        rows = np.concatenate([fold.train, fold.valid, fold.test])
        assert sorted(rows) == list(range(len(subject)))
        assert all((np.diff(side) > 0).all() for side in (fold.train, fold.valid, fold.test))
        tested += sorted(sides[2])
    assert sorted(tested) == sorted(present)


def test_edf20_gives_the_pairs_of_attnsleep():
    subject = np.repeat(np.arange(20), 3)
    expected = [set(map(int, pair.split())) for pair in PAIRS.split("|")]
    assert [people(subject, fold.test) for fold in subject_folds(subject, 10)] == expected


def test_edf78_is_permuted_with_seed_42():
    subject = np.repeat(EDF78, 2)
    folds = subject_folds(subject, 10)
    order = np.random.default_rng(42).permutation(EDF78)
    assert people(subject, folds[0].test) == set(order[:8].tolist())
    assert sorted(len(people(subject, fold.test)) for fold in folds) == [7, 7, *[8] * 8]


def test_validation_subjects_are_drawn_with_the_number_of_the_fold():
    subject = np.repeat(np.arange(20), 2)
    for fold in subject_folds(subject, 10):
        others = sorted(set(range(20)) - people(subject, fold.test))
        assert people(subject, fold.valid) == set(
            np.random.default_rng(fold.number).choice(others, 3, replace=False).tolist()
        )


@pytest.mark.parametrize("n", [20, 6])
def test_folds_do_not_depend_on_the_order_of_the_nights(n):
    subject = np.repeat(np.arange(n), 4)
    other = np.random.default_rng(1).permutation(subject)
    k = 10 if n == 20 else 3
    for one, two in zip(subject_folds(subject, k, 2), subject_folds(other, k, 2), strict=False):
        for side in ("train", "valid", "test"):
            assert people(subject, getattr(one, side)) == people(other, getattr(two, side))


def test_folds_do_not_depend_on_the_hash_seed():
    code = (
        "import numpy as np; from sleepkit.evaluation.protocols import subject_folds, epoch_folds;"
        "s = np.repeat(np.arange(12), 3);"
        "print([f.test.tolist() + f.valid.tolist() for f in subject_folds(s, 4) + epoch_folds(30)])"
    )
    here = [f.test.tolist() + f.valid.tolist() for f in subject_folds(np.repeat(np.arange(12), 3), 4) + epoch_folds(30)]
    environment = os.environ | {
        "PYTHONHASHSEED": "7" if os.environ.get("PYTHONHASHSEED") != "7" else "8",
        "PYTHONPATH": str(ROOT),
    }
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(printed) == here


@pytest.mark.parametrize(("subjects", "k"), [(3, 4), (2, 2), (1, 1)])
def test_too_few_subjects_are_refused(subjects, k):
    with pytest.raises(ValueError, match=f"{subjects} subjects cannot fill {k} folds, each with subjects to test"):
        subject_folds(np.arange(subjects), k)


@pytest.mark.parametrize(
    ("subjects", "k", "validate"), [(3, 3, 1), (4, 4, 1), (8, 2, 1), (8, 4, 2), (20, 10, 3), (78, 10, 3)]
)
def test_at_most_a_third_of_the_others_validates(subjects, k, validate):
    for fold in subject_folds(np.arange(subjects), k):
        assert len(fold.valid) == validate and len(fold.train) >= validate


def test_epochwise_folds_share_subjects_and_validate_on_the_test_fold():
    folds = epoch_folds(103)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(103))
    for fold in folds:
        np.testing.assert_array_equal(fold.valid, fold.test)
        assert not set(fold.train) & set(fold.test)
        assert len(fold.train) + len(fold.test) == 103
    assert {len(fold.test) for fold in folds} == {20, 21}
    assert not np.array_equal(epoch_folds(103, seed=49)[0].test, folds[0].test)


def test_manifest_names_the_subjects_of_every_side():
    epochs = toy()
    folds = subject_folds(epochs.subject, 2, 1)
    described = json.loads(json.dumps(manifest(epochs, folds)))
    for fold in folds:
        for side in ("train", "valid", "test"):
            assert described[str(fold.number)][side] == sorted(people(epochs.subject, getattr(fold, side)))
        nights = described[str(fold.number)]["test_nights"]
        assert nights == sorted(nights) and set(nights) == set(epochs.night[fold.test])


# Nothing of the test fold is seen


def test_normalisation_comes_from_the_training_subjects_alone():
    epochs = toy()
    fold = subject_folds(epochs.subject, 2, 1)[0]
    scale = SUBJECTWISE.normalisation(epochs, fold)
    assert scale.mean == pytest.approx(epochs.x[fold.train].mean(), abs=1e-4)
    assert scale.sd == pytest.approx(epochs.x[fold.train].std(), rel=1e-5)
    assert scale.sd != pytest.approx(epochs.x.std(), rel=1e-2)


def test_epochwise_normalises_every_sample_position_over_all_epochs():
    epochs = toy()
    scale = EPOCHWISE.normalisation(epochs, epoch_folds(len(epochs))[0])
    np.testing.assert_allclose(scale.mean, epochs.x.mean(0))
    np.testing.assert_allclose(scale.sd, epochs.x.std(0), rtol=1e-5)


def trained(result, number):
    net, description = load_network(result.networks[number])
    curves = result.curves.query("fold == @number").reset_index(drop=True)
    return net.state_dict(), curves, description["normalisation"]


def test_the_test_fold_does_not_influence_training(whole, tmp_path):
    """Another signal and other labels in fold 0's test epochs: the same curves, weights and scaling."""
    epochs = toy()
    folds = subject_folds(epochs.subject, 2, 1)
    test = folds[0].test
    x, y = epochs.x.copy(), epochs.y.copy()
    x[test], y[test] = 7 * x[test][:, ::-1] + 100, (y[test] + 1) % 5
    changed = validate(tmp_path, EpochSet(x, y, epochs.subject, epochs.night, epochs.id, epochs.fs), folds)
    weights, curves, scaling = trained(whole, 0)
    other_weights, other_curves, other_scaling = trained(changed, 0)
    assert scaling == other_scaling
    pd.testing.assert_frame_equal(curves, other_curves, check_exact=True)
    assert all(torch.equal(value, other_weights[key]) for key, value in weights.items())
    one, other = (result.predictions.query("fold == 0")[list(STAGES)].to_numpy() for result in (whole, changed))
    assert np.abs(one - other).max() > 1e-3
    # and fold 1, which trains or validates on those subjects, does see the change
    assert any(
        not torch.equal(a, b)
        for a, b in zip(trained(whole, 1)[0].values(), trained(changed, 1)[0].values(), strict=False)
    )


def test_context_is_fitted_on_training_and_validation_subjects_alone(whole):
    epochs, predictions, smoothed = toy(), whole.predictions, Scored(whole).probabilities
    for fold in subject_folds(epochs.subject, 2, 1):
        valid = epochs.subset(fold.valid)
        context = fit_context(epochs.y[fold.train], epochs.night[fold.train])
        side = fold_probabilities(whole.networks[fold.number])["valid_prob"], valid.y, valid.night
        weighed, rare = (fit_powers(context, *side, powers) for powers in (WEIGHTS, POWERS))
        assert weighed.rarity == 1
        for name in sorted(set(epochs.night[fold.test].tolist())):
            rows = (predictions["night"] == name).to_numpy()
            probabilities = predictions.loc[rows, list(STAGES)].to_numpy()
            ways = (("forward", weighed, True), ("both", weighed, False), ("both+rarity", rare, False))
            for context, fitted, forward_only in ways:
                expected = smooth(probabilities, fitted, forward_only)
                np.testing.assert_allclose(smoothed[context][rows], expected, rtol=1e-6)


def test_validation_epochs_of_another_set_are_refused(whole):
    epochs = toy()
    fold = subject_folds(epochs.subject, 2, 1)[0]
    kept = fold_probabilities(whole.networks[0])
    with pytest.raises(ValueError, match="fold 0: its network was validated on other epochs"):
        fold_context(epochs, fold, kept | {"valid_id": kept["valid_id"][::-1]})


@pytest.mark.parametrize("side", ["prob", "valid_prob"])
@pytest.mark.parametrize("damage", [lambda prob: prob * np.nan, lambda prob: prob[1:], lambda prob: prob[:, :4]])
def test_probabilities_that_are_none_are_refused(whole, tmp_path, side, damage):
    kept = fold_probabilities(whole.networks[0])
    np.savez(tmp_path / "fold0.npz", **kept | {side: damage(kept[side])})
    with pytest.raises(ValueError, match=rf"fold0\.npz: not the probabilities of a fold \({side} .*remove the file"):
        fold_probabilities(tmp_path / "fold0")


def test_a_fold_of_other_test_epochs_is_refused(tmp_path):
    networks = validate(tmp_path).networks
    path = networks[0].with_name("fold0.npz")
    kept = fold_probabilities(networks[0])
    np.savez(path, **kept | {"id": kept["id"][::-1]})
    with pytest.raises(ValueError, match=r"fold0\.npz: of other epochs than the fold tests; remove the file"):
        _ = validate(tmp_path).predictions


# Runs


def test_predictions_are_those_of_the_saved_networks(whole):
    predictions, curves, networks = whole.predictions, whole.curves, whole.networks
    epochs = toy()
    assert predictions["id"].tolist() == sorted(epochs.id.tolist())
    for fold in subject_folds(epochs.subject, 2, 1):
        net, description = load_network(networks[fold.number])
        assert description["protocol"] == "subjectwise"
        assert description["training"] == fold.subjects(epochs)
        assert (description["fs"], description["samples"]) == (100.0, 32)
        x = SUBJECTWISE.normalisation(epochs, fold)(epochs.x[fold.test])
        logits = predict_logits(net, x)
        rows = predictions.query("fold == @fold.number").set_index("id").loc[epochs.id[fold.test]]
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(rows[list(STAGES)].to_numpy(), p, atol=1e-6)
        np.testing.assert_array_equal(rows["y"], epochs.y[fold.test])
        assert description["metrics"]["test"] == scores(confusion(epochs.y[fold.test], logits.argmax(axis=1)))
        best = curves.query("fold == @fold.number").valid_mf1.max()
        assert description["metrics"]["valid"]["mf1"] == pytest.approx(best, abs=1e-9), "the epoch that is kept"
        np.testing.assert_array_equal(rows["subject"], epochs.subject[fold.test])
    assert curves.groupby("fold").size().tolist() == [2, 2]


def frames(one, other):
    for name in ("predictions", "curves"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)


def test_a_finished_fold_is_skipped(whole, folder_of_whole, monkeypatch):
    monkeypatch.setattr(crossval, "fit", lambda *_, **__: pytest.fail("a finished fold was trained again"))
    frames(validate(folder_of_whole), whole)


def test_another_configuration_has_a_folder_of_its_own(whole, folder_of_whole, tmp_path):
    folds = subject_folds(toy().subject, 3, 1)

    def key(epochs, settings=SETTINGS, key=KEY):
        return plan_of(tmp_path, epochs, folds, settings, key).run

    for name, value in {"protocol": "epochwise", "origin": "searched", "variant": "scratch", "pruned": 0.5}.items():
        assert key(toy(), key=replace(KEY, **{name: value})) != key(toy())
    assert key(toy()) == key(toy())
    others = [replace(SETTINGS, **{name: value}) for name, value in OTHER_SETTINGS.items()]
    assert set(OTHER_SETTINGS) == set(asdict(SETTINGS))
    assert len({key(toy(), settings) for settings in [SETTINGS, *others]}) == len(others) + 1
    for row in range(len(toy())):  # a night that was prepared anew may differ in any epoch
        epochs = toy()
        epochs.x[row, -1] += 1
        assert key(epochs) != key(toy())


def test_other_folds_have_a_folder_of_their_own(whole, folder_of_whole):
    """The same epochs and settings cut into other folds must not find the results of these."""
    epochs = toy(10)
    others = [subject_folds(epochs.subject, 3, 1), subject_folds(epochs.subject, 3, 2), epoch_folds(len(epochs), 2)]
    keys = {plan_of(folder_of_whole, epochs, folds).run for folds in others}
    assert len(keys | {whole.networks[0].parent}) == 4


def test_killed_between_training_and_the_result(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(crossval, "save_network", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            validate(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(crossval.np, "savez_compressed", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            validate(tmp_path)
    frames(validate(tmp_path), whole)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".") or "unfinished" in str(path)]


def test_a_deadline_stops_cleanly_and_the_next_call_goes_on(whole, tmp_path):
    with pytest.raises(TimeOver, match="the minutes are over .*; what is done is kept"):
        validate(tmp_path, deadline=Deadline.after(0))

    class OneEpoch:
        def __init__(self):
            self.asked = 0

        def check(self):
            self.asked += 1
            if self.asked > 2:  # before the data are read, before the first epoch, before the second
                raise TimeOver

    for _ in range(3):
        with pytest.raises(TimeOver):
            validate(tmp_path, deadline=OneEpoch())
    frames(validate(tmp_path, deadline=OneEpoch()), whole)  # two folds of two epochs, one a call


def test_what_will_take_long_is_said_first_and_changes_nothing(whole, tmp_path, monkeypatch, capsys):
    """With many steps a few are timed before the first fold; a short training says nothing."""
    labels = []
    inner = jobs.map
    monkeypatch.setattr(jobs, "map", lambda *given, label, **more: labels.append(label) or inner(*given, **more))
    validate(tmp_path / "short")
    assert (labels.pop(), capsys.readouterr().out) == ("folds", "")
    monkeypatch.setattr(crossval, "LONG", 1)
    monkeypatch.setattr(outlook, "LONG", 0)
    again = validate(tmp_path / "long")
    assert re.fullmatch(r"folds, at most 0.\d h", labels.pop())
    steps = sum(2 * -(-len(fold.train) // 32) for fold in again.folds)
    said = rf"training: 2 folds one at a time, at most {steps} steps on cpu: about 0.\d hours. Stop .*\n"
    assert re.fullmatch(said, capsys.readouterr().out)
    frames(again, whole)


def test_order_in_which_folds_finish_does_not_matter(whole, tmp_path):
    epochs = toy()
    folds = subject_folds(epochs.subject, 2, 1)
    backwards = validate(tmp_path, epochs, folds[::-1])
    pd.testing.assert_frame_equal(backwards.predictions, whole.predictions, check_exact=True)


def test_folds_as_processes_of_their_own_give_the_same(whole, tmp_path):
    """Fold 1; fold 0 is run here, beside it."""
    validate(tmp_path, where="local", only=(1,))
    frames(validate(tmp_path), whole)
    shared = list(tmp_path.glob("epochs-*/x.npy"))
    assert len(shared) == 1
    np.testing.assert_array_equal(np.load(shared[0]), toy().x)


@pytest.mark.parametrize("end", [".npz", ".csv", ".json", ".safetensors"])
def test_a_fold_that_lacks_a_file_is_trained_again(whole, folder_of_whole, end):
    """Which is what removing a damaged one is for."""
    file = folder_of_whole / whole.networks[0].parent.name / f"fold1{end}"
    file.unlink()
    frames(validate(folder_of_whole), whole)
    assert file.exists()


def test_some_folds_now_and_the_others_later(whole, tmp_path):
    """Fold 1 alone lies in the folder of the whole run, and is not trained again."""
    alone = validate(tmp_path, only=(1,))
    assert list(alone.networks) == [1] and alone.networks[1].name == "fold1"
    assert alone.networks[1].parent.name == whole.networks[0].parent.name
    part = whole.predictions.query("fold == 1").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.predictions, part, check_exact=True)
    result = alone.networks[1].with_name("fold1.npz")
    written = result.stat().st_mtime_ns
    frames(validate(tmp_path), whole)
    assert result.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match=r"there is no fold \[7\]; the folds are \[0, 1\]"):
        validate(tmp_path, only=(1, 7))


def test_several_networks_at_once(whole, tmp_path):
    """Folds of two networks, one of them half done before: each as if it had been trained alone."""
    validate(tmp_path, only=(0,))
    one, other = cross_validate([plan_of(tmp_path), plan_of(tmp_path, key=replace(KEY, channels=3))])
    frames(one, whole)
    assert other.networks[0].parent != one.networks[0].parent
    assert load_network(other.networks[0])[0].channels == 3


def test_probabilities_of_the_validation_epochs_are_kept(whole):
    """Calibration is fitted on them."""
    epochs = toy()
    for fold in subject_folds(epochs.subject, 2, 1):
        path = whole.networks[fold.number]
        with np.load(path.with_name(path.name + ".npz")) as saved:
            np.testing.assert_array_equal(saved["id"], epochs.id[fold.test])
            np.testing.assert_array_equal(saved["valid_id"], epochs.id[fold.valid])
            x = SUBJECTWISE.normalisation(epochs, fold)(epochs.x[fold.valid])
            expected = softmax(predict_logits(load_network(path)[0], x))
            np.testing.assert_allclose(saved["valid_prob"], expected, atol=1e-6)


def test_epochwise_runs_without_context(tmp_path):
    epochs, key = toy(), replace(KEY, protocol="epochwise")
    settings = TrainSettings(lr=0.01, batch=32, epochs=1, select_by="acc")
    result = validate(tmp_path, epochs, epoch_folds(len(epochs), k=2), settings, key)
    assert len(result.predictions) == len(epochs)
    assert list(Scored(result).probabilities) == ["none"]
    assert set(score_rows(Scored(result))["context"]) == {"none"}


# Rows of the result files


def test_score_rows_are_pooled_over_merged_predictions(whole):
    predictions, scored = whole.predictions, Scored(whole)
    rows = score_rows(scored)
    assert list(rows) == "protocol genotype channels cells pruned context seed fold acc mf1 kappa mgm n".split()
    assert rows.groupby("context", sort=False)["fold"].apply(list).to_dict() == {c: [0, 1, "pooled"] for c in CONTEXTS}
    for context, predicted in scored.staged.items():
        for fold in (0, 1, "pooled"):
            chosen = np.full(len(predictions), True) if fold == "pooled" else predictions["fold"].to_numpy() == fold
            y, p = predictions["y"].to_numpy()[chosen], predicted[chosen]
            row = rows[(rows["context"] == context) & (rows["fold"] == fold)].iloc[0]
            assert row["n"] == len(y)
            assert row["acc"] == pytest.approx(accuracy_score(y, p))
            assert row["mf1"] == pytest.approx(f1_score(y, p, labels=range(5), average="macro", zero_division=0))
            assert row["kappa"] == pytest.approx(cohen_kappa_score(y, p))


def test_confusions_by_night_add_up_to_the_scores(whole):
    """Per context and night, as scikit-learn counts them; together they score as crossval.csv says."""
    predictions, scored = whole.predictions, Scored(whole)
    rows, pooled = night_rows(scored), score_rows(scored).query("fold == 'pooled'")
    assert list(rows) == results.COLUMNS["confusion_by_night.csv"]
    nights = sorted(set(predictions["night"]))
    assert rows.groupby("context").night.apply(list).to_dict() == {c: nights for c in CONTEXTS}
    for context, predicted in scored.staged.items():
        chosen = rows[rows.context == context].set_index("night")[metrics.CELLS]
        for night in nights:
            mine = (predictions["night"] == night).to_numpy()
            plain = confusion_matrix(predictions["y"][mine], predicted[mine], labels=range(5))
            np.testing.assert_array_equal(chosen.loc[night].to_numpy().reshape(5, 5), plain)
        total = chosen.to_numpy().sum(0).reshape(5, 5)
        assert pooled[pooled.context == context].kappa.item() == pytest.approx(metrics.scores(total)["kappa"])


def test_confusion_and_class_rows_add_up(whole):
    predictions = whole.predictions
    cells, classes = confusion_rows(Scored(whole)), class_rows(Scored(whole))
    assert len(cells) == 25
    assert cells["n"].sum() == len(predictions)
    by_true = cells.groupby("true")["n"].sum()
    assert [by_true[stage] for stage in STAGES] == np.bincount(predictions["y"], minlength=5).tolist()
    hits = cells[cells["true"] == cells["predicted"]].set_index("true")["n"]
    np.testing.assert_allclose(classes.set_index("stage")["recall"], [hits[s] / by_true[s] for s in STAGES])


def test_probabilities_that_are_kept_give_the_scores_again(whole, tmp_path):
    """In half precision, with the contexts' powers beside them: the same stages."""
    scored = Scored(whole)
    write_probabilities(scored, tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.name == "edf20-published_subjectwise_C2_L3_seed42.npz"
    with np.load(file, allow_pickle=False) as kept:
        assert NetworkKey.parse(json.loads(str(kept["network"]))) == KEY
        np.testing.assert_array_equal(kept["id"], whole.predictions["id"])
        np.testing.assert_array_equal(kept["prob"].argmax(1), scored.staged["none"])
        night = whole.predictions["night"].to_numpy(str)
        contexts = {}
        for number, weight, other, rarity in kept["powers"].tolist():
            full, chosen = scored.contexts[int(number)]
            assert (weight, other, rarity) == pytest.approx((full.weight, chosen.weight, chosen.rarity))
            contexts[int(number)] = full, chosen
        again = in_context(kept["prob"].astype(np.float32), night, kept["fold"], contexts)
    for context, prob in scored.probabilities.items():
        np.testing.assert_allclose(again[context], prob, atol=2e-3)


def test_half_precision_never_changes_which_stage_is_most_probable():
    prob = np.float32(
        [[0.3000001, 0.3, 0.4 - 1e-7, 0, 0], [0.4, 0.4000001, 0.1, 0.05, 0.05], [0.2, 0.2, 0.2, 0.2, 0.2]]
    )
    half = halved(prob)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half.argmax(1), prob.argmax(1))
    np.testing.assert_allclose(half, prob, atol=5e-4)


@pytest.mark.parametrize("key", [KEY, replace(KEY, origin="searched", variant="distilled", pruned=0.25)])
def test_a_key_is_read_as_it_was_written(key):
    assert NetworkKey.parse(key.columns()) == key
    frame = results.with_parts(pd.DataFrame([key.columns()]))
    assert frame[results.PARTS].iloc[0].tolist() == [key.dataset, key.origin, key.variant]
