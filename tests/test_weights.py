"""The networks that come with the package: what they say of themselves is what they do."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pandas as pd
import pytest

from sleepkit import results
from sleepkit.comparison import PEER_SAMPLES, peer_confusions
from sleepkit.context import POWERS, smooth_nights
from sleepkit.crossval import EDF20_PAIRS, fold_context, subject_folds
from sleepkit.epochs import STAGES, EpochSet, parse_night
from sleepkit.graph import network_graph
from sleepkit.metrics import CELLS, confusion, confusion_differences, group_confusions, scores, softmax
from sleepkit.network import count_parameters, load_network
from sleepkit.paths import WEIGHTS
from sleepkit.reference import published_genotype
from sleepkit.release import SHIPPED_BLOCK
from sleepkit.results import NETWORK, SCORES
from sleepkit.scoring import load_model, score_recording
from sleepkit.training import Normalisation, predict_logits

PROFILE = "first5s-cpu"
NAMES = [name + way for way in ("", "_pruned", "_distilled") for name in ("edf20_first5s_L7", "fold0_L7")]


def rows_of(pruned, context, fold, cells=7, genotype="edf20-published"):
    """The rows of the profile's crossval.csv that belong to a network, one a seed."""
    rows = results.gather(PROFILE, "crossval.csv")
    keys = {"protocol": "subjectwise", "genotype": genotype, "channels": 8}
    keys |= {"cells": cells, "pruned": 0.5 * pruned, "context": context, "fold": fold}
    assert {*keys, "seed"} == {*NETWORK, "fold"}
    return rows[np.logical_and.reduce([rows[name] == value for name, value in keys.items()])]


def row(pruned, context, fold, seed=0, cells=7, genotype="edf20-published"):
    """That of one seed."""
    rows = rows_of(pruned, context, fold, cells, genotype)
    (chosen,) = rows[rows.seed == seed].to_dict("records")
    return chosen


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_the_papers_and_the_accuracy_is_the_cross_validated_one(name):
    net, about = load_network(WEIGHTS / name)
    pruned = name.endswith(("pruned", "distilled"))
    genotype = "edf20-published" + "-distilled" * name.endswith("distilled")
    assert net.genotype == published_genotype("edf20")
    assert count_parameters(net) == about["parameters"] == (24_153 if pruned else 83_789)
    quoted = about["cross_validation"]
    for context, told in (("none", quoted), ("both", quoted["context"])):
        measured = rows_of(pruned, context, "pooled", genotype=genotype)
        assert [told[key] for key in SCORES] == pytest.approx(measured[SCORES].mean().to_list(), abs=1e-5)
        assert quoted["seeds"] == len(measured) > 1 and set(measured.n) == {quoted["n"]}
    sides = about["training"]
    assert not set(sides["train"]) & set(sides["valid"])
    everybody = sides["train"] + sides["valid"] + (sides["test"] if "fold0" in name else [])
    assert sorted(everybody) == list(range(20))
    if name in ("fold0_L7", "fold0_L7_pruned"):  # the distilled one is of a seed without a row
        kept = about["metrics"]["test"]
        measured = row(pruned, "none", "0")
        assert [kept[key] for key in SCORES] == pytest.approx([measured[key] for key in SCORES], abs=1e-6)


def test_the_default_is_the_exported_network_and_equals_it():
    default, saved = load_model(), load_model(WEIGHTS / NAMES[0])
    assert default.name == f"{NAMES[0]}.onnx" and default.context is not None
    x = np.random.default_rng(0).normal(0, 20, (40, 500)).astype(np.float32)
    np.testing.assert_allclose(default.probabilities(x), saved.probabilities(x), atol=1e-5)
    described = json.loads((WEIGHTS / f"{NAMES[0]}.json").read_text(encoding="utf-8"))
    assert default.facts["cross_validation"] == described["cross_validation"]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("edf20")])
def test_exported_files_are_what_the_package_writes_today(name):
    net, about = load_network(WEIGHTS / name)
    scale = Normalisation(**about["normalisation"])
    model = network_graph(net, about["samples"], scale, block=SHIPPED_BLOCK)
    assert onnx.load(WEIGHTS / f"{name}.onnx").graph == model.graph


