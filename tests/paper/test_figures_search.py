"""Figures 7 and 8: every weight, every removed operation and every removed sample is where it belongs."""

import numpy as np
import pandas as pd
import pytest
from figure_checks import NOTE, assert_readable
from matplotlib.colors import to_rgba

from sleepkit.epochs import STAGES, EpochSet
from sleepkit.genotype import OPERATION_NAMES, edges, random_genotype
from sleepkit.paper.figures import plot_removed, plot_sharpening
from sleepkit.paper.figures.cells import short_name
from sleepkit.paper.figures.style import HYPNOGRAM, STAGE_COLOURS
from sleepkit.pruning.data import removed_examples, sample_variances
from sleepkit.pruning.operations import discretise, temperature, weak_operations
from sleepkit.results import COLUMNS

KINDS = ("normal", "reduce")


def annealed_search(nodes, epochs, every, until):
    """weights.npz, removed_operations.csv and history.csv of a search whose α drifts at random: true softmax, true
    pruning."""
    random = np.random.default_rng(nodes)
    alive = {kind: np.ones((len(edges(nodes)), len(OPERATION_NAMES)), dtype=bool) for kind in KINDS}
    alpha = {kind: np.zeros(alive[kind].shape) for kind in KINDS}
    weights, removed, gone = {"normal": [], "reduce": []}, [], []
    for epoch in range(1, epochs + 1):
        gone.append(0)
        for kind in KINDS:
            alpha[kind] = alpha[kind] + 0.35 * random.standard_normal(alpha[kind].shape)
            raised = np.where(alive[kind], np.exp(alpha[kind] / temperature(epoch - 1)), 0)
            now = raised / raised.sum(axis=1, keepdims=True)
            weights[kind].append(now.astype(np.float32))
            if epoch % every == 0 and epoch <= until:
                weak = weak_operations(now, alive[kind])
                alive[kind] &= ~weak
                for edge, column in np.argwhere(weak):
                    node, source = edges(nodes)[edge]
                    removed.append((epoch, kind, edge, source, node, OPERATION_NAMES[column], now[edge, column]))
                    gone[-1] += 1
    history = pd.DataFrame(0, index=range(epochs), columns=COLUMNS["history.csv"])
    history = history.assign(epoch=range(1, epochs + 1), removed_operations=gone)
    temperatures = np.array([temperature(epoch) for epoch in range(epochs)])
    arrays = {"epoch": np.arange(1, epochs + 1), "temperature": temperatures}
    arrays |= {kind: np.stack(parts) for kind, parts in weights.items()}
    genotype = discretise(*(arrays[kind][-1] for kind in ("normal", "reduce")))
    return arrays, pd.DataFrame(removed, columns=COLUMNS["removed_operations.csv"]), history, genotype


