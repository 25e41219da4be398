"""The committed results of first5s-cpu follow from one another, and from the probabilities that are kept."""

import json

import numpy as np
import pandas as pd
import pytest

from sleepkit import results
from sleepkit.epochs import STAGES, parse_night
from sleepkit.evaluation.context import Context, fit_context, smooth_nights
from sleepkit.evaluation.scores import in_context
from sleepkit.execution import paths
from sleepkit.experiments.compare import PEER_SAMPLES, peer_confusions
from sleepkit.experiments.differences import confusion_differences
from sleepkit.metrics import CELLS, confusion, group_confusions, per_class, scores
from sleepkit.results import NETWORK, SCORES, NetworkKey

PROFILE = "first5s-cpu"
FOLDER = paths.results(PROFILE)
FILES = sorted(FOLDER.glob("*/probabilities/*.npz"))
MOVED = 5  # of 42,308 epochs, which half precision may give another stage where a context smooths it

# Accuracy, macro-F1 and kappa, in %, of the plain model of method section 5, every epoch at full weight.
PLAIN = {
    "edf20-published_subjectwise_C8_L7_seed1": (79.62, 74.10, 72.72),
    "edf20-published_subjectwise_C8_L7_seed2": (79.59, 74.29, 72.71),
    "edf20-published_subjectwise_C8_L7_seed3": (77.79, 72.83, 70.49),
    "edf20-published-ensemble_subjectwise_C8_L7_pruned50_seed1": (79.14, 73.93, 72.22),
    "edf20-published-ensemble_subjectwise_C8_L7_pruned50_seed2": (79.72, 74.67, 72.89),
    "edf20-published-ensemble_subjectwise_C8_L7_pruned50_seed3": (79.85, 74.70, 73.06),
}


@pytest.fixture(scope="module")
def known():
    """Night, stage and fold of every epoch, by id: those of the first network's predictions; the folds; and their
    contexts with every epoch at full weight, from the stages of the training subjects."""
    kept = results.read(PROFILE, "stage1_edf20/predictions.npz")
    sides = {int(number): side for number, side in results.read(PROFILE, "stage1_edf20/folds.json").items()}
    night, position = np.unique(kept["night"], return_inverse=True)
    subject, contexts = np.array([parse_night(name)[0] for name in night])[position], {}
    for number, side in sides.items():
        rows = np.isin(subject, side["train"])
        contexts[number] = fit_context(kept["y"][rows], kept["night"][rows])
    return kept, sides, contexts


@pytest.fixture(scope="module")
def nights():
    return results.gather(PROFILE, "confusion_by_night.csv")


def read(file, known):
    """Key, probabilities, and contexts of a file of probabilities, whose epochs and folds are the known ones."""
    with np.load(file, allow_pickle=False) as saved:
        saved = dict(saved)
    np.testing.assert_array_equal(saved["id"], known[0]["id"])
    np.testing.assert_array_equal(saved["fold"], known[0]["fold"])
    contexts = {}
    for number, weight, other, rarity in saved["powers"].astype(float).round(4).tolist():
        plain = known[2][int(number)]
        full = Context(plain.transition, plain.prior, weight)
        contexts[int(number)] = full, Context(plain.transition, plain.prior, other, rarity)
    return NetworkKey.parse(json.loads(str(saved["network"]))), saved["prob"].astype(np.float32), contexts


def rows_of(frame, key, **more):
    columns = {name: value for name, value in key.columns().items() if name in frame and name not in more} | more
    return frame[np.logical_and.reduce([frame[name] == value for name, value in columns.items()])]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_probabilities_give_the_confusions_of_every_night(file, known, nights):
    """Each epoch for itself exactly; in a context but for epochs that half precision moves."""
    key, prob, contexts = read(file, known)
    assert file.stem == str(key)
    kept = known[0]
    for context, smoothed in in_context(prob, kept["night"], kept["fold"], contexts).items():
        mine = group_confusions(kept["y"], smoothed.argmax(1), kept["night"]).reshape(-1, len(CELLS))
        theirs = rows_of(nights, key, context=context).sort_values("night")
        moved = np.abs(mine - theirs[CELLS].to_numpy()).sum() // 2
        assert len(theirs) == 39 and moved <= (0 if context == "none" else MOVED), f"{context}: {moved} epochs"


