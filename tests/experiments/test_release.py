"""What `release` makes of a profile's networks, on small ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import TINY

from sleepkit import results
from sleepkit.epochs import STAGES
from sleepkit.execution import paths
from sleepkit.experiments import release as releasing
from sleepkit.experiments.release import CHOOSERS, RELEASED, release
from sleepkit.network.saved import load_network, save_network
from sleepkit.network.sleepnet import SleepNet
from sleepkit.scoring import load_model, score


@pytest.fixture(scope="module")
def released(made, tmp_path_factory):
    """What `release` writes from the networks that were made; the rows it quotes."""
    results.write_table(made.rows.assign(pruned=0.0, acc=0.25), made.run.results(made.run.stage1) / "crossval.csv")
    folder = tmp_path_factory.mktemp("weights")
    return folder, release("toy", folder, cells=3)


def test_release_writes_networks_of_everybody_and_of_fold_0(made, released):
    epochs, full, (folder, written) = made.epochs, made.networks[0], released
    names = [name + way for way in ("", "_pruned", "_distilled") for name in ("edf20_first0.6s_L3", "fold0_L3")]
    assert [path.name for path in written] == names
    endings = {"edf20": (".json", ".onnx", ".safetensors"), "fold0": (".json", ".safetensors")}
    expected = {name + ending for name in names for ending in endings[name.split("_")[0]]}
    assert {path.name for path in folder.iterdir()} == expected
    everybody, fold0 = (load_network(folder / name)[1] for name in names[:2])
    train, valid = (everybody["training"][side] for side in ("train", "valid"))
    assert "test" not in everybody["training"] and len(valid) == CHOOSERS
    assert sorted(train + valid) == sorted(set(epochs.subject.tolist()))
    assert fold0["training"] == full.folds[0].subjects(epochs)
    same = zip(*(load_network(path)[0].parameters() for path in (folder / "fold0_L3", full.networks[0])), strict=False)
    assert all(torch.equal(one, other) for one, other in same)
    sizes = [everybody["parameters"], *(load_network(folder / name)[1]["parameters"] for name in names[2:])]
    assert sizes[1] < sizes[0] and len(set(sizes[1:])) == 1


def test_another_architecture_of_the_same_name_is_trained_on_everybody_anew(made, tmp_path, monkeypatch):
    full, runs = made.networks[0], []
    monkeypatch.setattr(releasing, "_carried_out", lambda plan, run: runs.append(plan.run))
    net, about = load_network(full.networks[0])
    other = replace(TINY, normal=tuple(("conv_1x1", source) for _, source in TINY.normal))
    save_network(SleepNet(other, net.channels, len(net.cells)), tmp_path / "fold0", {})
    for networks in (full.networks, {0: tmp_path / "fold0"}):
        releasing.train_everybody(replace(full, networks=networks), made.run)
    assert len(set(runs)) == 2


def test_what_stage_2_has_trained_is_released_as_it_is(made, released):
    """Fold 0's pruned and distilled networks lie among the runs of stage 2, and are told apart."""
    work = made.run.work(made.run.stage2)
    runs = [load_network(path.with_suffix(""))[0] for path in (work / "folds").glob("*/fold0.safetensors")]

    def weights(net):
        return torch.cat([parameter.flatten() for parameter in net.parameters()])

    pair = [weights(load_network(released[0] / f"fold0_L3_{way}")[0]) for way in ("pruned", "distilled")]
    for one in pair:
        assert sum(torch.equal(one, weights(net)) for net in runs) == 1
    assert not torch.equal(*pair)


def test_released_weights_quote_the_cross_validation_of_their_kind(made, released):
    folder, _ = released
    pooled = made.rows.query("protocol == 'subjectwise' and fold == 'pooled' and pruned == 0.5")
    labels = {"pruned": "edf20-toy", "distilled": "edf20-toy-distilled"}
    kinds = {name: pooled[pooled.genotype == label] for name, label in labels.items()}
    assert set(kinds) == set(RELEASED)
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
    epochs, folder = made.epochs, released[0]
    night = paths.runs("toy") / "nights" / "SC4001E0.npz"
    frames = [score(night, folder / f"edf20_first0.6s_L3{ending}").epochs for ending in ("", ".onnx")]
    assert len(frames[0]) == (epochs.night == "SC4001E0").sum()
    np.testing.assert_allclose(frames[0][list(STAGES)], frames[1][list(STAGES)], atol=1e-4)
    context = load_model(folder / "fold0_L3").context
    np.testing.assert_allclose(context.transition.sum(axis=1), 1)


def test_a_depth_that_was_not_trained_is_refused(released, tmp_path):
    with pytest.raises(ValueError, match="profile toy has no network of 9 cells with a fold 0"):
        release("toy", tmp_path, cells=9)
