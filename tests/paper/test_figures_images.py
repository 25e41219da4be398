"""The figures of published numbers look as they did when somebody last looked: compared with pictures in tests/images.

A figure changed on purpose: delete its picture, run this file (which writes it anew and fails once), look at it.
"""

from pathlib import Path

import pytest
from matplotlib.testing.compare import compare_images
from PIL import Image

from sleepkit.execution import paths
from sleepkit.paper.figures.style import styled
from sleepkit.paper.items import item
from sleepkit.paper.provenance import provenance

IMAGES = Path(__file__).with_name("images")
DOTS = 60  # per inch: letters blur, but a box, a line or a colour that moves or goes is seen
TOLERANCE = 1.5  # root mean square of 255: the pinned matplotlib gives 0

drawn_alone = pytest.mark.parametrize(
    "key", ["fig01", "fig02", "fig03", "fig04", "fig05", "fig06", "fig09", "fig10", "fig11", "fig14"]
)


@pytest.fixture(autouse=True)
def nothing_but_published_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)


def plot(key):
    return item(key).draw("paper", provenance("paper", item(key)))


@styled
def picture(key, path):
    plot(key).savefig(path, dpi=DOTS, metadata={"Software": None})
    return path


@drawn_alone
def test_figure_is_the_picture_that_was_looked_at(key, tmp_path):
    expected = IMAGES / f"{key}.png"
    if not expected.exists():
        expected.parent.mkdir(exist_ok=True)
        Image.open(picture(key, expected)).convert("RGB").save(expected, optimize=True)
        pytest.fail(f"{expected} was missing and is written now: look at it, then run again")
    difference = compare_images(expected, picture(key, tmp_path / f"{key}.png"), TOLERANCE)
    assert difference is None, difference


def test_the_pictures_are_small():
    assert sum(path.stat().st_size for path in IMAGES.glob("*.png")) < 300e3


@styled
def test_a_figure_that_lacks_one_line_or_word_is_another_picture(tmp_path):
    for key, spoil in (
        ("fig11", lambda figure: [line.remove() for line in figure.axes[0].lines[:3]]),
        ("fig02", lambda figure: figure.axes[0].patches[0].remove()),
        ("fig09", lambda figure: figure.axes[0].images[0].set_clim(0, 3)),
        ("fig14", lambda figure: figure.axes[0].lines[0].remove()),
    ):
        figure = plot(key)
        spoil(figure)
        path = tmp_path / f"{key}.png"
        figure.savefig(path, dpi=DOTS)
        assert compare_images(IMAGES / f"{key}.png", path, TOLERANCE) is not None
