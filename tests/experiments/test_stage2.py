"""Stage 2 on a small trained network: pruning, the sweep, what grows back, and comparisons on the same epochs."""

import json
import re
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score
from toy import TINY, save_nights, toy

from sleepkit import results
from sleepkit.epochs import STAGES
from sleepkit.evaluation import crossval, protocols
from sleepkit.evaluation.calibration import expected_calibration_error, fit_temperature, temper
from sleepkit.evaluation.context import fit_context, smooth
from sleepkit.evaluation.fold import fold_probabilities
from sleepkit.evaluation.protocols import SUBJECTWISE
from sleepkit.evaluation.training import TrainSettings, fit, predict_logits
from sleepkit.execution import paths
from sleepkit.experiments import ablation, stage2, sweep
from sleepkit.experiments import checks as verdicts
from sleepkit.experiments import compare as comparison
from sleepkit.experiments import release as releasing
from sleepkit.experiments.ablation import SEARCHES, ablate
from sleepkit.experiments.release import CHOOSERS, release
from sleepkit.experiments.stage2 import Stage2, first_fold, prune_and_finetune
from sleepkit.experiments.trained import load_pruned, load_trained, seeds_of
from sleepkit.metrics import CELLS, confusion, scores, softmax
from sleepkit.network.saved import load_network, save_network
from sleepkit.network.size import count_parameters
from sleepkit.network.sleepnet import SleepNet, new_network
from sleepkit.paper.published import published
from sleepkit.pruning.filters import prune_filters, released_mask
from sleepkit.scoring import load_model, score

