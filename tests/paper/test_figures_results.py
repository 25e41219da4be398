"""Figures 11, 13, 14, 16 and 17: every fold, network and bin is drawn once, where its numbers say."""

import itertools

import numpy as np
import pandas as pd
import pytest
from figure_checks import NOTE, assert_readable

from sleepkit.evaluation.calibration import expected_calibration_error, fit_temperature, reliability, temper
from sleepkit.network.size import count_macs
from sleepkit.network.sleepnet import SleepNet
from sleepkit.paper.figures import plot_calibration, plot_latency, plot_sweep, plot_tradeoff, plot_training
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


@pytest.mark.parametrize("found, rows", [(None, 2), (curves(2, (3, 7, 9)), 4), (curves(20), 4)])
def test_training_has_a_line_per_fold_and_side(found, rows):
    figure = plot_training(found, published("training_curves"), NOTE)
    words = assert_readable(figure)
    panels = np.array(figure.axes).reshape(rows, 4)
    for i, dataset in enumerate(("edf20", "edf78")):
        for j, model in enumerate(("full", "pruned")):  # noqa: B007  the query reads it
            mine = published("training_curves").query("dataset == @dataset and model == @model")
            folds = mine.groupby(["layers", "fold"])
            loss, accuracy = panels[:2, 2 * i + j]
            assert len(accuracy.lines) == folds.ngroups == 15 and len(loss.lines) == 30
            lasts = sorted(100 * fold.val_acc.iloc[-1] for _, fold in folds)
            assert sorted(line.get_ydata()[-1] for line in accuracy.lines) == pytest.approx(lasts)
            if found is not None:
                runs = found[(found.genotype == f"{dataset}-searched") & (found.pruned == (0.5 if j else 0))]
                loss, accuracy = panels[2:, 2 * i + j]
                assert len(accuracy.lines) == runs.groupby(["cells", "fold"]).ngroups
                assert sum(len(line.get_xdata()) for line in accuracy.lines) == len(runs)
                assert len(loss.lines) == 2 * len(accuracy.lines)
    assert {"L = 7", "L = 9", "L = 11", "training side", "held-out side"} <= set(words)
    assert any("This run, held out: validation subjects (subjectwise)" in word for word in words) == (found is not None)


@pytest.mark.parametrize("way", ["-distilled", "-ensemble"])
def test_training_leaves_networks_with_another_loss_out(way):
    found = curves(2)
    others = found[found.pruned > 0].assign(genotype=lambda rows: rows.genotype + way)
    both = with_parts(pd.concat([found, others], ignore_index=True))
    figures = [plot_training(frame, published("training_curves")) for frame in (found, both)]
    assert len({sum(len(ax.lines) for ax in figure.axes) for figure in figures}) == 1
    assert ["not shown" in figure.get_supxlabel() for figure in figures] == [False, True]


def test_training_leaves_an_empty_stage_empty():
    found = curves(3)
    figure = plot_training(found[found.pruned == 0], published("training_curves"), NOTE)
    assert assert_readable(figure).count("no network") == 4


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
    known_methods = baselines()
    for line, dataset in zip(np.array(figure.axes).reshape(2, 3), ("edf20", "edf78"), strict=True):
        others = known_methods[known_methods.dataset.str.startswith(dataset)]
        mine = 0 if crossval is None else 4  # two protocols, full and pruned; seeds are averaged, context stays out
        for ax, column in zip(line[:2], ("params", "mmacs"), strict=True):
            known = others[others[column].notna() & others.acc.notna()]
            marks = [bars[0] for bars in ax.containers]
            assert len(marks) == len(known) + 6 + mine
            assert len(ax.texts) == len(known)
            unit = 1e3 if column == "params" else 1
            at = {(round(mark.get_xdata()[0], 3), round(mark.get_ydata()[0], 2)) for mark in marks}
            assert {(round(row[column] / unit, 3), round(row.acc, 2)) for _, row in known.iterrows()} <= at
            fills = [mark.get_fillstyle() for mark in marks[-mine:]] if mine else []
            assert fills.count("full") == fills.count("none") == mine / 2, "protocols are told apart"
        assert len(line[2].lines) == len(others), "the list names every baseline"
    assert {"parameters, thousands", "MACs per epoch, millions", "accuracy, %"} <= set(words)
    assert ("this run" in words) == (crossval is not None)


