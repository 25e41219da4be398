"""The networks that come with the package: what they say of themselves is what they do."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest

from sleepkit import results
from sleepkit.epochs import STAGES, EpochSet, parse_night
from sleepkit.evaluation.protocols import EDF20_PAIRS, Normalisation
from sleepkit.execution.paths import WEIGHTS
from sleepkit.experiments.release import SHIPPED_BLOCK
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_parameters
from sleepkit.paper.published import published_genotype
from sleepkit.results import NETWORK, SCORES
from sleepkit.scoring import load_model, score
from sleepkit.scoring.onnx_graph import averaged_graph, network_graph

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


def test_the_default_averages_two_networks_of_fold_0():
    """In onnxruntime as in PyTorch, and its description is the one beside it."""
    default = load_model()
    assert default.name == "fold0_L7_averaged.onnx" and default.context is not None
    x = np.random.default_rng(0).normal(0, 20, (40, 500)).astype(np.float32)
    parts = [load_model(WEIGHTS / name) for name in default.facts["averages"]]
    expected = np.mean([part.probabilities(x) for part in parts], axis=0)
    np.testing.assert_allclose(default.probabilities(x), expected, atol=1e-5)
    described = json.loads((WEIGHTS / "fold0_L7_averaged.json").read_text(encoding="utf-8"))
    assert {name: default.facts[name] for name in described} == described
    assert described["parameters"] == sum(part.facts["parameters"] for part in parts) < 100_000
    assert described["training"]["test"] == sorted(EDF20_PAIRS[0])
    nets = [load_network(WEIGHTS / name) for name in default.facts["averages"]]
    graphs = [network_graph(net, 500, Normalisation(**about["normalisation"]), block=16) for net, about in nets]
    assert onnx.load(WEIGHTS / "fold0_L7_averaged.onnx").graph == averaged_graph(graphs, {}).graph


def test_the_default_loses_nothing_on_the_people_it_has_not_met():
    """What it says of itself, beside the paper's network of the same fold; one fold, two people."""
    told = json.loads((WEIGHTS / "fold0_L7_averaged.json").read_text(encoding="utf-8"))["cross_validation"]
    for context, mine in (("none", told), ("both", told["context"])):
        before = row(False, context, "0")
        assert all(mine[name] > before[name] - 0.003 for name in ("acc", "mf1", "kappa")), context


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
        ("fold0_L7_averaged.onnx", "both"),
        pytest.param("fold0_L7", "both", marks=pytest.mark.slow),
        pytest.param("fold0_L7_pruned", "none", marks=pytest.mark.slow),
        pytest.param("fold0_L7_distilled", "none", marks=pytest.mark.slow),
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
    if name.endswith(".onnx"):
        measured = model.facts["cross_validation"]["context"] | {"n": measured["n"]}
    assert hits / n == pytest.approx(measured["acc"], abs=0.001)  # rounding decides a few epochs of thousands
