"""The networks that come with the package: what they say of themselves is what they do."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pandas as pd
import pytest

from sleepkit import results
from sleepkit.epochs import STAGES, EpochSet, parse_night
from sleepkit.evaluation.context import POWERS, fit_context, smooth_nights
from sleepkit.evaluation.crossval import fold_context
from sleepkit.evaluation.protocols import EDF20_PAIRS, Normalisation, subject_folds
from sleepkit.evaluation.training import predict_logits
from sleepkit.execution.paths import WEIGHTS
from sleepkit.experiments.compare import PEER_SAMPLES, peer_confusions
from sleepkit.experiments.release import SHIPPED_BLOCK
from sleepkit.metrics import CELLS, confusion, confusion_differences, group_confusions, scores, softmax
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_parameters
from sleepkit.paper.published import published_genotype
from sleepkit.results import NETWORK, SCORES
from sleepkit.scoring.onnx_network import network_graph
from sleepkit.scoring import load_model, score

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
        stage = score(night, model, context=context == "both").epochs.stage
        expert = np.array(STAGES)[EpochSet.load(night.parent, [night.stem]).y]
        hits, n = hits + int((stage == expert).sum()), n + len(expert)
    measured = row(not name.endswith("L7"), context, "0")
    assert n == measured["n"]
    if name.endswith("distilled"):
        measured = model.facts["metrics"]["test"]
    assert hits / n == pytest.approx(measured["acc"], abs=0.001)  # rounding decides a few epochs of thousands


# Accuracy, macro-F1 and kappa, in %, with every epoch at full weight, of which the page of results gives means and sd.
PLAIN = {
    "seed0": (79.76, 74.14, 72.85),
    "seed1": (79.62, 74.10, 72.72),
    "seed2": (79.59, 74.29, 72.71),
    "seed3": (77.79, 72.83, 70.49),
    "ensemble_seed1": (79.14, 73.93, 72.22),
    "ensemble_seed2": (79.72, 74.67, 72.89),
    "ensemble_seed3": (79.85, 74.70, 73.06),
}


def plainly_smoothed(probabilities, night, y, nights):
    """Stages by the hidden Markov model of method section 5, fitted on the stages y of the training nights."""
    return smooth_nights(probabilities, night, fit_context(y, nights)).argmax(1)


def test_the_page_of_results_gives_the_plain_context():
    """Of the first network from its committed probabilities; of the others, which slow tests stage anew, the means."""
    folder = results.paths.results(PROFILE)
    kept, matrices = results.read(PROFILE, "stage1_edf20/predictions.npz"), []
    subject = np.array([parse_night(night)[0] for night in kept["night"]])
    for side in json.loads((folder / "stage1_edf20" / "folds.json").read_text()).values():
        test, train = (np.isin(subject, side[name]) for name in ("test", "train"))
        of_training = (kept[name][train] for name in ("y", "night"))
        said = plainly_smoothed(kept["prob"][test].astype(float), kept["night"][test], *of_training)
        matrices.append(confusion(kept["y"][test], said))
    found = scores(sum(matrices))
    assert [100 * found[key] for key in ("acc", "mf1", "kappa")] == pytest.approx(PLAIN["seed0"], abs=0.1)
    page = " ".join((folder / "README.md").read_text(encoding="utf-8").split())
    for way in ("seed", "ensemble_seed"):
        rows = [figures for name, figures in PLAIN.items() if name[:-1] == way]
        acc, mf1, kappa = zip(np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1), strict=True)
        share = f"{kappa[0] / 100:.3f} ± {kappa[1] / 100:.3f}"
        assert f"{acc[0]:.1f} ± {acc[1]:.1f} %, {mf1[0]:.1f} ± {mf1[1]:.1f} % and {share}" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, cells, seed",
    [
        *(("seed1", 7, 1), ("seed2", 7, 2), ("seed3", 7, 3), ("L9_seed0", 9, 0), ("L11_seed0", 11, 0)),
        *(("hum_seed1", 7, 1), ("searched_seed0", 7, 0)),
        *(("pruned_seed1", 7, 1), ("pruned_seed2", 7, 2), ("pruned_seed3", 7, 3)),
        *(("pruned_hum_seed1", 7, 1), ("pruned_L9_seed0", 9, 0), ("pruned_L11_seed0", 11, 0)),
        *(("ensemble_seed1", 7, 1), ("ensemble_seed2", 7, 2), ("ensemble_seed3", 7, 3)),
    ],
)
def test_ten_networks_beside_the_results_stage_whom_they_never_met_as_crossval_says(prepared, name, cells, seed):
    """Every epoch of the 20 people, by the network of its fold; with the plain context as the page of results says."""
    epochs, matrices, smoothed = EpochSet.load(prepared), [], []
    other = {"hum": "edf20-published-hum", "searched": "edf20-searched", "ensemble": "edf20-published-ensemble"}
    pruned = name.startswith(("pruned", "ensemble"))
    genotype = next((label for way, label in other.items() if way in name), "edf20-published")
    folder = results.paths.results(PROFILE) / ("stage2_prune" if pruned else "stage1_edf20") / "networks"
    for number, pair in enumerate(EDF20_PAIRS):
        net, about = load_network(folder / f"{name}_fold{number}")
        assert len(net.cells) == cells and (count_parameters(net) == {7: 24_153, 9: 27_521, 11: 38_289}[cells]) == pruned
        sides = about["training"]
        assert sides["test"] == sorted(pair) and not set(pair) & {*sides["train"], *sides["valid"]}
        test = epochs.subset(np.isin(epochs.subject, pair))
        said = softmax(predict_logits(net, Normalisation(**about["normalisation"])(test.x)))
        matrices.append(confusion(test.y, said.argmax(1)))
        train = epochs.subset(np.isin(epochs.subject, sides["train"]))
        smoothed.append(confusion(test.y, plainly_smoothed(said, test.night, train.y, train.night)))
        measured = row(pruned, "none", str(number), seed, cells, genotype)
        assert scores(matrices[-1])["acc"] == pytest.approx(measured["acc"], abs=0.001)
    pooled = scores(sum(matrices))
    measured = row(pruned, "none", "pooled", seed, cells, genotype)
    assert {key: pooled[key] for key in SCORES} == pytest.approx({key: measured[key] for key in SCORES}, abs=0.001)
    assert np.sum(matrices) == measured["n"] == 42_308
    if (figures := PLAIN.get(name)) is not None:
        found = scores(sum(smoothed))
        assert [100 * found[key] for key in ("acc", "mf1", "kappa")] == pytest.approx(figures, abs=0.1)


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
        if way == "mean":
            assert differences["acc"][1] <= 0 < differences["acc"][0], "chance may just give it, says the page"
        for metric, figures in expected[way].items():
            found = 100 * np.array([pooled[metric], *differences[metric]])
            assert found == pytest.approx(figures, abs=0.1), f"{way}, {metric}"
