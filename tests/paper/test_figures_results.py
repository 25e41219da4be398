"""Figures 11, 13, 14, 16 and 17: every fold, network and bin is drawn once, where its numbers say."""

import itertools

import numpy as np
import pandas as pd
import pytest
from figure_checks import NOTE, assert_readable

from sleepkit.experiments.calibration import expected_calibration_error, fit_temperature, reliability, temper
from sleepkit.network.size import count_macs
from sleepkit.network.sleepnet import SleepNet
from sleepkit.paper.figures import (
    plot_calibration,
    plot_importance,
    plot_latency,
    plot_sweep,
    plot_tradeoff,
    plot_training,
)
from sleepkit.paper.figures.pruning import LOOKS
from sleepkit.paper.figures.tradeoff import protocol_kind
from sleepkit.paper.published import FULL_MACS, baselines, published, published_genotype
from sleepkit.pruning.methods import METHODS
from sleepkit.results import COLUMNS, NETWORK, gather, with_parts

# --- figure 11


def curves(folds, depths=(3,), context="none"):
    frames = []
    for dataset, pruned, cells, fold in itertools.product(("edf20", "edf78"), (0.0, 0.5), depths, range(folds)):
        n = 4 + fold % 3
        keys = dict(zip(NETWORK, ("subjectwise", f"{dataset}-searched", 8, cells, pruned, context, 0), strict=True))
        frame = pd.DataFrame({"epoch": range(1, n + 1), "train_loss": np.linspace(1, 0.5, n), "valid_loss": 0.8})
        frames.append(frame.assign(valid_acc=np.linspace(0.5, 0.7 + fold / 100, n), valid_mf1=0.5, fold=fold, **keys))
    return with_parts(pd.concat(frames, ignore_index=True))


@pytest.mark.parametrize("found, depths", [(None, ()), (curves(2, (3, 7, 9)), (3, 7, 9)), (curves(20), (3,))])
def test_training_has_medians_by_depth_and_a_band(found, depths):
    table = published("training_curves")
    figure = plot_training(found, table, NOTE)
    words = assert_readable(figure)
    upper, lower = np.array(figure.axes[:8]).reshape(2, 4), np.array(figure.axes[8:]).reshape(-1, 4)
    assert len(lower) == 2 * bool(depths), "no panel without a run"
    mine = table.query("dataset == 'edf20' and model == 'full' and layers == 7")
    by_epoch = mine.pivot(index="epoch", columns="fold", values="val_acc").query("index <= 10")
    line = upper[1, 0].lines[0]
    assert (100 * by_epoch.median(axis=1)).tolist() == pytest.approx(line.get_ydata()[:10].tolist())
    trained = mine.groupby("epoch").size()
    assert line.get_xdata().max() == trained[trained >= 2.5].index.max(), "as long as half of the folds are trained"
    for panels, n in ((upper, 3), (lower, len(depths))):
        for loss, accuracy in panels.T if len(panels) else ():
            assert (len(loss.lines), len(accuracy.lines)) == (2 * n, n)
            assert len(loss.collections) == len(accuracy.collections) == 1, "the band of the held-out side"
    if found is not None:
        rows = found[(found.genotype == "edf20-searched") & (found.pruned == 0) & (found.cells == depths[0])]
        assert lower[1, 0].lines[0].get_ydata()[0] == pytest.approx(100 * rows[rows.epoch == 1].valid_acc.median())
    assert {"L = 7", "L = 9", "L = 11", "training side", "held-out side"} <= set(words)
    said = "b  This run, edf20-searched, subjectwise and edf78-searched, subjectwise, held out: validation subjects"
    assert (said in words) == (found is not None)


@pytest.fixture(scope="module")
def lines_of_two_folds():
    figure = plot_training(curves(2), published("training_curves"))
    return [line.get_ydata().tolist() for ax in figure.axes for line in ax.lines]


@pytest.mark.parametrize(
    "other", [{"genotype": "edf20-searched-distilled"}, {"protocol": "epochwise"}, {"context": "both"}]
)
def test_training_shows_the_first_network_alone(other, lines_of_two_folds):
    found = curves(2)
    both = with_parts(pd.concat([found, found.assign(valid_acc=0.0, **other)], ignore_index=True))
    figure = plot_training(both, published("training_curves"))
    assert [line.get_ydata().tolist() for ax in figure.axes for line in ax.lines] == lines_of_two_folds


def test_training_has_no_panel_for_a_stage_that_was_not_trained():
    found = curves(3)
    figure = plot_training(found[(found.pruned == 0) & (found.dataset == "edf20")], published("training_curves"), NOTE)
    assert_readable(figure)
    assert len(figure.axes) == 8 + 2


