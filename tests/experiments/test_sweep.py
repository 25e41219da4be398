"""The sweep over pruning ratios, and what grows back under the masks of the released code."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from toy import TINY

from sleepkit import results
from sleepkit.evaluation.training import TrainSettings
from sleepkit.experiments.settings import Sweep
from sleepkit.experiments.stage2 import pruned_network
from sleepkit.experiments.sweep import count_regrowth, regrowth, sweep_ratios
from sleepkit.network.size import count_parameters
from sleepkit.network.sleepnet import SleepNet
from sleepkit.pruning.filters import released_mask

SWEEP = Sweep(ratios=(0, 0.5))


@pytest.fixture(scope="module")
def swept(made):
    return sweep_ratios(made.networks, SWEEP, made.pruning, made.run)


def test_sweep_has_a_row_per_method_ratio_and_seed_on_the_first_fold(made, swept):
    assert list(swept) == results.COLUMNS["sweep.csv"]
    rows = set(swept[["method", "ratio", "seed"]].itertuples(index=False, name=None))
    assert rows == {(m, r, s) for m in SWEEP.methods for r in (0, 0.5) for s in (0, 1)} - {
        ("scratch", 0, seed) for seed in (0, 1)
    }
    assert len(swept) == 22
    assert set(swept.n) == {len(made.networks[0].folds[0].test)}
    sizes = swept.set_index(["method", "ratio"]).params
    full = count_parameters(SleepNet(TINY, 4, 3))
    assert set(sizes["released"]) == {full}, "nothing is removed"
    for method in ("importance", "random", "l1", "distilled"):
        assert set(sizes[method, 0]) == {full} and (sizes[method, 0.5] < full).all()
    assert set(sizes["scratch", 0.5]) == set(sizes["importance", 0.5]), "as wide as the pruned network"
    zero = swept[(swept.ratio == 0) & ~swept.method.isin(["released", "distilled"])].groupby("seed")
    assert (zero.acc.nunique() == 1).all(), "without pruning the methods are one"


def test_sweep_at_the_notebook_s_ratio_is_the_notebook_s_fold(made, swept):
    rows = made.rows.query("protocol == 'subjectwise' and context == 'none' and fold == 0 and genotype == 'edf20-toy'")
    ours = swept.query("method == 'importance' and ratio == 0.5").set_index("seed").acc
    assert ours.to_dict() == pytest.approx(rows.set_index("seed").acc.to_dict())


def test_from_scratch_has_the_widths_of_the_pruned_network_and_none_of_its_weights(made):
    networks = made.networks[0].networks
    pruned, fresh = (pruned_network(networks, 0.5, 0.5, method, 0, 0) for method in ("importance", "scratch"))
    assert fresh.widths == pruned.widths
    pairs = zip(pruned.named_parameters(), fresh.parameters(), strict=True)
    assert not [name for (name, one), other in pairs if one.dim() > 1 and torch.equal(one, other)]


def test_the_sweep_compares_the_methods_that_are_asked_for(made, swept):
    chosen = Sweep(ratios=(0, 0.5), methods=("l1", "scratch"))
    rows = sweep_ratios(made.networks, chosen, made.pruning, made.run)
    expected = swept[swept.method.isin(chosen.methods)]
    pd.testing.assert_frame_equal(rows, expected.sort_values("method", kind="stable").reset_index(drop=True))


def test_the_sweep_is_refused_on_folds_that_stage_1_did_not_train(made):
    one = [replace(network, networks={1: network.networks[1]}) for network in made.networks[:2]]
    with pytest.raises(ValueError, match=r"sweep_folds: \[0\]: stage 1 trained seed 0 on the folds \[1\]; name"):
        sweep_ratios(one, SWEEP, made.pruning, made.run)


def test_without_ratios_there_is_no_sweep(made, swept):
    path = made.run.results(made.run.stage2) / "sweep.csv"
    before = path.read_text()
    assert sweep_ratios(made.networks, Sweep(), made.pruning, made.run).empty
    assert path.read_text() == before


def test_regrowth_counts_what_was_zero_and_is_not():
    """Against a plain count, weight by weight, before and after three steps."""
    torch.manual_seed(0)
    net = released_mask(SleepNet(TINY, 4, 3), 0.5)
    before = {name: weight.detach().clone() for name, weight in net.named_parameters() if weight.ndim == 3}
    x, y = torch.randn(40, 64), torch.arange(40) % 5
    rows = count_regrowth(net, x, y, TrainSettings(lr=0.01, batch=16), steps=3)
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
    frame = regrowth(made.networks, made.pruning, made.run, steps=4)
    assert frame[["seed", "step"]].to_numpy().tolist() == [[seed, step] for seed in (0, 1) for step in range(5)]
    assert (frame.groupby("seed").zeroed_weights.nunique() == 1).all()
    pd.testing.assert_frame_equal(results.read("toy", "stage2_prune/regrowth.csv"), frame)