def test_tradeoff_names_what_has_the_size_of_another_network():
    frames = []
    for frame, better in zip(networks(), ({"acc": 0.75}, {}), strict=True):
        others = frame[frame.pruned > 0].assign(genotype=frame.genotype + "-distilled", **better)
        frames.append(pd.concat([frame, others, frame.assign(genotype=frame.genotype + "-scratch")]))
    crossval, parameters = with_parts(frames[0]), frames[1]
    apart = crossval[crossval.protocol == "subjectwise"]
    words = assert_readable(plot_tradeoff(apart, parameters, NOTE))
    assert words.count("distilled") == 4  # data sets times quantities
    assert words.count("scratch") == 8  # and full and pruned
    assert "searched" not in words  # as all are
    known = [frame.assign(genotype=frame.genotype.str.replace("searched", "published")) for frame in networks()]
    crossval, parameters = (pd.concat([frame, more]) for frame, more in zip(networks(), known, strict=True))
    assert (
        assert_readable(plot_tradeoff(with_parts(crossval), parameters, NOTE)).count("searched") == 16
    )  # two protocols


@pytest.mark.parametrize("distilled", [0.7360, 0.7304], ids=["better", "level"])
def test_tradeoff_puts_words_of_one_size_above_one_another(distilled):
    """Also where the word of a somewhat smaller network stands below them."""
    crossval, parameters = networks()
    full = crossval[(crossval.protocol == "subjectwise") & (crossval.pruned == 0)]
    ways = (("", 0.73, 1), ("-distilled", distilled, 1), ("-scratch", 0.7365, 1), ("nested", 0.7314, 0.77))

    def label(genotype, way):
        return genotype.str.replace("searched", way) if way == "nested" else genotype + way

    same = with_parts(pd.concat([full.assign(genotype=label(full.genotype, way), acc=acc) for way, acc, _ in ways]))
    sizes = []
    for way, _, share in ways:
        smaller = {name: parameters[name] * share for name in ("params", "macs")}
        sizes.append(parameters.assign(genotype=label(parameters.genotype, way), **smaller))
    words = assert_readable(plot_tradeoff(same, pd.concat(sizes), NOTE))
    for word in ("scratch", "distilled", "nested"):
        assert words.count(word) == 4, "data sets times quantities"


def test_tradeoff_of_the_real_nights_can_be_read():
    crossval, parameters = (gather("first5s-cpu", f"{name}.csv") for name in ("crossval", "parameters"))
    assert "nested" in assert_readable(plot_tradeoff(crossval, parameters, NOTE))


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
        filled = rows[rows.n > 0]
        assert len(rows) == 15 and [bar.get_height() for bar in ax.patches] == pytest.approx(filled.accuracy.tolist())
        _, dots = ax.lines
        assert dots.get_xdata().tolist() == filled.confidence.tolist()
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
    panels = np.array(figure.axes).reshape(len(lengths), 3)
    for line, length in zip(panels, lengths, strict=True):
        mine = frame[frame.samples == length]
        for ax, column, unit in zip(line, ("median_ms", "file_bytes", "peak_mb"), (1, 1000, 1), strict=True):
            assert sorted(bar.get_width() for bar in ax.patches) == pytest.approx(sorted(mine[column] / unit))
            assert len(ax.texts) == len(mine)
        assert f"{length:,} samples" in line[0].get_title(loc="left")
        names = [label.get_text() for label in line[0].get_yticklabels()]
        assert len(names) == len(mine) and names[:2] == ["full, PyTorch", "pruned, PyTorch"]
        heights = {bar.get_y() + bar.get_height() / 2: bar.get_width() for bar in line[0].patches}
        expected = mine[(mine.network == "full") & (mine.runtime == "pytorch")].median_ms.iloc[0]
        assert heights[max(heights)] == pytest.approx(expected), "the first name stands at its own bar"
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