# --- figure 12


def test_importance_shows_every_filter_beside_its_layers_threshold():
    random = np.random.default_rng(4)
    layers = ["stem.0", "cells.0.operations.0.pointwise", "cells.0.operations.0.depthwise", "cells.1.preprocess0.1"]
    frame = pd.DataFrame({"layer": np.repeat(layers, 8), "importance": random.random(32)})
    frame["kept"] = frame.importance > frame.groupby("layer").importance.transform("median")
    frame.loc[frame.layer == "stem.0", "kept"] = False  # a layer may lose all its filters
    figure = plot_importance(frame, NOTE)
    words = assert_readable(figure)
    assert {"stem", "cell 0", "cell 1", "removed", "stays", "threshold of the layer"} <= set(words)
    full, depthwise = figure.axes
    gone, kept, thresholds, _ = full.collections
    rows = frame[~frame.layer.str.endswith("depthwise")]
    assert kept.get_offsets()[:, 1].tolist() == rows.importance[rows.kept].tolist()
    assert gone.get_offsets()[:, 1].tolist() == rows.importance[~rows.kept].tolist()
    assert set(np.round(np.mod(gone.get_offsets()[:, 0], 1), 3)) == {0.8}, "to the left of those that stay"
    heights = [segment[0, 1] for segment in thresholds.get_segments()]
    medians = rows.groupby("layer", sort=False).importance.median().tolist()
    assert heights[1:] == pytest.approx(medians[1:]) and heights[0] == rows.importance[:8].max()
    assert "4 of 8 depthwise filters stay, in 1 layers" in depthwise.get_title(loc="left")


# --- figure 13


def sweep(methods, seeds):
    random = np.random.default_rng(2)
    rows = [
        (method, ratio / 10, seed, 0.8 - ratio**2 / 200 + random.normal(0, 0.01), 0.7 - ratio / 20, 0.6, 0.8, 9, 9, 400)
        for method, ratio, seed in itertools.product(methods, range(10), range(seeds))
    ]
    return pd.DataFrame(rows, columns=COLUMNS["sweep.csv"])


@pytest.mark.parametrize("methods, seeds", [(METHODS, 3), (("l1", "importance"), 1)])
def test_sweep_has_mean_and_sd_of_every_method_at_every_ratio(methods, seeds):
    frame = sweep(methods, seeds)
    figure = plot_sweep(frame, NOTE)
    words = assert_readable(figure)
    assert ("± 1 sd over 3 seeds" in " ".join(words)) == (seeds == 3)
    assert "scored on 400 test epochs" in " ".join(words)
    for ax, score in zip(figure.axes, ("acc", "mf1"), strict=True):
        assert len(ax.containers) == len(methods)
        assert ax.get_xlabel() == "filters removed, %" and ax.get_ylabel().endswith(", %")
        drawn = {bars.get_label(): bars for bars in ax.containers}
        means = frame[frame.method == "importance"].groupby("ratio")[score]
        line, _, (bars,) = drawn["importance (capacity and independence)"]
        assert line.get_ydata().tolist() == pytest.approx((100 * means.mean()).tolist())
        assert np.abs(line.get_xdata() - 100 * means.mean().index).max() < 1.1
        lengths = [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()]
        sd = means.std(ddof=1) if seeds > 1 else 0 * means.mean()
        assert lengths == pytest.approx((200 * sd).tolist(), abs=1e-9)


def test_every_method_has_a_look_of_its_own():
    assert list(LOOKS) == list(METHODS) and len(set(LOOKS.values())) == len(METHODS)


def test_sweep_refuses_a_method_that_it_does_not_know():
    with pytest.raises(ValueError, match=r"unknown method magic.*importance"):
        plot_sweep(sweep(("magic",), 1))


# --- figure 14


def networks():
    rows, sizes = [], []
    for dataset, protocol, pruned in itertools.product(("edf20", "edf78"), ("subjectwise", "epochwise"), (0.0, 0.5)):
        for context, seed, fold in itertools.product(("none", "both"), (0, 1), ("0", "pooled")):
            acc = 0.7 + seed / 50 + (context == "both") / 10 - pruned / 10
            rows.append((protocol, f"{dataset}-searched", 8, 7, pruned, context, seed, fold, acc, 0.6, 0.5, 0.7, 900))
        sizes.append((f"{dataset}-searched", 8, 7, pruned, 60000 * (1 - pruned), 1e7 * (1 - pruned), 500))
    return with_parts(pd.DataFrame(rows, columns=COLUMNS["crossval.csv"])), pd.DataFrame(
        sizes, columns=COLUMNS["parameters.csv"]
    )