def test_there_are_probabilities_of_fourteen_networks_and_the_first_two():
    assert len(FILES) == 14
    for name in ("stage1_edf20", "stage2_prune"):
        kept = results.read(PROFILE, f"{name}/predictions.npz")
        key = NetworkKey.parse(json.loads(str(kept["network"])))
        matrices = group_confusions(kept["y"], kept["prob"].argmax(1), kept["night"]).reshape(-1, len(CELLS))
        theirs = rows_of(results.read(PROFILE, f"{name}/confusion_by_night.csv"), key).sort_values("night")
        assert np.abs(matrices - theirs[CELLS].to_numpy()).sum() // 2 <= MOVED


def test_every_pooled_score_and_fold_follows_from_the_confusions_of_nights(known, nights):
    """The subject-wise rows of crossval.csv; searches inside folds have no confusions by night, and of networks
    without probabilities the past alone has none."""
    rows = results.gather(PROFILE, "crossval.csv")
    fold_of = {night: str(number) for number, side in known[1].items() for night in side["test_nights"]}
    by_network = dict(list(nights.assign(fold=nights.night.map(fold_of)).groupby(NETWORK)))
    checked = 0
    for network, scored in rows.groupby(NETWORK):
        if (mine := by_network.get(network)) is None:
            key = dict(zip(NETWORK, network, strict=True))
            assert key["protocol"] == "epochwise" or "nested" in key["genotype"] or key["context"] == "forward", key
            continue
        for row in scored.to_dict("records"):
            part = mine if row["fold"] == "pooled" else mine[mine.fold == row["fold"]]
            matrix = part[CELLS].to_numpy().sum(0).reshape(5, 5)
            assert matrix.sum() == row["n"]
            assert [row[name] for name in SCORES] == pytest.approx([scores(matrix)[name] for name in SCORES], abs=1e-9)
            checked += 1
    assert checked == 11 * len(by_network) > 700


def test_confusions_and_figures_of_stages_follow_from_each_other():
    cells, classes = (results.gather(PROFILE, name) for name in ("confusion.csv", "per_class.csv"))
    pooled = results.gather(PROFILE, "crossval.csv").query("fold == 'pooled' and context == 'none'").set_index(NETWORK)
    for network, rows in cells.groupby(NETWORK):
        matrix = rows.pivot(index="true", columns="predicted", values="n").loc[list(STAGES), list(STAGES)].to_numpy()
        assert scores(matrix)["kappa"] == pytest.approx(pooled.loc[network].kappa, abs=1e-9)
        theirs = classes[(classes[NETWORK] == list(network)).all(axis=1)].set_index("stage").loc[list(STAGES)]
        np.testing.assert_allclose(per_class(matrix).f1, theirs.f1, atol=1e-9)


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_the_plain_context_of_the_method(name, known):
    (file,) = [file for file in FILES if file.stem == name]
    _, prob, _ = read(file, known)
    kept, total = known[0], 0
    for number in range(10):
        rows = kept["fold"] == number
        staged = smooth_nights(prob[rows], kept["night"][rows], known[2][number]).argmax(1)
        total = total + confusion(kept["y"][rows], staged)
    found = scores(total)
    assert [100 * found[score] for score in ("acc", "mf1", "kappa")] == pytest.approx(PLAIN[name], abs=0.05)


def test_three_distilled_networks_averaged_against_attnsleep(known):
    """The mean of the probabilities of the three that learned from an ensemble, each epoch for itself."""
    kept = known[0]
    files = [file for file in FILES if "-ensemble_" in file.stem]
    mean = np.mean([read(file, known)[1] for file in files], axis=0)
    cells = group_confusions(kept["y"], mean.argmax(1), kept["night"]).reshape(-1, len(CELLS))
    nights = pd.DataFrame(cells, columns=CELLS).assign(night=np.unique(kept["night"]))
    peer, _ = peer_confusions(nights, PEER_SAMPLES)
    subject = nights.night.map(lambda night: parse_night(night)[0])
    ours = nights.groupby(subject)[CELLS].sum().to_numpy().reshape(1, -1, 5, 5)
    pooled, differences = scores(ours.sum((0, 1))), confusion_differences(ours, peer[None], seed=0)
    assert len(files) == 3
    expected = {"acc": (74.2, 0.7, 0.0, 1.4), "mf1": (65.4, -0.9, -1.8, -0.1), "kappa": (64.5, 0.9, 0.0, 1.8)}
    for metric, figures in expected.items():
        assert 100 * np.array([pooled[metric], *differences[metric]]) == pytest.approx(figures, abs=0.1), metric
    assert differences["acc"][1] <= 0 < differences["acc"][0], "the interval just includes zero"