@pytest.mark.parametrize(
    "nodes, epochs, every, until, shown",
    [(7, 25, 5, 22, [1, 5, 10, 15, 20, 25]), (4, 5, 2, 4, [1, 2, 4, 5]), (5, 1, 2, 2, [1])],
)
def test_sharpening_has_a_map_per_round_and_marks_what_is_removed(nodes, epochs, every, until, shown):
    weights, removed, history, genotype = annealed_search(nodes, epochs, every, until)
    figure = plot_sharpening(weights, removed, history, genotype, NOTE)
    words = assert_readable(figure)
    maps = [ax for ax in figure.axes if ax.get_images()]
    assert len(maps) == 2 * len(shown)
    for i, ax in enumerate(maps):
        kind, epoch = ("normal", "reduce")[i % 2], shown[i // 2]
        here, earlier = (
            removed[(removed.kind == kind) & part] for part in (removed.epoch == epoch, removed.epoch < epoch)
        )
        drawn = ax.get_images()[0].get_array()
        assert drawn.shape == (10, len(edges(nodes))) and drawn.mask.sum() == len(earlier), "grey: removed before"
        assert np.allclose(drawn, weights[kind][epoch - 1].T)
        assert (weights[kind][epoch - 1].T[drawn.mask] == 0).all()
        crosses = ax.collections[0].get_offsets()
        assert crosses.tolist() == [[row.edge, OPERATION_NAMES.index(row.operation)] for row in here.itertuples()]
        assert any(word.startswith(f"epoch {epoch}, T = {weights['temperature'][epoch - 1]:.2f}") for word in words)
    assert set(map(short_name, OPERATION_NAMES)) <= set(words) and "softmax(α/T)" in " ".join(words)
    for ax, cell in zip(maps[-2:], (genotype.normal, genotype.reduce), strict=True):
        assert len(ax.lines) == len(cell) == 2 * nodes, "a ring for every operation of the genotype"
        rings = {(round(float(line.get_xdata()[0])), OPERATION_NAMES[int(line.get_ydata()[0])]) for line in ax.lines}
        places = [edges(nodes).index((entry // 2, source)) for entry, (_, source) in enumerate(cell)]
        assert rings == {(edge, operation) for edge, (operation, _) in zip(places, cell, strict=True)}


def test_sharpening_of_a_search_without_operation_pruning_has_start_and_end():
    weights, removed, history, _ = annealed_search(4, 6, 9, 0)
    assert removed.empty
    figure = plot_sharpening(weights, removed, history, random_genotype(4, 0), NOTE)
    assert_readable(figure)
    assert [len(ax.get_images()) for ax in figure.axes].count(1) == 4


def recorded(n=600):
    """Epochs, and the rows of SearchResult.voe of two rounds in which the extremes of each half leave."""
    random = np.random.default_rng(8)
    y = random.integers(0, 4, n)  # there is no REM
    number = np.arange(n)
    x = 40 * random.standard_normal((n, 200)).astype(np.float32)
    epochs = EpochSet(x, y, number // 300, np.full(n, "SC4001E0"), 10_000 + number[::-1], 100.0)
    frames = []
    for epoch in (2, 4):
        for half, rows in (("train", number[: n // 2]), ("valid", number[n // 2 :])):
            voe = 10.0 ** random.uniform(-12, -1, len(rows))
            removed = np.isin(np.arange(len(rows)), np.argsort(voe if half == "train" else -voe)[:15])
            frame = {"epoch": epoch, "half": half, "id": epochs.id[rows], "voe": voe, "removed": removed}
            frames.append(pd.DataFrame(frame))
    return epochs, pd.concat(frames, ignore_index=True)


def test_samples_keep_their_stage_and_the_most_extreme_removed_ones_become_examples():
    epochs, frame = recorded()
    voe = sample_variances(epochs, frame)
    stage_of = dict(zip(epochs.id.tolist(), epochs.y.tolist(), strict=True))
    assert voe["y"].tolist() == [stage_of[sample] for sample in frame.id] and voe["half"].dtype.kind == "U"
    examples = removed_examples(epochs, voe)
    assert examples["stage"].tolist() == 2 * list(STAGES[:4])
    assert examples["half"].tolist() == 4 * ["train"] + 4 * ["valid"]
    gone = frame[frame.removed].assign(y=[stage_of[sample] for sample in frame[frame.removed].id])
    for row, stage in enumerate(STAGES[:4]):
        mine = gone[gone.y == STAGES.index(stage)].groupby("half").voe
        assert examples["voe"][row] == mine.min()["train"] and examples["voe"][4 + row] == mine.max()["valid"]
        place = epochs.id.tolist().index(examples["id"][row])
        assert np.allclose(examples["x"][row], epochs.x[place], atol=0.1), "µV of that very sample"
    assert examples["fs"] == 100


def test_removed_shows_every_sample_once_and_every_example():
    epochs, frame = recorded()
    voe = sample_variances(epochs, frame)
    figure = plot_removed(voe, removed_examples(epochs, voe), NOTE)
    words = assert_readable(figure)
    upper, lower = np.split(np.array(figure.axes), 2)
    assert len(upper) == len(lower) == 2 * len(HYPNOGRAM)
    for i, ax in enumerate(upper):
        half, stage = ("train", "valid")[i % 2], HYPNOGRAM[i // 2]
        mine = (voe["half"] == half) & (voe["y"] == STAGES.index(stage))
        kept, removed = ax.patches
        for stairs, side in ((kept, False), (removed, True)):
            assert stairs.get_data().values.sum() == (mine & (voe["removed"] == side)).sum(), "both count samples"
        assert ax.get_yscale() == "log" and ax.get_ylim() == upper[0].get_ylim(), "one scale for all"
        assert ax.get_title(loc="right") == f"{(mine & voe['removed']).sum():,} of {mine.sum():,} removed"
        assert kept.get_facecolor() == to_rgba(STAGE_COLOURS[stage])
    for i, ax in enumerate(lower):
        stage = HYPNOGRAM[i // 2]
        assert len(ax.lines) == (stage != "REM")
        if stage != "REM":
            assert len(ax.lines[0].get_xdata()) == 200 and ax.lines[0].get_color() == STAGE_COLOURS[stage]
            assert ax.get_xlim() == (0, 2) and "VoE" in ax.get_title(loc="right")
    assert words.count("none removed") == 2 and any("µV" in word for word in words)
    assert any("one logarithmic scale" in word for word in words)


def test_removed_of_a_search_without_a_round_is_empty_but_drawn(tmp_path):
    epochs, frame = recorded()
    voe = sample_variances(epochs, frame.head(0).astype(object))
    np.savez(tmp_path / "voe.npz", **voe)
    with np.load(tmp_path / "voe.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"epoch", "half", "id", "voe", "removed", "y"}
        figure = plot_removed(dict(arrays), removed_examples(epochs, voe), NOTE)
    assert assert_readable(figure).count("none removed") == 10