@pytest.mark.parametrize("crossval, parameters", [(None, None), networks()], ids=["published", "run"])
def test_tradeoff_shows_every_network_whose_size_is_known(crossval, parameters):
    figure = plot_tradeoff(crossval, parameters, NOTE)
    words = assert_readable(figure)
    for line, dataset in zip(np.array(figure.axes[:6]).reshape(2, 3), ("edf20", "edf78"), strict=True):  # noqa: B007
        others = baselines().query("dataset == @dataset")
        for ax, column in zip(line[:2], ("params", "mmacs"), strict=True):
            known = others[others[column].notna() & others.acc.notna()]
            assert len(ax.lines) == len(known) + 6, "the published networks and the others whose size is known"
            unit = 1e3 if column == "params" else 1
            at = {(round(mark.get_xdata()[0], 3), round(mark.get_ydata()[0], 2)) for mark in ax.lines}
            assert {(round(row[column] / unit, 3), round(row.acc, 2)) for _, row in known.iterrows()} <= at
        assert len(line[2].lines) == len(others), "the list names every baseline"
    assert {"parameters, thousands", "MACs per epoch, millions", "accuracy, %"} <= set(words)
    assert ("this run" in words) == (crossval is not None)
    assert len(figure.axes) == 6 + 2 * (crossval is not None)
    for ax in figure.axes[6:]:
        marks = [bars[0] for bars in ax.containers]
        fills = [mark.get_fillstyle() for mark in marks]
        assert len(marks) == 4, "two protocols, full and pruned; seeds are averaged, context stays out"
        assert fills.count("full") == fills.count("none") == 2, "protocols are told apart"
        assert marks[0].get_xdata()[0] == pytest.approx(71) and marks[-1].get_xdata()[0] == pytest.approx(66)
        names = ["searched, L = 7"] * 2 + ["searched, L = 7, 50 % pruned"] * 2
        assert [label.get_text() for label in ax.get_yticklabels()] == names
        sizes = ["parameters", "60,000", "60,000", "30,000", "30,000", "MACs, M", "10.0", "10.0", "5.0", "5.0"]
        assert [text.get_text() for text in ax.texts] == sizes


def test_tradeoff_names_variants_and_shows_the_peer_on_the_same_epochs_alone():
    crossval, parameters = networks()
    others = [frame.assign(genotype=frame.genotype + "-distilled") for frame in (crossval, parameters)]
    crossval, parameters = (pd.concat(pair) for pair in zip((crossval, parameters), others, strict=True))
    for n, peers in ((900, 0), (42_308, 1)):
        words = assert_readable(plot_tradeoff(with_parts(crossval.assign(n=n)), parameters, NOTE))
        assert words.count("searched, L = 7, 50 % pruned, distilled") == 4, "data sets times protocols"
        assert words.count("AttnSleep at 5 s") == peers and words.count("not stated") == 2 * peers


def test_tradeoff_of_the_real_nights_can_be_read():
    crossval, parameters = (gather("first5s-cpu", f"{name}.csv") for name in ("crossval", "parameters"))
    assert "nested, L = 7" in assert_readable(plot_tradeoff(crossval, parameters, NOTE))


def test_every_baseline_protocol_has_its_kind():
    kinds = {protocol: protocol_kind(protocol) for protocol in baselines().protocol}
    assert kinds["20-fold subject-wise; best epoch on the test fold"] == "test fold"
    assert {p for p, kind in kinds.items() if kind == "not stated"} == {"not stated", "personalised"}
    assert protocol_kind("subjectwise") == "subjects apart" and protocol_kind("epochwise") == "test fold"


@pytest.mark.parametrize("dataset, channels", [("edf20", 8), ("edf78", 9)])
def test_multiplications_of_the_published_networks(dataset, channels):
    for cells, macs in FULL_MACS[dataset].items():
        assert round(count_macs(SleepNet(published_genotype(dataset), channels, cells), 3000) / 1e6, 2) == macs / 1e6


# --- figure 16


def calibration():
    """What a confident network's probabilities give, by the true functions."""
    random = np.random.default_rng(5)
    y = random.integers(0, 5, 3000)
    frames = []
    for network, noise in (("full", 1.0), ("pruned", 1.6)):
        logits = 3 * (np.eye(5)[y] + noise * random.standard_normal((len(y), 5)))
        prob = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        fitted = fit_temperature(y, prob)
        for scaled, temperature in ((0, 1.0), (1, fitted)):
            at = temper(prob, temperature)
            facts = {"network": network, "temperature_scaled": scaled, "temperature": temperature}
            frames.append(reliability(y, at).assign(ece=expected_calibration_error(y, at), **facts))
    return pd.concat(frames, ignore_index=True)[COLUMNS["calibration.csv"]]


