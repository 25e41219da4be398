"""Every figure shows what it was given, nothing is cut, no words overlap, and the same input gives the same bytes."""

import contextlib
import io
import itertools
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from figure_checks import NOTE, assert_readable
from IPython.display import Markdown
from matplotlib.image import imsave
from matplotlib.patches import FancyBboxPatch, PathPatch
from PIL import Image

from sleepkit.epochs import STAGES
from sleepkit.evaluation.scores import CONTEXTS
from sleepkit.execution import paths
from sleepkit.execution.notebooks import NAMES
from sleepkit.genotype import OPERATION_NAMES, Genotype
from sleepkit.metrics import per_class
from sleepkit.paper import display, figures, items, show, tables
from sleepkit.paper.display import write_index
from sleepkit.paper.figures import (
    overview,
    plot_cells,
    plot_confusion,
    plot_confusions,
    plot_framework,
    plot_night,
    plot_overview,
    plot_scored,
    plot_search,
    save,
)
from sleepkit.paper.figures.layout import crossings, layered
from sleepkit.paper.figures.networks import matrix_of
from sleepkit.paper.figures.search import pruning_epochs
from sleepkit.paper.figures.style import DPI, HYPNOGRAM, PAGE, STAGE_COLOURS, new_figure, save_png
from sleepkit.paper.pictures import light_svg
from sleepkit.paper.provenance import provenance
from sleepkit.paper.published import SEARCH_SAMPLES, published, published_confusion, published_genotype
from sleepkit.results import COLUMNS, NETWORK, with_parts


def random_genotype(nodes, seed):
    random = np.random.default_rng(seed)

    def cell():
        for node in range(nodes):
            for _ in range(2):
                source = 1 + node if node and random.random() < 0.4 else random.integers(0, 2 + node)
                yield OPERATION_NAMES[random.integers(1, len(OPERATION_NAMES))], int(source)

    return Genotype(tuple(cell()), tuple(cell()))


def history(epochs=6, every=2):
    epoch = np.arange(1, epochs + 1)
    rounds, removes = (epoch - 1) // every, (epoch % every == 0) & (epoch < epochs)
    frame = pd.DataFrame(0.5, index=range(epochs), columns=COLUMNS["history.csv"])
    left = (1000 * 0.95**rounds).astype(int)
    frame = frame.assign(epoch=epoch, temperature=1.5 * 0.95**epoch, operations=400 - 9 * rounds)
    frame = frame.assign(n_train=left, n_valid=left + 1, removed_operations=9 * removes)
    return frame.assign(removed_train=50 * removes, removed_valid=50 * removes)


def confusion_rows(networks, matrix=None):
    matrix = np.arange(25).reshape(5, 5) * 97 if matrix is None else matrix
    rows = [
        (*network, true, predicted, matrix[i, j])
        for network in networks
        for i, true in enumerate(STAGES)
        for j, predicted in enumerate(STAGES)
    ]
    return with_parts(pd.DataFrame(rows, columns=[*NETWORK, "true", "predicted", "n"]))


