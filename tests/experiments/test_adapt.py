"""A network that is adapted to nights of one's own, and what is said of it."""

import json

import numpy as np
import pandas as pd
import pytest
from recording_files import save_tiny
from toy import save_nights, toy

from sleepkit.__main__ import main
from sleepkit.epochs import EpochSet
from sleepkit.experiments.adapt import adapt, described
from sleepkit.metrics import confusion, scores
from sleepkit.network.saved import load_network
from sleepkit.scoring.model import describe, load_model


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """Six people whose epochs are two windows of the network; the first is called as one who trained it."""
    folder = tmp_path_factory.mktemp("adapt")
    save_nights(toy(6, samples=120), folder / "nights")
    model = save_tiny(folder / "tiny", samples=60, training={"train": [0, 77], "valid": [78]})
    return folder, model, adapt(model, folder / "nights", folder / "out", epochs=3)


def test_before_is_the_network_as_it_was(adapted):
    folder, model, table = adapted
    epochs, network = EpochSet.load(folder / "nights"), load_model(model)
    prob = network.probabilities(epochs.x.reshape(-1, 60)).reshape(-1, 2, 5).mean(axis=1)
    rows = table[table.context == "none"].set_index("metric")
    for metric, value in scores(confusion(epochs.y, prob.argmax(axis=1))).items():
        assert rows.before[metric] == pytest.approx(value)
    assert set(table.context) == {"none", "both"} and set(table.subjects) == {6} and set(table.n) == {len(epochs)}
    np.testing.assert_allclose(table.after - table.before, table.difference, atol=1e-12)
    assert (table.low <= table.difference).all() and (table.difference <= table.high).all()
    assert pd.read_csv(folder / "out" / "adapted.csv").shape == table.shape


def test_after_is_by_networks_that_have_not_met_the_person(adapted):
    folder, _, table = adapted
    epochs, after, tested = EpochSet.load(folder / "nights"), {}, []
    for path in sorted((folder / "out" / "folds").glob("*/fold*.json")):
        sides = json.loads(path.read_text())["training"]
        assert not set(sides["train"]) & {*sides["valid"], *sides["test"]}
        if sides["test"] == sides["valid"]:
            continue  # the network that is adapted to everybody
        assert not set(sides["test"]) & set(sides["valid"])
        rows = np.isin(epochs.subject, sides["test"])
        tested += sides["test"]
        prob = load_model(path).probabilities(epochs.x[rows].reshape(-1, 60)).reshape(-1, 2, 5).mean(axis=1)
        after |= dict(zip(epochs.id[rows].tolist(), prob.argmax(axis=1).tolist(), strict=True))
    assert sorted(tested) == list(range(6))
    found = scores(confusion(epochs.y, [after[i] for i in epochs.id.tolist()]))
    rows = table[table.context == "none"].set_index("metric")
    assert rows.after["acc"] == pytest.approx(found["acc"]) and rows.after["kappa"] == pytest.approx(found["kappa"])


def test_what_is_written_can_score_and_says_what_it_is(adapted):
    folder, model, table = adapted
    network = load_model(folder / "out" / "adapted")
    assert (network.fs, network.samples) == (100, 60) and network.context is not None
    sides = network.facts["training"]
    assert sorted(sides["train"] + sides["valid"]) == list(range(6)) and len(sides["valid"]) == 1
    x = EpochSet.load(folder / "nights").x[:, :60]
    assert not np.array_equal(network.probabilities(x), load_model(model).probabilities(x))
    first, second, *_ = describe(network)
    assert "adapted to 96 epochs of 6 people" in first
    shown = table.set_index(["context", "metric"]).after["none", "acc"]
    assert f"accuracy {100 * shown:.1f} %" in second and "tiny was adapted to" in second


def test_what_is_said_is_honest(adapted):
    table = adapted[2]
    lines = "\n".join(described(table, "tiny"))
    assert "6 people, each staged by networks that have not met them" in lines
    assert "1 of their names are also those of people who trained tiny" in lines
    assert "did not help: keep tiny" in "\n".join(described(table.assign(difference=-0.01), "tiny"))
    assert "not certain" in "\n".join(described(table.assign(difference=0.01, low=-0.01), "tiny"))
    assert len(described(table.assign(difference=0.01, low=0.001, seen=0), "tiny")) == 3


def test_a_second_call_reads_what_is_there(adapted):
    folder, model, table = adapted
    before = {path: path.stat().st_mtime_ns for path in (folder / "out" / "folds").rglob("*.npz")}
    assert adapt(model, folder / "nights", folder / "out", epochs=3).equals(table)
    assert {path: path.stat().st_mtime_ns for path in (folder / "out" / "folds").rglob("*.npz")} == before


@pytest.mark.parametrize(
    "people, samples, model, words",
    [
        (3, 120, "tiny", "3 people (0, 1, 2); at least 4 are needed"),
        (4, 90, "tiny", "epochs of 90 samples at 100 Hz, and tiny takes 60 at 100"),
        (4, 120, "tiny.onnx", "an exported network cannot be trained"),
        (4, 120, "edf20_nothing", "no such model"),
    ],
)
def test_what_is_refused(adapted, tmp_path, capsys, people, samples, model, words):
    save_nights(toy(people, samples=samples), tmp_path / "nights")
    name = str(adapted[0] / model) if model.startswith("tiny") else model
    assert main(["adapt", name, str(tmp_path / "nights"), str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_network_of_the_package_by_its_name(adapted, capsys):
    """Half of a window is no epoch of its own: the nights do not fit, and the network was found."""
    assert main(["adapt", "fold0_L7", str(adapted[0] / "nights"), str(adapted[0] / "more")]) == 2
    assert "fold0_L7 takes 500 at 100" in capsys.readouterr().err


def test_normalisation_is_that_of_the_new_people(adapted):
    folder, model, _ = adapted
    facts = load_network(folder / "out" / "adapted")[1]
    epochs = EpochSet.load(folder / "nights")
    kept = epochs.x[np.isin(epochs.subject, facts["training"]["train"])]
    assert facts["normalisation"]["sd"] == pytest.approx(float(kept.std(dtype=np.float64)), rel=1e-6)