def test_calibration_draws_every_bin_before_and_after():
    frame = calibration()
    figure = plot_calibration(frame, NOTE)
    words = assert_readable(figure)
    panels = list(itertools.product(("full", "pruned"), (0, 1)))
    upper, lower = np.array(figure.axes).reshape(2, 4)
    for ax, count, (network, scaled) in zip(upper, lower, panels, strict=True):
        rows = frame[(frame.network == network) & (frame.temperature_scaled == scaled)]
        assert len(rows) == 15
        few = (rows.n < 0.01 * rows.n.sum()).to_numpy()
        filled = pd.concat([rows[(rows.n > 0) & ~few], rows[(rows.n > 0) & few]])
        assert [bar.get_height() for bar in ax.patches] == pytest.approx(filled.accuracy.tolist())
        faint = [bar.get_alpha() < 0.2 for bar in ax.patches]
        assert faint == (filled.n < 0.01 * rows.n.sum()).tolist(), "bins of few epochs are faint"
        assert [x for dots in ax.lines[1:] for x in dots.get_xdata()] == filled.confidence.tolist()
        assert sum(bar.get_height() for bar in count.patches) == pytest.approx(1)
        assert f", ECE {100 * rows.ece.iloc[0]:.1f} %" in ax.get_title(loc="left") and not ax.texts, "bars are covered"
        assert (f"T = {rows.temperature.iloc[0]:.2f}" in ax.get_title(loc="left")) == bool(scaled)
    assert {"confidence", "accuracy"} <= set(words)
    by = frame.groupby(["network", "temperature_scaled"]).ece.first()
    assert by["full", 1] < by["full", 0] and by["pruned", 1] < by["pruned", 0], "the frame is one of a real scaling"


# --- figure 17


@pytest.mark.parametrize("runtimes", [("pytorch", "onnx", "int8"), ("pytorch",)])
@pytest.mark.parametrize("lengths", [(500, 3000), (3000,)])
def test_latency_has_a_bar_per_network_runtime_and_length(runtimes, lengths):
    rows = [
        (network, runtime, length, 9, 9, 4000 * (i + 1), 1.5 + i, 2.5 + i, 200 + i, 1, 99)
        for i, (network, length, runtime) in enumerate(itertools.product(("pruned", "full"), lengths, runtimes))
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS["cost.csv"])
    figure = plot_latency(frame, NOTE)
    words = assert_readable(figure)
    latency, size = figure.axes
    assert latency.get_xscale() == "log" and size.get_xscale() == "linear"
    names = [label.get_text() for label in latency.get_yticklabels()]
    assert len(names) == 2 * len(runtimes) and names[:2] == ["full, PyTorch", "pruned, PyTorch"]
    assert sorted(line.get_xdata()[0] for line in latency.lines) == sorted(frame.median_ms)
    rows = frame.sort_values("samples").drop_duplicates(["network", "runtime"]).set_index(["network", "runtime"])
    bars = {bar.get_y() + bar.get_height() / 2: bar.get_width() for bar in size.patches}
    assert len(bars) == len(names) and bars[min(bars)] == rows.file_bytes["full", "pytorch"] / 1e3
    for length in lengths:
        assert f"epoch of {length:,} samples" in words
        row = frame[(frame.samples == length) & (frame.network == "full") & (frame.runtime == "pytorch")].iloc[0]
        (line,) = [line for line in latency.lines if line.get_xdata()[0] == row.median_ms]
        assert round(float(line.get_ydata()[0])) == 0, "the first name stands at its own marks"
        assert f" {row.median_ms:.2f}" in words
    assert any("ms per epoch" in word for word in words) and any("kB" in word for word in words)


def test_differences_are_drawn_where_they_were_measured(tmp_path, monkeypatch):
    """A point of a difference stands at its place in points, and its text says the interval."""
    from sleepkit.paper.figures import plot_differences

    columns = "comparison genotype channels cells metric difference low high seeds subjects".split()
    rows = [("pruned - full", "edf20-searched", 4, 3, metric, -0.01, -0.02, 0.005, 2, 9) for metric in ("acc", "mf1")]
    figure = plot_differences(pd.DataFrame(rows, columns=columns), "Profile x")
    (ax,) = figure.axes
    assert ax.containers[0].lines[0].get_xdata().tolist() == [-1.0]
    assert "−1.0 (−2.0 to +0.5)" in [text.get_text() for text in ax.texts]
    assert any("9 people" in text.get_text() and "seeds: 2; 95" in text.get_text() for text in figure.texts)