def predictions(n=240):
    random = np.random.default_rng(1)
    y = np.repeat(random.integers(0, 5, n // 8), 8)
    prob = random.dirichlet(np.ones(5), n)
    number = np.concatenate([np.arange(n // 2), np.arange(n // 2) + n // 2 + 30])  # 30 epochs are missing half way
    night = np.array(["SC4011E0"] * n)
    return {
        "id": 110_000 + number,
        "night": night,
        "subject": np.ones(n),
        "y": y,
        "fold": np.zeros(n),
        "prob": prob.astype(np.float16),
        "prob_context": np.eye(5, dtype=np.float16)[y],
    }


# --- figures 2 to 5


@pytest.mark.parametrize("nodes, seed", [(2, 0), (3, 1), (5, 2), (5, 3), (7, 4), (7, 5)])
def test_layout_has_every_connection_and_room_for_every_label(nodes, seed):
    entries = random_genotype(nodes, seed).normal
    y, segments = layered(entries)
    assert sum(vertex.kind == "op" for vertex in y) == 2 * nodes
    for left, right in segments:
        assert right.layer == left.layer + 1
    assert sorted(left.index for left, right in segments if right.kind == "out") == [2 + i for i in range(nodes)]
    into = {right: left for left, right in segments if right.kind == "op"}
    for vertex, left in into.items():
        assert left.index == entries[vertex.index][1], "an operation reads the state that its entry names"
    for layer in {vertex.layer for vertex in y}:
        here = [y[vertex] for vertex in y if vertex.layer == layer and vertex.kind != "wire"]
        assert all(a - b > 0.2 for a, b in zip(here[:-1], here[1:], strict=True)), "boxes keep their distance"


@pytest.mark.parametrize(
    "dataset, kind, most",
    [("edf20", "normal", 2), ("edf20", "reduce", 0), ("edf78", "normal", 2), ("edf78", "reduce", 0)],
)
def test_layout_avoids_crossings(dataset, kind, most):
    y, segments = layered(getattr(published_genotype(dataset), kind))
    layers = [[v for v in y if v.layer == layer] for layer in sorted({v.layer for v in y})]
    assert crossings(layers, segments) <= most
    assert crossings([sorted(layer) for layer in layers], segments) > 3 * crossings(layers, segments)


@pytest.mark.parametrize("dataset", ["edf20", "edf78"])
@pytest.mark.parametrize("kind", ["normal", "reduce"])
@pytest.mark.parametrize("found", [None, random_genotype(5, 1), random_genotype(7, 4)], ids=["alone", "five", "seven"])
def test_cells(dataset, kind, found):
    genotype = published_genotype(dataset)
    figure = plot_cells(genotype, found, kind, NOTE)
    words = assert_readable(figure)
    assert len(figure.axes) == (1 if found is None else 2)
    for ax, drawn in zip(figure.axes, [genotype, found], strict=False):
        entries = getattr(drawn, kind)
        boxes = [p for p in ax.patches if isinstance(p, FancyBboxPatch)]
        assert len(boxes) == len(entries) + 1, "one box per operation and one for the concatenation"
        assert {str(i) for i in range(len(entries) // 2)} <= {text.get_text() for text in ax.texts}
        assert_no_line_crosses(ax, boxes)
    assert any("published" in word for word in words)
    assert any("found in this run" in word for word in words) == (found is not None)


def assert_no_line_crosses(ax, boxes):
    for line in (p for p in ax.patches if isinstance(p, PathPatch)):
        points = line.get_path().interpolated(1).cleaned(curves=False, simplify=False).vertices
        points = np.concatenate([np.linspace(a, b, 20) for a, b in zip(points[:-2], points[1:-1], strict=True)])
        for box in boxes:
            x, y, w, h = box.get_x() + 0.02, box.get_y() + 0.02, box.get_width() - 0.04, box.get_height() - 0.04
            inside = (points[:, 0] > x) & (points[:, 0] < x + w) & (points[:, 1] > y) & (points[:, 1] < y + h)
            assert not inside.any()


# --- figures 1 and 6


def test_framework():
    words = assert_readable(plot_framework(NOTE))
    assert {"Stage 1", "Stage 2", "Capacity", "Independence", "Importance", "Genotype", "Fine-tune"} <= set(words)


def test_search_shows_every_epoch_and_every_pruning_round():
    frame, curve = history(), published("search_curve")
    figure = plot_search(frame, curve, SEARCH_SAMPLES, NOTE)
    words = assert_readable(figure)
    assert [ax.get_title(loc="left")[3:] for ax in figure.axes] == [
        "Loss",
        "Accuracy",
        "Samples left",
        "Operations left",
        "Temperature",
    ]
    rounds = pruning_epochs(frame).tolist()
    assert rounds == [2, 4]
    for ax, found in zip(figure.axes, (2, 2, 2, 1, 1), strict=True):
        lines = [line.get_xdata() for line in ax.lines]
        assert sum(len(x) == len(frame) and list(x) == frame.epoch.tolist() for x in lines) == found
        assert [x[0] for x in lines if len(x) == 2] == [epoch + 0.5 for epoch in rounds]
    assert sum(len(line.get_xdata()) == len(curve) for line in figure.axes[0].lines) == 2
    assert "training half, 1,000 samples" in words and "published, training" in words


def test_search_without_a_run_shows_the_published_curves_alone():
    figure = plot_search(None, published("search_curve"), SEARCH_SAMPLES, NOTE)
    assert_readable(figure)
    assert len(figure.axes) == 3 and [len(ax.lines) for ax in figure.axes] == [2, 2, 2]


# --- figures 9 and 10


@pytest.mark.parametrize(("dataset", "depths"), [("edf20", ()), ("edf20", (3, 9)), ("edf78", (7,))])
def test_confusion_shows_the_first_network_full_and_pruned_with_f1(dataset, depths):
    several = itertools.product(depths, (0.0, 0.5), ("none", "both"), (0, 1))
    networks = [("subjectwise", f"{dataset}-searched", 8, *network) for network in several]
    others = [("epochwise", f"{dataset}-searched", 8, 3, 0.0, "none", 0)]
    others += [("subjectwise", f"{dataset}-searched-distilled", 8, 3, 0.5, "none", 0)]
    figure = plot_confusion(dataset, confusion_rows(others + networks) if depths else None, NOTE)
    words = assert_readable(figure)
    *matrices, f1 = figure.axes
    assert len(matrices) == (4 if depths else 2)
    first = published_confusion(f"{dataset}_L7_full")
    assert [text.get_text() for text in matrices[0].texts] == [
        f"{n:,}\n{100 * n / row.sum():.1f}" for row in first for n in row
    ]
    for ax in matrices[2:]:
        assert ax.texts[1].get_text().startswith("194\n"), (
            "two seeds add up; context, variants, other protocols stay out"
        )
    dots = {line.get_label(): line.get_xdata().tolist() for line in f1.lines if not line.get_label().startswith("_")}
    names = ["published, full", "published, pruned"] + ["this run, full", "this run, pruned"] * bool(depths)
    assert list(dots) == names
    assert dots["published, full"] == pytest.approx((100 * per_class(first).f1).tolist())
    if depths:
        known = f"This run, L = {depths[0]} · {dataset}-searched · subjectwise, sum of seeds 0, 1"
        assert known in words
        assert dots["this run, pruned"] == pytest.approx((100 * per_class(np.arange(25).reshape(5, 5)).f1).tolist())


def test_confusion_of_a_run_without_stage_2_has_its_full_network():
    figure = plot_confusion("edf20", confusion_rows([("subjectwise", "edf20-searched", 8, 7, 0.0, "none", 0)]), NOTE)
    assert_readable(figure)
    assert len(figure.axes) == 4 and len(figure.axes[-1].lines) == 3


def test_the_supplement_shows_the_matrix_of_every_network():
    networks = [
        ("subjectwise", "edf20-searched", 8, 7, pruned, "none", seed) for pruned in (0.0, 0.5) for seed in (0, 1)
    ]
    networks += [("epochwise", "edf20-searched-distilled", 8, 7, 0.5, "none", 1)]
    networks += [("subjectwise", "edf20-searched", 8, 7, 0.0, "both", 0)]
    figure = plot_confusions("edf20", confusion_rows(networks), NOTE)
    titles = [ax.get_title(loc="left").splitlines() for ax in figure.axes]
    assert len(titles) == 6 + 3 and titles[5][:3] == ["Published", "epochwise", "Stage 2, pruned, L = 11"]
    assert titles[7][:3] == ["edf20-searched", "subjectwise, sum of seeds 0, 1", "L = 7, C = 8, 50 % pruned"]
    assert titles[8][:3] == ["edf20-searched-distilled", "epochwise, seed 1", "L = 7, C = 8, 50 % pruned"]
    assert figure.axes[7].texts[1].get_text().startswith("194\n") and figure.axes[8].texts[1].get_text().startswith(
        "97\n"
    )
    assert_readable(plot_confusions("edf78", None, NOTE))


def test_several_seeds_add_up():
    rows = confusion_rows([("subjectwise", "edf20-searched", 8, 7, 0.0, "none", seed) for seed in (0, 1)])
    assert matrix_of(rows).tolist() == (2 * 97 * np.arange(25).reshape(5, 5)).tolist()


# --- figure 15


def test_night_goes_from_wake_at_the_top_to_n3_and_marks_rem():
    night = predictions()
    figure = plot_night(night, "SC4011E0", NOTE)
    assert_readable(figure)
    expert, alone, context, density = figure.axes
    labels = [label.get_text() for label in expert.get_yticklabels()]
    heights = dict(zip(labels, expert.get_yticks(), strict=True))
    assert labels == ["W", "REM", "N1", "N2", "N3"] == list(HYPNOGRAM)
    assert sorted(heights.values(), reverse=True) == list(heights.values())
    stairs = [patch for patch in expert.patches]
    shown = np.concatenate([patch.get_data().values for patch in stairs])
    assert shown.tolist() == [heights[STAGES[stage]] for stage in night["y"]]
    assert len(stairs) == 2, "missing epochs leave a gap"
    rem = expert.collections[0]
    assert len(rem.get_segments()) == (night["y"] == 4).sum()
    assert np.allclose(rem.get_segments()[0][:, 1], heights["REM"]) and rem.get_linewidth()[0] >= 2
    wrong = (night["prob"].argmax(axis=1) != night["y"]).sum()
    assert len(alone.collections[1].get_segments()) == wrong and len(context.collections[1].get_segments()) == 0
    assert expert.get_xlim()[1] == pytest.approx(270 * 30 / 3600), "hours"
    assert len(density.collections) == 2 * len(STAGES) and density.get_ylim() == (0, 1)
    assert "h" in density.get_xlabel()


def test_the_night_shown_is_the_one_of_median_agreement():
    night = predictions()
    nights = np.repeat(["SC4001E0", "SC4002E0", "SC4011E0"], 80)
    wrong = np.concatenate([np.arange(2), 80 + np.arange(9), 160 + np.arange(5)])  # 2, 9 and 5 of 80
    night["prob_context"][wrong] = np.roll(night["prob_context"][wrong], 1, axis=1)
    figure = plot_night(night | {"night": nights}, note=NOTE)
    assert "a  Expert, night SC4011E0" in assert_readable(figure)
    assert figure.get_supxlabel().startswith("Agreement of c with the expert: the median of 3 nights. Data")


def test_night_that_is_not_there():
    with pytest.raises(ValueError, match="SC4999E0.*SC4011E0"):
        plot_night(predictions(), "SC4999E0")


@pytest.mark.parametrize("expert", [None, np.repeat([0, 2, -1, 4], 10)], ids=["alone", "expert"])
def test_a_scored_night_shows_what_was_scored_and_what_was_not(expert):
    random = np.random.default_rng(2)
    prob = random.dirichlet(np.ones(5), 40)
    epochs = pd.DataFrame(prob, columns=list(STAGES)).assign(onset=30.0 * np.arange(40))
    epochs["stage"] = ["?" if i % 13 == 12 else STAGES[stage] for i, stage in enumerate(prob.argmax(axis=1))]
    words = assert_readable(plot_scored(epochs, random.normal(0, 20, (40, 500)), 100.0, expert, "a night", NOTE))
    assert any("3 of 40 epochs not scored (grey)" in word for word in words) and "a night" in words
    assert ("Expert" in words) == any("the expert differs" in word for word in words) == (expert is not None)


# --- looks, files, index


def lightness_and_colour(rgb):
    """CIE Lab of linear RGB (n, 3), D65."""
    xyz = rgb @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    f = np.cbrt(np.clip(xyz / [0.9505, 1, 1.089], 1e-4, None))
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("deficiency", ["none", "protan", "deutan", "tritan"])
def test_stage_colours_differ_for_every_reader(deficiency):
    """Machado et al. 2009, full strength; a difference of 20 in Lab is plain to see."""
    matrices = {
        "none": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    srgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in STAGE_COLOURS.values()])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lab = lightness_and_colour(np.clip(linear @ np.array(matrices[deficiency]).T, 0, 1))
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e3 * np.eye(5)
    assert list(STAGE_COLOURS) == list(STAGES) and apart.min() > 20


@pytest.fixture
def profile(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("SLEEPKIT_RUNS", str(tmp_path / "runs"))
    return "demo"


def test_a_saved_figure_is_the_same_byte_for_byte_and_light(profile):
    stem = items.item("fig06").stem(profile)
    saved = save(plot_search(history(), published("search_curve"), SEARCH_SAMPLES, NOTE), stem)
    first = [path.read_bytes() for path in saved]
    again = save(plot_search(history(), published("search_curve"), SEARCH_SAMPLES, NOTE), stem)
    assert [path.name for path in again] == ["fig06_search_curves.png", "fig06_search_curves.svg"]
    assert again == items.item("fig06").files(profile) and [path.read_bytes() for path in again] == first
    with Image.open(saved[0]) as picture:
        assert picture.mode == "P" and picture.width == round(PAGE * DPI[0]) and round(picture.info["dpi"][0]) == DPI[0]
    assert sorted(paths.figures(profile).iterdir()) == again, "nothing left over"


def test_a_picture_that_would_be_large_has_fewer_dots(tmp_path):
    figure = new_figure(PAGE, 3, layout="none")
    figure.add_axes((0, 0, 1, 1)).imshow(np.random.default_rng(0).random((300, 720)), cmap="gray")
    save_png(figure, tmp_path / "noise.png", 150e3)
    assert (tmp_path / "noise.png").stat().st_size <= 150e3
    with Image.open(tmp_path / "noise.png") as picture:
        assert 60 <= picture.info["dpi"][0] < DPI[0]


def test_a_light_svg_looks_like_the_one_that_it_is_made_of():
    text = """<svg>
 <defs>
<style type="text/css">*{a: b}</style>
</defs>
  <!-- 7 -->
  <g>
    <path d="M 1.239999 -0.000001
L 20 3.5
" clip-path="url(#p)" style="fill: none; stroke: #000"/>
    <path d="M 2 2
L 3 3
" clip-path="url(#p)" style="fill: none; stroke: #000"/>
    <g id="text_1">
      <use id="d" x="10.123456" transform="translate(0.125625 7) scale(0.015625)" style="fill: #fff"/>
    </g>
  </g>
</svg>"""
    assert (
        light_svg(text)
        == """<svg>
<defs>
<style type="text/css">*{a: b}
.s0{fill: none; stroke: #000}
.s1{fill: #fff}</style>
</defs>
<g>
<path d="M1.24 -0L20 3.5M2 2L3 3" clip-path="url(#p)" class="s0"/>
<g>
<use id="d" x="10.12" transform="translate(0.13 7) scale(0.015625)" class="s1"/>
</g>
</g>
</svg>"""
    )


def test_the_index_lists_all_30_items_present_or_missing(profile):
    assert "![" not in write_index(profile).read_text(), "no figure, no overview"
    save(plot_framework(), items.item("fig01").stem(profile))
    tables.save(tables.table_departures(), items.item("tab11").stem(profile), "Departures")
    paths.run_time(profile, "prepare").parent.mkdir(parents=True)
    paths.run_time(profile, "prepare").write_text("41.6\n")
    tables.save(tables.table_departures(), items.item("tab01").stem(profile), "Epochs")
    lines = write_index(profile).read_text().splitlines()
    rows = {line.split(" | ")[0][2:]: line for line in lines if line.startswith(("| fig", "| tab"))}
    assert list(rows) == [f"fig{n:02d}" for n in range(1, 19)] + [f"tab{n:02d}" for n in range(1, 13)]
    assert "[fig01_framework.svg](fig01_framework.svg)" in rows["fig01"] and "42 s" in rows["tab01"]
    assert all(f"[tab11_departures.{ending}]" in rows["tab11"] for ending in ("csv", "md", "tex"))
    assert "missing" in rows["fig06"] and "make reproduce PROFILE=demo" in rows["fig06"]
    assert sum("missing" in row for row in rows.values()) == 27 and "3 of 30" in lines[2]
    assert (
        lines[4] == "![All figures of the profile](overview.png)" and (paths.figures(profile) / "overview.png").exists()
    )
    with pytest.raises(ValueError, match="fig06"):
        items.item("fig99")


@pytest.fixture(scope="module")
def without_results(tmp_path_factory):
    """All items of a profile of which nothing has run, as shown, as drawn and as files; the index, and its sheet."""
    root, figures_of, sheets = tmp_path_factory.mktemp("paper"), {}, []

    def kept(figure, stem):
        return save(figures_of.setdefault(stem.name[:5], figure), stem)

    def sheet(*given):
        sheets.append(plot_overview(*given))
        return sheets[-1]

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(paths, "ROOT", root)
        patch.setenv("SLEEPKIT_RUNS", str(root / "runs"))
        patch.setattr(figures, "save", kept)
        patch.setattr(overview, "plot_overview", sheet)
        shown = {entry.key: show(entry.key, SimpleNamespace(profile="paper")) for entry in items.ITEMS}
        index = write_index("paper")
        files = {entry.key: entry.files("paper") for entry in items.ITEMS}
    said = printed.getvalue()
    return SimpleNamespace(shown=shown, figures=figures_of, files=files, index=index, sheets=sheets, said=said)


def test_the_overview_shows_every_figure_once_under_its_title(without_results):
    assert plot_overview("None", {}) is None
    titles = {without_results.files[key][0].stem: items.item(key).title for key in without_results.figures}
    assert len(titles) == 11
    (figure,) = without_results.sheets
    words = " ".join(assert_readable(figure)).replace("\n", " ")
    assert "…" not in words, "no title is cut"
    assert [ax.get_label() for ax in figure.axes] == list(titles) and "paper" in words
    for ax in figure.axes:
        assert titles[ax.get_label()] in words
        height, width = ax.get_images()[0].get_array().shape[:2]
        assert height <= 640, "figures as large as they are saved would take gigabytes"
        box = ax.get_window_extent()
        assert box.height / box.width == pytest.approx(height / width, rel=0.01), "no picture is distorted"
    for a, b in itertools.combinations((ax.get_position() for ax in figure.axes), 2):
        assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0, "no picture covers another"


def test_the_overview_shows_the_upper_part_of_a_very_long_figure(tmp_path):
    shades = np.linspace(0, 1, 4000)[:, None].repeat(300, axis=1)
    imsave(tmp_path / "long.png", shades, cmap="gray", vmin=0, vmax=1)
    (ax,) = plot_overview("One", {"9  Long": tmp_path / "long.png", "10  Missing": tmp_path / "no.png"}).axes
    shown = np.asarray(ax.get_images()[0].get_array())
    assert shown.shape[0] <= 500 and shown[0, 0, 0] < 3 and shown[-1, 0, 0] < 38, "an eighth of black to white"
    assert ax.get_window_extent().width / ax.get_window_extent().height == pytest.approx(0.6, abs=0.01)


# What published numbers, genotypes and the package's networks allow; the others need results of a run.
WITHOUT_A_RUN = [
    *("fig01", "fig02", "fig03", "fig04", "fig05", "fig06", "fig09", "fig10", "fig11", "fig14", "fig18"),
    *("tab01", "tab02", "tab03", "tab04", "tab05", "tab06", "tab07", "tab10", "tab11", "tab12"),
]


def test_a_profile_without_results_has_every_item_that_published_numbers_allow(without_results):
    shown = without_results.shown
    tables_and_words = {key: drawn.data for key, drawn in shown.items() if isinstance(drawn, Markdown)}
    missing = [key for key, text in tables_and_words.items() if "is missing" in text]
    assert sorted(set(shown) - set(missing)) == sorted(WITHOUT_A_RUN)
    assert all("makes its results" in shown[key].data for key in missing)
    index = without_results.index.read_text()
    assert f"{len(WITHOUT_A_RUN)} of 30" in index and index.count("| missing |") == len(missing)
    alone = [line.split(" |")[0] for line in index.splitlines() if "| published numbers alone |" in line]
    assert sorted(alone) == sorted(f"| {key}" for key in set(WITHOUT_A_RUN) - {"fig01", "tab11", "fig18", "tab12"})
    assert without_results.said.count("fig14_cost_accuracy.png") == 1
    for key in (key for key in WITHOUT_A_RUN if key.startswith("fig")):
        assert_readable(without_results.figures[key])
        png, svg, *_ = (file.read_bytes() for file in without_results.files[key])
        assert shown[key].data == png and len(png) <= 200e3 and len(svg) <= 300e3
    assert without_results.index.with_name("overview.png").stat().st_size <= 400e3


def test_tables_say_what_their_rows_are():
    assert all(f"{context}, " in tables.CONTEXT_NOTE for context in set(CONTEXTS) - {"none"})
    drawn = items.item("tab10").stem("first5s-cpu").with_suffix(".md")
    assert tables.CONTEXT_NOTE in drawn.read_text(encoding="utf-8")
    for key, remark in (("tab03", tables.STAGE_NOTE), ("tab08", "Fold 0, whose test subjects the searches")):
        assert remark in items.item(key).stem("first5s-cpu").with_suffix(".md").read_text(encoding="utf-8")


def test_the_sweep_names_the_seeds_of_its_own(tmp_path, monkeypatch):
    """Real nights: more seeds on every fold than the two that are left in the sweep here."""
    shutil.copytree(paths.results("first5s-cpu"), tmp_path / "results", ignore=shutil.ignore_patterns("networks"))
    sweep = tmp_path / "results" / "stage2_prune" / "sweep.csv"
    pd.read_csv(sweep).query("seed < 2").to_csv(sweep, index=False)
    monkeypatch.setattr(paths, "results", lambda profile: tmp_path / "results")

    def drawn(key):
        return items.item(key).draw("first5s-cpu", provenance("first5s-cpu", items.item(key)))

    said = {key: " ".join(drawn(key).get_supxlabel().split()) for key in ("fig13", "fig14")}
    assert (
        "nights, fold 0 alone, test subjects: 2, 3,874 epochs of 5 s; subjectwise folds, training seed 0, 1. "
        in (said["fig13"])
    )
    everywhere = pd.read_csv(tmp_path / "results" / "stage1_edf20" / "crossval.csv").seed
    assert set(everywhere) > {0, 1}
    seeds = ", ".join(map(str, sorted(set(everywhere))))
    assert f"training seed {seeds} (not all for every network). Architecture has seen the test" in said["fig14"]


def test_every_item_has_a_number_a_slug_and_a_title_of_its_own():
    for name in ("key", "slug", "title"):
        assert len({getattr(entry, name) for entry in items.ITEMS}) == len(items.ITEMS) == 30
    for entry in items.ITEMS:
        assert entry.function.__name__.startswith("plot_" if entry.is_figure else "table_") and entry.function.__doc__
        assert set(entry.datasets) <= {"edf20", "edf78"} and entry.notebook in NAMES
    assert [entry.key for entry in items.ITEMS if entry.supplement] == ["fig09", "fig10"]


def test_the_face_of_the_paper():
    import sleepkit.paper as paper

    assert paper.show is display.show and paper.published_genotype is published_genotype
    with pytest.raises(ImportError, match="shown"):
        from sleepkit.paper import shown  # noqa: F401
