"""Stage 2 on a small trained network: what is loaded, pruned, and trained again."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from toy import TINY, save_nights, toy

from sleepkit import results
from sleepkit.evaluation import protocols
from sleepkit.evaluation.crossval import fold_probabilities
from sleepkit.evaluation.protocols import SUBJECTWISE
from sleepkit.evaluation.training import fit, predict_logits
from sleepkit.execution import paths, record
from sleepkit.experiments import checks, stage2
from sleepkit.experiments.settings import Ablation, Pruning, Run, Sweep
from sleepkit.experiments.stage2 import load_networks, load_pruned, prune_and_finetune, seeds_of
from sleepkit.metrics import softmax
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_parameters
from sleepkit.network.sleepnet import SleepNet
from sleepkit.pruning.filters import prune_filters


def test_subject_wise_networks_come_first_with_their_folds(made):
    assert [network.key.protocol for network in made.networks] == ["subjectwise", "subjectwise", "epochwise"]
    for ours, fold in zip(made.networks[0].folds, protocols.subject_folds(made.epochs.subject, 2, 1), strict=True):
        for side in ("train", "valid", "test"):
            np.testing.assert_array_equal(getattr(ours, side), getattr(fold, side))


def other_nights(made, folder, epochs):
    """The run with other prepared nights: its list of networks names those of before."""
    run = replace(made.run, profile=folder.name)
    save_nights(epochs, paths.runs(run.profile) / "nights")
    for name in ("runs/{}/stage1_edf20/networks.json", "results/{}/stage1_edf20/kept.npz"):
        target = made.root / name.format(run.profile)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((made.root / name.format("toy")).read_bytes())
    return run


@pytest.mark.parametrize("missing", [[0], [5], [2, 3]])
def test_other_subjects_than_those_of_stage_1_are_refused(made, tmp_path, missing):
    """Whoever is missing: the first subject, the last one, or two of them."""
    fewer = made.epochs.subset(~np.isin(made.epochs.subject, missing))
    with pytest.raises(ValueError, match=rf"subjects: {re.escape(str(missing))} .*networks.json .*of stage 1"):
        load_networks(other_nights(made, tmp_path, fewer))


def test_networks_of_other_epochs_are_refused(made, tmp_path):
    """The same stages of the same people, with another signal: parameters and scores would be of two data sets."""
    longer = replace(made.epochs, x=np.repeat(made.epochs.x, 2, axis=1))
    with pytest.raises(ValueError, match=r"its \w+ networks were trained on other .*stage1_edf20 of profile"):
        load_networks(other_nights(made, tmp_path, longer))


def test_further_subjects_do_not_matter(made, tmp_path):
    more = load_networks(other_nights(made, tmp_path, toy(7, samples=60)))
    assert len(more[0].data) == len(made.epochs) and len(more[0].folds) == 2


@pytest.mark.parametrize(
    "change",
    [lambda text: text[:-9], lambda text: text.replace('"lr"', '"lrr"'), lambda text: text.replace('"data"', '"d"')],
)
def test_a_damaged_or_older_list_of_networks_is_named(made, change):
    path = made.run.work(made.run.stage1) / "networks.json"
    whole = path.read_text()
    try:
        path.write_text(change(whole))
        words = r"networks\.json: not a list of networks .* run the notebook stage1_edf20"
        with pytest.raises(ValueError, match=words):
            load_networks(made.run)
    finally:
        path.write_text(whole)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (lambda: Sweep(ratios=(0.5, 0.5)), "ratios"),
        (lambda: Sweep(methods=("l1", "l1")), "methods"),
        (lambda: Ablation(seeds=(0, 1, 0)), "ablation_seeds"),
        (lambda: Pruning(variants=("scratch", "scratch")), "variants"),
    ],
)
def test_what_stands_twice_would_count_twice(settings, name):
    with pytest.raises(ValueError, match=f"{name}=.*stands twice"):
        settings()


@pytest.mark.parametrize(
    ("dataset", "cells", "seed"), [("edf20", 7, 49), ("edf20", 9, 42), ("edf20", 11, 42), ("edf78", 7, 42)]
)
def test_epochwise_folds_are_those_of_the_authors_second_stage(made, dataset, cells, seed):
    folds = stage2.stage2_folds(replace(made.networks[2].key, dataset=dataset, cells=cells), made.kept)
    for fold, expected in zip(folds, protocols.epoch_folds(len(made.kept), seed=seed), strict=True):
        np.testing.assert_array_equal(fold.test, expected.test)
        np.testing.assert_array_equal(fold.train, expected.train)


def test_every_network_is_pruned_and_tested_as_its_protocol_says(made):
    rows = made.rows.query("fold == 'pooled' and context == 'none'")
    pooled = rows.set_index(["genotype", "pruned", "protocol", "seed"])
    ways = (("edf20-toy", 0.5), ("edf20-toy-released", 0.5), ("edf20-toy-distilled", 0.5), ("edf20-toy-distilled", 0))
    taught = ("edf20-toy-ensemble", 0.5)  # by the networks of several seeds, which there are subject-wise
    assert sorted(pooled.index) == sorted(
        (genotype, pruned, protocol, seed)
        for genotype, pruned in (*ways, taught)
        for protocol, seed in (("subjectwise", 0), ("subjectwise", 1), ("epochwise", 0))
        if (genotype, pruned) != taught or protocol == "subjectwise"
    )
    tested = [len(made.kept) if protocol == "epochwise" else len(made.epochs) for _, _, protocol, _ in pooled.index]
    assert (pooled.n == tested).all()
    for full, pruned in zip(made.networks, load_pruned(made.run), strict=True):
        assert pruned.key == replace(full.key, pruned=0.5)
        for fold, path in pruned.networks.items():
            expected = prune_filters(load_network(full.networks[fold])[0], 0.5)
            assert count_parameters(load_network(path)[0]) == count_parameters(expected)
    sizes = results.read("toy", "stage2_prune/parameters.csv").set_index(["genotype", "pruned"]).params
    small, masked, distilled, again, ensemble = (sizes[way] for way in (*ways, taught))
    assert small == distilled == ensemble < masked == again == count_parameters(SleepNet(TINY, 4, 3))


def test_the_checks_fail_where_a_network_is_not_as_it_was_pruned(made, monkeypatch):
    """The first network kept whole, or all pruned by another ratio than the settings say."""
    grown = "networks that grew back in fine-tuning"

    def checked(pruning=made.pruning):
        found = checks.pruning_checks(made.networks, [], pruning=pruning, ablation=Ablation(seeds=()), run=made.run)
        return found.set_index("claim")

    assert checked().holds.all()
    pruned = load_pruned(made.run)
    monkeypatch.setattr(checks, "load_pruned", lambda run: [made.networks[0], *pruned[1:]])
    bad = checked()
    assert bad.measured[grown] == str(len(made.networks[0].networks)) and not bad.holds[grown]
    assert not checked(replace(made.pruning, ratio=0.25)).holds[grown]


def test_distillation_trains_towards_the_stages_and_what_the_full_network_says(made, tmp_path):
    """The targets by hand, the training by a plain call of `fit`, from the same pruned network: the same answers."""
    epochs, network = made.epochs, made.networks[0]
    fold = network.folds[0]
    scale = SUBJECTWISE.normalisation(epochs, fold)
    (x, y), valid, test = ((scale(epochs.x[rows]), epochs.y[rows]) for rows in (fold.train, fold.valid, fold.test))
    full = load_network(network.networks[0])[0]
    with torch.no_grad():
        says = torch.softmax(full.double()(torch.from_numpy(x).double().unsqueeze(1)), dim=1).numpy()
    targets = stage2.soft_targets([network.networks], 0, x, y, "cpu")
    np.testing.assert_allclose(targets, (says + (y[:, None] == np.arange(5))) / 2, atol=1e-6)
    assert targets.dtype == np.float32
    net = prune_filters(load_network(network.networks[0])[0], 0.5)
    fit(net, (x, targets), valid, network.training, tmp_path, "key")
    plan = stage2.pruning_plan(network, "distilled", made.pruning, made.run)
    assert plan.training == network.training, "as long and as fast as the full network's"
    kept = fold_probabilities(plan.run / "fold0")
    np.testing.assert_allclose(kept["prob"], softmax(predict_logits(net, test[0])), atol=1e-5)
    plain = stage2.pruning_plan(network, "importance", made.pruning, made.run)
    assert plain.targets is None and plain.training.epochs == made.pruning.finetune_epochs


def test_an_ensemble_teaches_by_the_mean_of_what_the_networks_of_all_seeds_say(made):
    """The targets by hand; the run's name tells the teachers, and networks of one seed have none."""
    networks, pair = made.networks, made.networks[:2]
    fold = pair[0].folds[1]
    assert [seeds_of(network, networks) for network in networks] == [pair, pair, networks[2:]]
    x, y = SUBJECTWISE.normalisation(made.epochs, fold)(made.epochs.x[fold.train]), made.epochs.y[fold.train]

    def plan_of(teachers):
        return stage2.pruning_plan(pair[0], "ensemble", made.pruning, made.run, teachers=teachers)

    says = [softmax(predict_logits(load_network(network.networks[1])[0], x)) for network in pair]
    assert np.abs(says[0] - says[1]).max() > 0.01
    expected = (np.mean(says, axis=0) + np.eye(5)[y]) / 2
    plan = plan_of(pair)
    np.testing.assert_allclose(plan.targets(1, x, y, "cpu"), expected, atol=1e-6)
    assert plan.training == pair[0].training and (plan.run / "fold1.npz").exists()
    assert plan_of(pair[:1]).run != plan.run == plan_of(pair[::-1]).run
    with pytest.raises(ValueError, match='"ensemble" learns from networks of several seeds, and stage 1 trained one'):
        prune_and_finetune([networks[0], networks[2]], made.pruning, made.run)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (lambda: Pruning(variants=("l1",)), "variants: .'l1'. is not among distilled, ensemble, scratch, released"),
        (lambda: Sweep(methods=("l2",)), "methods: .'l2'. is not among importance, distilled"),
        (lambda: Sweep(ratios=(0.5, 1.0)), r"ratios: \[1.0\]: a share"),
        (lambda: Pruning(ratio=1.0), r"ratio: \[1.0\]: a share"),
        (lambda: Pruning(balance=2), "balance=2: a share lies between 0 and 1"),
        (lambda: Pruning(finetune_epochs=0), "finetune_epochs=0: must be at least 1"),
        (lambda: Ablation(search={"epoch": 3}), "ablation_search=.*expected a dict of some of the search's settings"),
        (lambda: Ablation(search=3), "ablation_search=.*expected a dict of some of the search's settings"),
        (lambda: Run(profile="toy", where="moon"), "where='moon': jobs run in one of"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        settings()


def test_the_table_of_filters_that_is_shown_is_the_one_that_prunes(made):
    """As many filters are marked as kept as the pruned network has, layer by layer."""
    scores = stage2.filter_importance(made.networks[0], made.pruning, made.run)
    full = load_network(made.networks[0].networks[0])[0]
    pruned = prune_filters(full, made.pruning.ratio, made.pruning.balance)
    kept = scores.groupby("layer").kept.sum()
    sizes = {name: len(weight) for name, weight in pruned.named_parameters() if weight.ndim == 3}
    assert {f"{layer}.weight": count for layer, count in kept.items() if count} == sizes
    pd.testing.assert_frame_equal(results.read("toy", "stage2_prune/filters.csv"), scores, check_dtype=False)


def test_networks_of_other_settings_than_the_results_beside_them_are_refused(made, tmp_path):
    """Stage 1 began anew with other parameters and did not come to its networks."""
    run = other_nights(made, tmp_path, made.epochs)
    parameters = {"profile": run.profile, "search_epochs": 5}
    record.write("stage1_edf20", parameters)
    with pytest.raises(
        ValueError, match=r"networks.json: its networks and results/.*/stage1_edf20 are of runs .*again"
    ):
        load_networks(run)
    listed = run.work(run.stage1) / "networks.json"
    made_with = record.hash_of(run.profile, "stage1_edf20")
    listed.write_text(json.dumps(json.loads(listed.read_text()) | {"made_with": made_with}))
    assert [network.key for network in load_networks(run)] == [network.key for network in made.networks]
    record.write("stage1_edf20", parameters | {"search_epochs": 8})
    with pytest.raises(ValueError, match="of runs with different settings; run the notebook stage1_edf20 of profile"):
        load_networks(run)