@pytest.fixture(scope="module")
def prepared(shared, tmp_path_factory):
    """The folder of the prepared real nights."""
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run([sys.executable, shared / "data" / "unpack.py", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def nights(prepared):
    """Those of fold 0's test subjects."""
    found = sorted(path for path in prepared.glob("*.npz") if parse_night(path.stem)[0] in EDF20_PAIRS[0])
    assert len(found) == 4
    return found


@pytest.mark.parametrize(
    "name, context",
    [
        ("fold0_L7", "both"),
        ("fold0_L7_pruned", "none"),
        ("fold0_L7_distilled", "none"),
        pytest.param("fold0_L7", "none", marks=pytest.mark.slow),
        pytest.param("fold0_L7_pruned", "both", marks=pytest.mark.slow),
    ],
)
def test_scoring_the_nights_of_fold_0_gives_the_accuracy_that_was_measured(name, context, nights):
    model, hits, n = load_model(WEIGHTS / name), 0, 0
    for night in nights:
        stage = score_recording(night, model, context=context == "both").stage
        expert = np.array(STAGES)[EpochSet.load(night.parent, [night.stem]).y]
        hits, n = hits + int((stage == expert).sum()), n + len(expert)
    measured = row(not name.endswith("L7"), context, "0")
    assert n == measured["n"]
    if name.endswith("distilled"):
        measured = model.facts["metrics"]["test"]
    assert hits / n == pytest.approx(measured["acc"], abs=0.001)  # rounding decides a few epochs of thousands


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, cells, seed",
    [
        *(("seed1", 7, 1), ("seed2", 7, 2), ("seed3", 7, 3), ("L9_seed0", 9, 0), ("L11_seed0", 11, 0)),
        *(("hum_seed1", 7, 1), ("searched_seed0", 7, 0)),
        *(("pruned_seed1", 7, 1), ("pruned_seed2", 7, 2), ("pruned_seed3", 7, 3)),
        *(("pruned_hum_seed1", 7, 1), ("pruned_L9_seed0", 9, 0)),
        *(("ensemble_seed1", 7, 1), ("ensemble_seed2", 7, 2), ("ensemble_seed3", 7, 3)),
    ],
)
def test_ten_networks_beside_the_results_stage_whom_they_never_met_as_crossval_says(prepared, name, cells, seed):
    """Every epoch of the 20 people, by the network of its fold."""
    epochs, matrices = EpochSet.load(prepared), []
    other = {"hum": "edf20-published-hum", "searched": "edf20-searched", "ensemble": "edf20-published-ensemble"}
    pruned = name.startswith(("pruned", "ensemble"))
    genotype = next((label for way, label in other.items() if way in name), "edf20-published")
    folder = results.paths.results(PROFILE) / ("stage2_prune" if pruned else "stage1_edf20") / "networks"
    for number, pair in enumerate(EDF20_PAIRS):
        net, about = load_network(folder / f"{name}_fold{number}")
        assert len(net.cells) == cells and (count_parameters(net) == {7: 24_153, 9: 27_521}.get(cells)) == pruned
        sides = about["training"]
        assert sides["test"] == sorted(pair) and not set(pair) & {*sides["train"], *sides["valid"]}
        test = epochs.subset(np.isin(epochs.subject, pair))
        said = predict_logits(net, Normalisation(**about["normalisation"])(test.x)).argmax(1)
        matrices.append(confusion(test.y, said))
        measured = row(pruned, "none", str(number), seed, cells, genotype)
        assert scores(matrices[-1])["acc"] == pytest.approx(measured["acc"], abs=0.001)
    pooled = scores(sum(matrices))
    measured = row(pruned, "none", "pooled", seed, cells, genotype)
    assert {key: pooled[key] for key in SCORES} == pytest.approx({key: measured[key] for key in SCORES}, abs=0.001)
    assert np.sum(matrices) == measured["n"] == 42_308


@pytest.mark.slow
def test_three_that_learned_from_an_ensemble_asked_together_as_their_page_of_results_says(prepared):
    """Every epoch by the mean of their probabilities; by that divided by a power of each stage's share, from 0 to 0.5,
    which is best (accuracy + macro-F1) on the fold's validation subjects; and with context and rarity."""
    epochs = EpochSet.load(prepared)
    folder = results.paths.results(PROFILE) / "stage2_prune" / "networks"
    powers, parts = np.arange(6)[:, None, None] / 10, {"mean": [], "share": [], "context": []}
    for fold in subject_folds(epochs.subject, 10, 3):
        saved = [load_network(folder / f"ensemble_seed{seed}_fold{fold.number}") for seed in (1, 2, 3)]
        assert sum(count_parameters(net) for net, _ in saved) == 72_459
        assert all(about["training"] == fold.subjects(epochs) for _, about in saved)
        valid, test = epochs.subset(fold.valid), epochs.subset(fold.test)

        def asked(epochs, saved=saved):
            said = (predict_logits(net, Normalisation(**about["normalisation"])(epochs.x)) for net, about in saved)
            return np.mean([softmax(logits) for logits in said], axis=0)

        kept = {"valid_id": valid.id, "valid_prob": asked(valid), "prob": asked(test)}
        share = np.bincount(epochs.y[fold.train]) / len(fold.train)
        tried = [scores(confusion(valid.y, said)) for said in (kept["valid_prob"] / share**powers).argmax(-1)]
        power = powers[np.argmax([score["acc"] + score["mf1"] for score in tried])]
        context = fold_context(epochs, fold, kept, POWERS)
        said = {"mean": kept["prob"], "share": kept["prob"] / share**power}
        said["context"] = smooth_nights(kept["prob"], test.night, context)
        for way, probabilities in said.items():
            cells = group_confusions(test.y, probabilities.argmax(1), test.night).reshape(-1, len(CELLS))
            parts[way].append(pd.DataFrame(cells, columns=CELLS).assign(night=np.unique(test.night)))
    expected = {  # score in %, difference to AttnSleep, its interval
        "mean": {"acc": (74.2, 0.7, 0.0, 1.4), "mf1": (65.4, -0.9, -1.8, -0.1), "kappa": (64.5, 0.9, 0.0, 1.8)},
        "share": {"acc": (73.4, -0.1, -1.0, 0.8), "mf1": (66.4, 0.0, -0.9, 0.9), "kappa": (64.0, 0.4, -0.7, 1.4)},
        "context": {"acc": (82.2, 0.8, -0.3, 1.9), "mf1": (74.6, 0.3, -1.8, 2.2), "kappa": (75.6, 1.1, -0.3, 2.5)},
    }
    for way, frames in parts.items():
        nights = pd.concat(frames)
        peer, _ = peer_confusions(nights, PEER_SAMPLES, way == "context")
        subject = nights.night.map(lambda night: parse_night(night)[0])
        ours = nights.groupby(subject)[CELLS].sum().to_numpy().reshape(1, -1, 5, 5)
        pooled, differences = scores(ours.sum((0, 1))), confusion_differences(ours, peer[None], seed=0)
        for metric, figures in expected[way].items():
            found = 100 * np.array([pooled[metric], *differences[metric]])
            assert found == pytest.approx(figures, abs=0.1), f"{way}, {metric}"