TRAIN = TrainSettings(lr=0.01, batch=32, epochs=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Stage 1's list of networks, two seeds subject-wise and one epoch-wise, and what stage 2 makes of them."""
    root = tmp_path_factory.mktemp("root")
    patch = pytest.MonkeyPatch()
    patch.setattr(paths, "ROOT", root)
    patch.setenv("SLEEPKIT_RUNS", str(root / "runs"))
    epochs, listed, nights = toy(6, samples=60), [], []
    settings = Stage2("toy", finetune_epochs=2, ablation_seeds=(), ratios=(0, 0.5))
    settings = replace(settings, beside=("released", "distilled", "ensemble"))
    folds = protocols.subject_folds(epochs.subject, 2, 1)
    kept = epochs.subset(np.arange(len(epochs)) % 9 > 0)
    for protocol, data, sides, seed in (
        ("epochwise", kept, protocols.epoch_folds(len(kept)), 0),
        ("subjectwise", epochs, folds, 0),
        ("subjectwise", epochs, folds, 1),
    ):
        keys = {"protocol": protocol, "genotype": "edf20-toy", "channels": 4, "cells": 3}
        keys |= {"pruned": 0.0, "context": "none", "seed": seed}
        train, start = replace(TRAIN, seed=seed), partial(new_network, TINY, 4, 3)
        predictions, _, networks = crossval.cross_validate(data, sides, protocol, start, train, root / "first", keys)
        nights.append(crossval.night_rows(predictions, keys))
        where = {path.name.removeprefix("fold"): str(path) for path in networks}
        listed.append({"keys": keys, "networks": where, "train": asdict(train), "data": data.content})
    settings.first.mkdir(parents=True)
    facts = {"search": {}, "folds": protocols.manifest(epochs, folds), "networks": listed}
    (settings.first / "networks.json").write_text(json.dumps(facts))
    stage1 = paths.results("toy") / "stage1_edf20"
    stage1.mkdir(parents=True)
    np.savez(stage1 / "kept.npz", train=kept.id[::2], valid=kept.id[1::2])
    results.write_table(pd.concat(nights), stage1 / "confusion_by_night.csv")
    trained = load_trained(settings)
    yield epochs, kept, trained, settings, prune_and_finetune(epochs, trained, settings)
    patch.undo()


def test_subject_wise_networks_come_first_with_their_folds(made):
    epochs, _, trained, settings, _ = made
    assert [network.keys["protocol"] for network in trained] == ["subjectwise", "subjectwise", "epochwise"]
    for ours, fold in zip(stage2.folds_of(epochs, trained[0], settings), protocols.subject_folds(epochs.subject, 2, 1)):
        for side in ("train", "valid", "test"):
            np.testing.assert_array_equal(getattr(ours, side), getattr(fold, side))


def test_other_subjects_than_those_of_stage_1_are_refused(made):
    """Whoever is missing: the first subject, the last one, or two of them; nothing is overwritten."""
    epochs, _, trained, settings, _ = made
    comparison.calibrate(epochs, trained, settings)
    before = (settings.folder / "calibration.csv").read_bytes()
    for missing in ([0], [5], [2, 3]):
        fewer = epochs.subset(~np.isin(epochs.subject, missing))
        with pytest.raises(ValueError, match=rf"subjects: {re.escape(str(missing))} .*networks.json .*of stage 1"):
            prune_and_finetune(fewer, trained, settings)
        with pytest.raises(ValueError, match=r"\d+ of \d+ epochs that a network was .* are not here; .* of stage 1"):
            comparison.calibrate(fewer, trained, settings)
    assert (settings.folder / "calibration.csv").read_bytes() == before


def test_networks_of_other_epochs_are_refused(made):
    """The same stages of the same people, with another signal: parameters and scores would be of two data sets."""
    epochs, kept, trained, settings, _ = made
    longer = replace(epochs, x=np.repeat(epochs.x, 2, axis=1))
    for network, others in ((trained[0], longer), (trained[2], kept.subset(np.arange(1, len(kept))))):
        with pytest.raises(ValueError, match=r"networks\.json: its \w+ networks were trained on other epochs"):
            stage2.folds_of(others, network, settings)
    more = toy(7, samples=60)
    assert len(more) > len(epochs) and len(stage2.folds_of(more, trained[0], settings)) == 2
    with pytest.raises(ValueError, match="stage1_edf20 of profile toy again"):
        prune_and_finetune(longer, trained, settings)


@pytest.mark.parametrize(
    "change",
    [lambda text: text[:-9], lambda text: text.replace('"lr"', '"lrr"'), lambda text: text.replace('"data"', '"d"')],
)
def test_a_damaged_or_older_list_of_networks_is_named(made, change):
    _, _, _, settings, _ = made
    path = settings.first / "networks.json"
    whole = path.read_text()
    try:
        path.write_text(change(whole))
        with pytest.raises(
            ValueError, match=r"networks\.json: not a list of networks .* run the notebook stage1_edf20"
        ):
            load_trained(settings)
    finally:
        path.write_text(whole)


@pytest.mark.parametrize("name", ["ratios", "sweep_seeds", "ablation_seeds", "methods"])
def test_what_stands_twice_would_count_twice(name):
    value = {"ratios": (0.5, 0.5), "methods": ("l1", "l1")}.get(name, (0, 1, 0))
    with pytest.raises(ValueError, match=f"{name}=.*stands twice"):
        Stage2("toy", **{name: value})


@pytest.mark.parametrize(
    ("dataset", "cells", "seed"), [("edf20", 7, 49), ("edf20", 9, 42), ("edf20", 11, 42), ("edf78", 7, 42)]
)
def test_epochwise_folds_are_those_of_the_authors_second_stage(made, dataset, cells, seed):
    _, kept, trained, settings, _ = made
    network = replace(trained[2], keys=trained[2].keys | {"cells": cells})
    folds = stage2.folds_of(kept, network, replace(settings, dataset=dataset))
    for fold, expected in zip(folds, protocols.epoch_folds(len(kept), seed=seed), strict=True):
        np.testing.assert_array_equal(fold.test, expected.test)
        np.testing.assert_array_equal(fold.train, expected.train)


def test_every_network_is_pruned_and_tested_as_its_protocol_says(made):
    epochs, kept, trained, settings, rows = made
    pooled = rows.query("fold == 'pooled' and context == 'none'").set_index(["genotype", "pruned", "protocol", "seed"])
    ways = (("edf20-toy", 0.5), ("edf20-toy-released", 0.5), ("edf20-toy-distilled", 0.5), ("edf20-toy-distilled", 0))
    taught = ("edf20-toy-ensemble", 0.5)  # by the networks of several seeds, which there are subject-wise
    assert sorted(pooled.index) == sorted(
        (genotype, pruned, protocol, seed)
        for genotype, pruned in (*ways, taught)
        for protocol, seed in (("subjectwise", 0), ("subjectwise", 1), ("epochwise", 0))
        if (genotype, pruned) != taught or protocol == "subjectwise"
    )
    assert (
        pooled.n == [len(kept) if protocol == "epochwise" else len(epochs) for _, _, protocol, _ in pooled.index]
    ).all()
    for full, pruned in zip(trained, load_pruned(settings), strict=True):
        assert pruned.keys == full.keys | {"pruned": 0.5}
        for fold, path in pruned.networks.items():
            expected = prune_filters(load_network(full.networks[fold])[0], 0.5)
            assert count_parameters(load_network(path)[0]) == count_parameters(expected)
    sizes = results.read("toy", "stage2_prune/parameters.csv").set_index(["genotype", "pruned"]).params
    small, masked, distilled, again, ensemble = (sizes[way] for way in (*ways, taught))
    assert small == distilled == ensemble < masked == again == count_parameters(SleepNet(TINY, 4, 3))


def test_the_verdict_fails_where_a_network_is_not_as_it_was_pruned(made, monkeypatch):
    """The first network kept whole, or all pruned by another ratio than the settings say."""
    epochs, _, trained, settings, rows = made
    good = verdicts.pruning_checks(epochs, trained, rows, [], settings)
    grown = "networks that grew back in fine-tuning"
    assert good.set_index("claim").holds.drop("better than chance: kappa of the pruned networks").all()
    pruned = load_pruned(settings)
    monkeypatch.setattr(verdicts, "load_pruned", lambda settings: [trained[0], *pruned[1:]])
    bad = verdicts.pruning_checks(epochs, trained, rows, [], settings).set_index("claim")
    assert bad.measured[grown] == str(len(trained[0].networks)) and not bad.holds[grown]
    unpruned = verdicts.pruning_checks(epochs, trained, rows, [], replace(settings, ratio=0.25)).set_index("claim")
    assert not unpruned.holds[grown]


def test_the_claim_is_measured_and_fails_where_pruning_costs_more_than_half_a_point():
    """Of what importance removed alone, each epoch for itself; a gain is no loss."""
    facts = {"genotype": "edf20-published", "channels": 8, "metric": "acc", "seeds": 3, "subjects": 20}
    rows = [(7, "pruned - full", -0.0051), (9, "pruned - full", -0.0049), (11, "pruned - full", 0.012)]
    rows += [(7, "pruned - full, context", -0.2), (9, "distilled - full", -0.2)]
    frame = [
        facts | {"cells": cells, "comparison": name, "difference": lost, "low": lost - 0.01, "high": lost + 0.02}
        for cells, name, lost in rows
    ]
    frame.append(frame[1] | {"metric": "mf1", "difference": -0.2})
    claim = verdicts.accuracy_claim(pd.DataFrame(frame))
    assert claim.holds.to_list() == [False, True, True]
    assert claim.measured.to_list() == [
        f"{words})" for words in ("0.5 points (-1.5 to 1.5", "0.5 points (-1.5 to 1.5", "-1.2 points (-3.2 to -0.2")
    ]


def test_distillation_trains_towards_the_stages_and_what_the_full_network_says(made):
    """The targets by hand, the training by a plain call of `fit`, from the same pruned network: the same answers."""
    epochs, _, trained, settings, _ = made
    network, fold = trained[0], stage2.folds_of(epochs, trained[0], settings)[0]
    scale = SUBJECTWISE.normalisation(epochs, fold)
    (x, y), valid, test = ((scale(epochs.x[rows]), epochs.y[rows]) for rows in (fold.train, fold.valid, fold.test))
    full = load_network(network.networks[0])[0]
    with torch.no_grad():
        says = torch.softmax(full.double()(torch.from_numpy(x).double().unsqueeze(1)), dim=1).numpy()
    targets = stage2.soft_targets([network.networks], 0, x, y, "cpu")
    np.testing.assert_allclose(targets, (says + (y[:, None] == np.arange(5))) / 2, atol=1e-6)
    assert targets.dtype == np.float32
    net = prune_filters(load_network(network.networks[0])[0], 0.5)
    fit(net, (x, targets), valid, network.train, paths.ROOT / "by_hand", "key")
    plan = stage2.pruning_plan(epochs, network, settings, "distilled", 0.5)
    assert plan.settings == network.train, "as long and as fast as the full network's"
    kept = fold_probabilities(Path(plan.folder) / plan.key() / "fold0")
    np.testing.assert_allclose(kept["prob"], softmax(predict_logits(net, test[0])), atol=1e-5)
    plain = stage2.pruning_plan(epochs, network, settings, "importance", 0.5)
    assert plain.targets is None and plain.settings.epochs == settings.finetune_epochs


def test_an_ensemble_teaches_by_the_mean_of_what_the_networks_of_all_seeds_say(made):
    """The targets by hand; the run's name tells the teachers, and networks of one seed have none."""
    epochs, _, trained, settings, _ = made
    pair, fold = trained[:2], stage2.folds_of(epochs, trained[0], settings)[1]
    assert [seeds_of(network, trained) for network in trained] == [pair, pair, trained[2:]]
    x, y = SUBJECTWISE.normalisation(epochs, fold)(epochs.x[fold.train]), epochs.y[fold.train]
    plan = stage2.pruning_plan(epochs, pair[0], settings, "ensemble", 0.5, teachers=pair)
    says = [softmax(predict_logits(load_network(network.networks[1])[0], x)) for network in pair]
    assert np.abs(says[0] - says[1]).max() > 0.01
    expected = (np.mean(says, axis=0) + np.eye(5)[y]) / 2
    np.testing.assert_allclose(plan.targets(1, x, y, "cpu"), expected, atol=1e-6)
    assert plan.settings == pair[0].train and (Path(plan.folder) / plan.key() / "fold1.npz").exists()
    one, turned = (
        stage2.pruning_plan(epochs, pair[0], settings, "ensemble", 0.5, teachers=some)
        for some in (pair[:1], pair[::-1])
    )
    assert one.key() != plan.key() == turned.key()
    with pytest.raises(ValueError, match='"ensemble" learns from networks of several seeds, and stage 1 trained one'):
        prune_and_finetune(epochs, [trained[0], trained[2]], settings)


def test_methods_that_have_no_rows_of_their_own_are_refused():
    with pytest.raises(ValueError, match="beside: .'l1'. is not among scratch, released, distilled, ensemble"):
        Stage2("toy", beside=("l1",))


# The sweep


@pytest.fixture(scope="module")
def swept(made):
    epochs, _, trained, settings, _ = made
    return sweep.sweep_ratios(epochs, trained, settings)


def test_sweep_has_a_row_per_method_ratio_and_seed_on_the_first_fold(made, swept):
    epochs, _, trained, settings, _ = made
    assert list(swept) == results.COLUMNS["sweep.csv"]
    rows = set(swept[["method", "ratio", "seed"]].itertuples(index=False, name=None))
    assert rows == {(m, r, s) for m in stage2.METHODS for r in (0, 0.5) for s in (0, 1)} - {
        ("scratch", 0, seed) for seed in (0, 1)
    }
    assert len(swept) == 22
    assert set(swept.n) == {len(stage2.folds_of(epochs, trained[0], settings)[0].test)}
    sizes = swept.set_index(["method", "ratio"]).params
    full = count_parameters(SleepNet(TINY, 4, 3))
    assert set(sizes["released"]) == {full}, "nothing is removed"
    for method in ("importance", "random", "l1", "distilled"):
        assert set(sizes[method, 0]) == {full} and (sizes[method, 0.5] < full).all()
    assert set(sizes["scratch", 0.5]) == set(sizes["importance", 0.5]), "as wide as the pruned network"
    zero = swept[(swept.ratio == 0) & ~swept.method.isin(["released", "distilled"])].groupby("seed")
    assert (zero.acc.nunique() == 1).all(), "without pruning the methods are one"


def test_sweep_at_the_notebook_s_ratio_is_the_notebook_s_fold(made, swept):
    rows = made[4].query("protocol == 'subjectwise' and context == 'none' and fold == 0 and genotype == 'edf20-toy'")
    ours = swept.query("method == 'importance' and ratio == 0.5").set_index("seed").acc
    assert ours.to_dict() == pytest.approx(rows.set_index("seed").acc.to_dict())


def test_from_scratch_has_the_widths_of_the_pruned_network_and_none_of_its_weights(made):
    networks = made[2][0].networks
    pruned, fresh = (stage2.pruned_network(networks, 0.5, 0.5, method, 0, 0) for method in ("importance", "scratch"))
    assert fresh.widths == pruned.widths
    pairs = zip(pruned.named_parameters(), fresh.parameters(), strict=True)
    assert not [name for (name, one), other in pairs if one.dim() > 1 and torch.equal(one, other)]


def test_the_sweep_compares_the_methods_that_are_asked_for(made, swept):
    epochs, _, trained, settings, _ = made
    chosen = replace(settings, methods=("l1", "scratch"))
    rows = sweep.sweep_ratios(epochs, trained, chosen)
    expected = swept[swept.method.isin(chosen.methods)]
    pd.testing.assert_frame_equal(rows, expected.sort_values("method", kind="stable").reset_index(drop=True))
    with pytest.raises(ValueError, match="methods: .'l2'. is not among importance, random"):
        replace(settings, methods=("l2",))


def test_the_sweep_trains_seeds_that_stage_1_did_not(made, swept):
    epochs, _, trained, settings, _ = made
    fewer = trained[:1] + trained[2:]  # as if stage 1 had been run with seed 0 alone
    chosen = replace(settings, methods=("importance", "scratch"), sweep_seeds=(1, 0))
    rows = sweep.sweep_ratios(epochs, fewer, chosen).sort_values(["method", "ratio", "seed"], ignore_index=True)
    expected = swept[swept.method.isin(chosen.methods)].sort_values(["method", "ratio", "seed"], ignore_index=True)
    pd.testing.assert_frame_equal(rows, expected)  # the same network: seed 1 of stage 1
    new = sweep.sweep_networks(epochs, fewer, chosen)
    assert [network.keys["seed"] for network in new] == [1, 0]
    assert list(new[0].networks) == [0], "trained on the sweep's folds only"
    assert [network.keys["seed"] for network in sweep.sweep_networks(epochs, trained, settings)] == [0, 1]


def test_the_sweep_is_refused_on_folds_that_stage_1_did_not_train(made):
    """At once, before other seeds are trained; on the folds that are there, and with other seeds alone, it is not."""
    epochs, _, trained, settings, _ = made
    one = [replace(network, networks={1: network.networks[1]}) for network in trained[:2]]
    before = sorted(settings.first.rglob("*"))
    for seeds in ((), (1,), (7, 0)):
        with pytest.raises(ValueError, match=r"sweep_folds: \[0\]: stage 1 trained seed [01] on the folds \[1\]; name"):
            sweep.sweep_ratios(epochs, one, replace(settings, sweep_seeds=seeds))
    assert sorted(settings.first.rglob("*")) == before
    for folds in ((1,), ()):
        found = sweep.sweep_networks(epochs, one, replace(settings, sweep_folds=folds))
        assert [list(network.networks) for network in found] == [[1], [1]]
    (new,) = sweep.sweep_networks(epochs, one, replace(settings, sweep_seeds=(7,)))
    assert list(new.networks) == [0]
    found = sweep.sweep_networks(epochs, one, replace(settings, sweep_seeds=(7, 0), sweep_folds=()))
    assert [list(network.networks) for network in found] == [[1], [1]], "of all seeds the same folds"
    more = toy(7, samples=60)  # of one subject more than stage 1 had
    (wider,) = sweep.sweep_networks(more, one, replace(settings, sweep_seeds=(8,)))
    assert len(stage2.folds_of(more, wider, settings)) == 2


def test_without_ratios_there_is_no_sweep(made, swept):
    epochs, _, trained, settings, _ = made
    before = (settings.folder / "sweep.csv").read_text()
    assert sweep.sweep_ratios(epochs, trained, replace(settings, ratios=())).empty
    assert (settings.folder / "sweep.csv").read_text() == before


def test_what_no_ratio_can_be_is_refused():
    with pytest.raises(ValueError, match=r"ratios: \[1.0\]: a share"):
        Stage2("toy", ratios=(0.5, 1.0))
    with pytest.raises(ValueError, match=r"ratio: \[1.0\]: a share"):
        Stage2("toy", ratio=1.0)


def test_pruning_without_epochs_after_it_is_refused():
    with pytest.raises(ValueError, match="finetune_epochs=0: must be at least 1"):
        Stage2("toy", finetune_epochs=0)


@pytest.mark.parametrize("changes", [{"epoch": 3}, 3])
def test_changes_that_the_searches_of_table_8_do_not_have(changes):
    with pytest.raises(
        ValueError, match="ablation_search=.*expected a dict of some of the search's settings: channels"
    ):
        Stage2("toy", ablation_search=changes)


def test_searches_of_table_8_that_find_the_same_architecture_share_its_training(made):
    """One epoch is too short for a round of pruning: all four searches are one, and so are their networks."""
    epochs, _, trained, settings, _ = made
    search = {"channels": 2, "cells": 3, "nodes": 4, "epochs": 1, "batch": 64}
    table = ablate(epochs, trained, replace(settings, ablation_seeds=(0,), ablation_search=search)).set_index("variant")
    alike, others = table.loc[list(SEARCHES)], table.drop(list(SEARCHES))
    assert len(alike.drop_duplicates()) == 1
    trainings = [path for path in (settings.work / "ablation").iterdir() if (path / "fold0.safetensors").exists()]
    assert len(trainings) == 1 + len(others) == 8


def test_networks_of_table_8_are_trained_on_what_data_pruning_left(made, monkeypatch):
    """Those of a search without it, and that of a drawn architecture, on the whole fold."""
    epochs, _, trained, settings, _ = made
    trained_on, left = [], {}
    train, search_fold = crossval.cross_validate, ablation.search_fold

    def watched(epochs, folds, *rest):
        trained_on.append(set(epochs.id[folds[0].train].tolist()))
        assert set(folds[0].test) == set(whole.test) and set(folds[0].valid) == set(whole.valid)
        return train(epochs, folds, *rest)

    def searched(job):
        found = search_fold(job)
        left[job.settings.data_pruning] = {int(number) for half in found.kept.values() for number in half}
        return found

    monkeypatch.setattr(ablation.crossval, "cross_validate", watched)
    monkeypatch.setattr(ablation, "search_fold", searched)
    whole = first_fold(epochs, trained[0], settings)
    search = {"channels": 2, "cells": 3, "nodes": 4, "epochs": 2, "batch": 64, "prune_every": 2, "prune_until": 2}
    table = ablate(epochs, trained, replace(settings, ablation_seeds=(0,), ablation_search=search))
    everything = set(epochs.id[whole.train].tolist())
    assert everything <= left[False] and len(everything - left[True]) > 0
    for row, ids in zip(table.itertuples(), trained_on, strict=True):
        pruned = row.variant not in ("DARTS", "+ DOP", "random architecture")
        assert ids == (everything & left[True] if pruned else everything), row.variant
        assert row.trained_on == len(ids)


# What grows back


def test_regrowth_counts_what_was_zero_and_is_not():
    """Against a plain count, weight by weight, before and after three steps."""
    torch.manual_seed(0)
    net = released_mask(SleepNet(TINY, 4, 3), 0.5)
    before = {name: weight.detach().clone() for name, weight in net.named_parameters() if weight.ndim == 3}
    x, y = torch.randn(40, 64), torch.arange(40) % 5
    rows = sweep.count_regrowth(net, x, y, lr=0.01, batch=16, steps=3)
    zero = back = filters = filters_back = 0
    for name, old in before.items():
        new = net.get_parameter(name).detach()
        for j in range(len(old)):
            zero += int((old[j] == 0).sum())
            back += int(((old[j] == 0) & (new[j] != 0)).sum())
            filters += bool((old[j] == 0).all())
            filters_back += bool((old[j] == 0).all() and (new[j] != 0).any())
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[0] == {
        "step": 0,
        "zeroed_weights": zero,
        "back_weights": 0,
        "zeroed_filters": filters,
        "back_filters": 0,
    }
    assert (rows[-1]["back_weights"], rows[-1]["back_filters"]) == (back, filters_back)
    assert 0 < filters_back <= filters and 0 < back <= zero


def test_regrowth_of_every_seed_is_written(made):
    epochs, _, trained, settings, _ = made
    frame = sweep.regrowth(epochs, trained, settings, steps=4)
    assert frame[["seed", "step"]].to_numpy().tolist() == [[seed, step] for seed in (0, 1) for step in range(5)]
    assert (frame.groupby("seed").zeroed_weights.nunique() == 1).all()
    pd.testing.assert_frame_equal(results.read("toy", "stage2_prune/regrowth.csv"), frame)


# Comparisons


def predicted(epochs, network):
    """Labels and predictions of a network's test epochs, looked up one by one."""
    place = {sample: row for row, sample in enumerate(epochs.id.tolist())}
    parts = [fold_probabilities(path) for path in network.networks.values()]
    rows = [place[sample] for part in parts for sample in part["id"].tolist()]
    return epochs.y[rows], np.concatenate([part["prob"] for part in parts])


def test_pruned_against_full_is_the_mean_over_seeds(made, capsys):
    epochs, _, trained, settings, _ = made
    frame = comparison.paired_differences(settings)
    assert "No comparison with AttnSleep: it staged epochs of 500 samples, these have 60." in capsys.readouterr().out
    assert list(frame) == results.COLUMNS["differences.csv"]
    pairs = ("pruned - full", "distilled - full", "ensemble - full", "ensemble - distilled", "full distilled - full")
    pairs += ("distilled - full distilled",)
    names = [pair + context for pair in pairs for context in ("", ", context", ", context with rarity")]
    assert frame.comparison.tolist() == np.repeat(names, 4).tolist()
    assert set(frame.seeds) == {2} and set(frame.subjects) == {6}

    def distilled(ratio, way="distilled"):
        plans = [
            stage2.pruning_plan(epochs, network, settings, way, ratio, teachers=trained[:2]) for network in trained[:2]
        ]
        runs = [Path(plan.folder) / plan.key() for plan in plans]
        return [replace(network, networks={k: run / f"fold{k}" for k in (0, 1)}) for network, run in zip(trained, runs)]

    sides = {"full": trained, "pruned": load_pruned(settings), "distilled": distilled(0.5)}
    sides["ensemble"] = distilled(0.5, "ensemble")
    acc = {
        name: [accuracy_score(y, prob.argmax(1)) for y, prob in (predicted(epochs, one) for one in networks[:2])]
        for name, networks in (sides | {"full distilled": distilled(0.0)}).items()
    }
    for pair in pairs:
        row = frame.set_index(["comparison", "metric"]).loc[(pair, "acc")]
        left, right = (np.mean(acc[name]) for name in pair.split(" - "))
        assert row.difference == pytest.approx(left - right)
        assert row.low <= row.difference <= row.high


def test_the_full_network_trained_again_is_a_side_of_its_own(made):
    """Were it right everywhere, what it gains on the full one and what pruning costs against it would still add up."""
    settings = made[3]
    path = settings.folder / "confusion_by_night.csv"
    whole = pd.read_csv(path)
    right, again = whole.copy(), whole.pruned == 0
    counts = right.loc[again, CELLS].to_numpy().reshape(-1, 5, 5).sum(axis=2)
    right.loc[again, CELLS] = (counts[:, :, None] * np.eye(5, dtype=int)).reshape(-1, 25)
    try:
        results.write_table(right, path)
        acc = comparison.paired_differences(settings).query("metric == 'acc'").set_index("comparison").difference
    finally:
        results.write_table(whole, path)
        comparison.paired_differences(settings)
    assert acc["full distilled - full"] > 0.5 and acc["distilled - full distilled"] < -0.5
    assert acc["full distilled - full"] + acc["distilled - full distilled"] == pytest.approx(acc["distilled - full"])


def test_networks_that_were_tested_on_other_epochs_are_not_paired(made):
    """One epoch of one night with another stage, a night that one side lacks, be it a seed or a depth, a ratio that
    nobody pruned by."""
    settings = made[3]
    path = settings.folder / "confusion_by_night.csv"
    whole, before = pd.read_csv(path), comparison.paired_differences(settings)
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
                comparison.paired_differences(settings)
            results.write_table(right, file)
        path.unlink()
        with pytest.raises(results.MissingResult, match="run stage2_prune --profile toy"):
            comparison.paired_differences(settings)
    finally:
        results.write_table(whole, path)
        results.write_table(shallow, first)
    with pytest.raises(ValueError, match="no network of edf20 pruned by 0.3 with a seed of stage 1"):
        comparison.paired_differences(replace(settings, ratio=0.3))
    pd.testing.assert_frame_equal(results.read("toy", "stage2_prune/differences.csv"), before, check_dtype=False)


def test_differences_with_context_are_those_of_the_smoothed_predictions(made):
    """Of what the cross-validation wrote: crossval.csv's rows of context "both"."""
    epochs, _, trained, settings, rows = made
    frame = comparison.paired_differences(settings).set_index(["comparison", "metric"])
    pooled = rows.query("protocol == 'subjectwise' and fold == 'pooled' and genotype == 'edf20-toy'")
    pruned = pooled[pooled.context == "both"].set_index("seed")
    folds, start = stage2.folds_of(epochs, trained[0], settings), partial(new_network, TINY, 4, 3)
    full = [
        crossval.cross_validate(epochs, folds, "subjectwise", start, network.train, paths.ROOT / "first", network.keys)[
            0
        ]
        for network in trained[:2]
    ]
    for metric in ("acc", "mf1", "kappa"):
        smoothed = [predictions[[f"c_{stage}" for stage in STAGES]].to_numpy().argmax(1) for predictions in full]
        matrices = [confusion(one["y"], stages) for one, stages in zip(full, smoothed, strict=True)]
        whole = [scores(matrix)[metric] for matrix in matrices]
        found = frame.loc[("pruned - full, context", metric)].difference
        assert found == pytest.approx(pruned[metric].mean() - np.mean(whole))


def test_differences_of_the_real_nights_follow_from_the_confusions_beside_them(monkeypatch):
    """Of the committed results of first5s-cpu; the confusions sum up to the scores in crossval.csv."""
    monkeypatch.setattr(comparison, "write_table", lambda frame, path: None)
    monkeypatch.setattr(paths, "ROOT", Path(__file__).parents[2])
    frame = comparison.paired_differences(Stage2("first5s-cpu"))
    pd.testing.assert_frame_equal(frame, results.read("first5s-cpu", "stage2_prune/differences.csv"), check_dtype=False)
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
    epochs, _, trained, settings, _ = made
    frame = comparison.calibrate(epochs, trained, settings)
    assert list(frame) == results.COLUMNS["calibration.csv"] and len(frame) == 4 * 15
    y, prob = predicted(epochs, trained[0])
    chosen = frame.set_index(["network", "temperature_scaled"]).sort_index()
    assert chosen.loc[("full", 0), "ece"].iloc[0] == pytest.approx(expected_calibration_error(y, prob))
    place, scaled, temperatures = {sample: row for row, sample in enumerate(epochs.id.tolist())}, [], []
    for path in trained[0].networks.values():
        fold = fold_probabilities(path)
        valid = epochs.y[[place[sample] for sample in fold["valid_id"].tolist()]]
        temperatures.append(fit_temperature(valid, fold["valid_prob"]))
        scaled.append(temper(fold["prob"], temperatures[-1]))
    assert chosen.loc[("full", 1), "ece"].iloc[0] == pytest.approx(
        expected_calibration_error(y, np.concatenate(scaled))
    )
    assert chosen.loc[("full", 1), "temperature"].iloc[0] == pytest.approx(np.mean(temperatures))
    assert set(chosen.groupby(level=[0, 1]).n.sum()) == {len(epochs)}


def test_stored_confusions_of_attnsleep_are_its_predictions(shared):
    """Night by night from what its repository stores, and the pooled scores that go with it."""
    stored = published(comparison.PEER[False]).set_index("night")
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
    stored = published(comparison.PEER[True]).set_index("night")
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
    stored = published(comparison.PEER[False])
    stored = stored[stored.night.str[3:5].isin(["00", "03"])]
    right = pd.DataFrame(0, index=stored.index, columns=CELLS)
    for stage in STAGES:
        right[f"{stage}_{stage}"] = stored[[f"{stage}_{said}" for said in STAGES]].sum(axis=1)
    return right.assign(night=stored.night)


def test_attnsleep_is_a_peer_on_the_same_nights_alone():
    nights = nights_of_peer()
    for context in (False, True):
        matrices, reason = comparison.peer_confusions(nights, 500, context)
        assert reason == "" and matrices.shape == (2, 5, 5)
        np.testing.assert_array_equal(matrices.sum((0, 2)), nights[CELLS].to_numpy().sum(0).reshape(5, 5).diagonal())
    reason = "it staged epochs of 500 samples, these have 3000"
    assert comparison.peer_confusions(nights, 3000) == (None, reason)
    changed = nights.assign(W_W=nights.W_W - 1, N1_N1=nights.N1_N1 + 1)
    assert comparison.peer_confusions(changed, 500) == (None, "it staged other epochs of night SC4001E0")
    elsewhere = nights.assign(night=nights.night.str.replace("SC40", "SC44"))
    assert comparison.peer_confusions(elsewhere, 500) == (None, "it did not stage night SC4401E0")


# The package's own weights


@pytest.fixture(scope="module")
def released(made, tmp_path_factory):
    """What `release` writes from the networks that were made, and the folder of the nights."""
    epochs, _, _, settings, rows = made
    save_nights(epochs, paths.runs("toy") / "nights")
    results.write_table(rows, paths.results("toy") / "stage2_prune" / "crossval.csv")
    full = rows.assign(pruned=0.0, acc=0.25)
    results.write_table(full, paths.results("toy") / "stage1_edf20" / "crossval.csv")
    folder = tmp_path_factory.mktemp("weights")
    return folder, release("toy", folder, cells=3), rows


def test_release_writes_networks_of_everybody_and_of_fold_0(made, released):
    epochs, _, trained, settings, _ = made
    folder, written, _ = released
    names = [name + way for way in ("", "_pruned", "_distilled") for name in ("edf20_first0.6s_L3", "fold0_L3")]
    assert [path.name for path in written] == names
    endings = {"edf20": (".json", ".onnx", ".safetensors"), "fold0": (".json", ".safetensors")}
    expected = {name + ending for name in names for ending in endings[name.split("_")[0]]}
    assert {path.name for path in folder.iterdir()} == expected
    everybody, fold0 = (load_network(folder / name)[1] for name in names[:2])
    train, valid = (everybody["training"][side] for side in ("train", "valid"))
    assert "test" not in everybody["training"] and len(valid) == CHOOSERS
    assert sorted(train + valid) == sorted(set(epochs.subject.tolist()))
    assert fold0["training"] == {side: trained[0].sides["0"][side] for side in ("train", "valid", "test")}
    same = zip(*(load_network(path)[0].parameters() for path in (folder / "fold0_L3", trained[0].networks[0])))
    assert all(torch.equal(one, other) for one, other in same)
    sizes = [everybody["parameters"], *(load_network(folder / name)[1]["parameters"] for name in names[2:])]
    assert sizes[1] < sizes[0] and len(set(sizes[1:])) == 1


def test_another_architecture_of_the_same_name_is_trained_on_everybody_anew(made, tmp_path, monkeypatch):
    epochs, _, trained, settings, _ = made
    runs = []
    monkeypatch.setattr(releasing, "_carry_out", lambda plan, settings: runs.append(plan.key()))
    net, about = load_network(trained[0].networks[0])
    other = replace(TINY, normal=tuple(("conv_1x1", source) for _, source in TINY.normal))
    save_network(SleepNet(other, net.channels, len(net.cells)), tmp_path / "fold0", {})
    for networks in (trained[0].networks, {0: tmp_path / "fold0"}):
        releasing.train_everybody(epochs, releasing.everybody(epochs), replace(trained[0], networks=networks), settings)
    assert len(set(runs)) == 2


def test_what_stage_2_has_trained_is_released_as_it_is(made, released):
    """Fold 0's pruned and distilled networks lie among the runs of stage 2, and are told apart."""
    _, _, _, settings, _ = made
    runs = [load_network(path.with_suffix(""))[0] for path in (settings.work / "folds").glob("*/fold0.safetensors")]

    def weights(net):
        return torch.cat([parameter.flatten() for parameter in net.parameters()])

    pair = [weights(load_network(released[0] / f"fold0_L3_{way}")[0]) for way in ("pruned", "distilled")]
    for one in pair:
        assert sum(torch.equal(one, weights(net)) for net in runs) == 1
    assert not torch.equal(*pair)


def test_released_weights_quote_the_cross_validation_of_their_kind(made, released):
    folder, _, rows = released
    pooled = rows.query("protocol == 'subjectwise' and fold == 'pooled' and pruned == 0.5")
    kinds = {way: pooled[pooled.genotype == f"edf20-toy{ending}"] for way, ending in comparison.WAYS.items()}
    assert {len(kind) for kind in kinds.values()} == {8}  # two seeds, four contexts
    kinds["full"] = kinds["pruned"].assign(acc=0.25)
    names = {"edf20_first0.6s_L3": "full", "fold0_L3_pruned": "pruned", "fold0_L3_distilled": "distilled"}
    for name, kind in names.items():
        quoted = load_network(folder / name)[1]["cross_validation"]
        assert [quoted[key] for key in ("protocol", "folds", "seeds", "n")] == ["subjectwise", 2, 2, 96]
        assert quoted["data"].startswith("simulated sleep, 12 nights of 6 subjects, the first 0.6 s")
        means = kinds[kind].groupby("context")[results.SCORES].mean()
        for context, told in (("none", quoted), ("both", quoted["context"])):
            assert [told[score] for score in results.SCORES] == pytest.approx(means.loc[context].to_list(), abs=1e-5)


def test_released_weights_score_a_night_with_and_without_pytorch(made, released):
    epochs, folder = made[0], released[0]
    night = paths.runs("toy") / "nights" / "SC4001E0.npz"
    frames = [score(night, folder / f"edf20_first0.6s_L3{ending}").epochs for ending in ("", ".onnx")]
    assert len(frames[0]) == (epochs.night == "SC4001E0").sum()
    np.testing.assert_allclose(frames[0][list(STAGES)], frames[1][list(STAGES)], atol=1e-4)
    context = load_model(folder / "fold0_L3").context
    np.testing.assert_allclose(context.transition.sum(axis=1), 1)


def test_a_depth_that_was_not_trained_is_refused(released, tmp_path):
    with pytest.raises(ValueError, match="profile toy has no network of 9 cells with a fold 0"):
        release("toy", tmp_path, cells=9)
