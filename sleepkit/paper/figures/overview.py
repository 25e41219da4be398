"""All figures of a profile on one sheet."""

import textwrap

import numpy as np
from PIL import Image

from sleepkit.execution import paths
from sleepkit.execution.paths import written
from sleepkit.paper import items
from sleepkit.paper.figures.style import PAGE, new_figure, styled

MARGIN, GAP, HEAD, LINE = 0.12, 0.14, 0.34, 0.13  # inches; LINE is that of a caption
TALLEST = 1.6  # inches of a thumbnail: a row takes pictures until they fit the page at this height
DPI = 200  # of the sheet
SLIMMEST = 0.6  # width of a thumbnail by its height: of a figure longer than that the upper part is shown
CHARACTER = 0.058  # inches, of a caption's letters


@styled
def plot_overview(profile):
    """Thumbnails of the figures that stand in figures/<profile>/, in rows of equal height, each under its caption;
    of a very long one the upper part.

    returns a matplotlib figure at page width, or None where the profile has no figure
    """
    pictures = [(entry, items.path(profile, entry.key, "png")) for entry in items.ITEMS if entry.key.startswith("fig")]
    pictures = [(entry, _thumbnail(path)) for entry, path in pictures if path.exists()]
    if not pictures:
        return None
    drawn, top = [], HEAD
    for row in _rows(pictures):
        height = _height(row)
        widths = [height * _aspect(picture) for _, picture in row]
        captions = [_caption(entry, width) for (entry, _), width in zip(row, widths, strict=True)]
        below = top + LINE * max(map(len, captions)) + 0.05
        left = MARGIN
        for (entry, picture), width, caption in zip(row, widths, captions, strict=True):
            drawn.append((entry, picture, "\n".join(caption), (left, below, width, height)))
            left += width + GAP
        top = below + height + GAP
    figure = new_figure(PAGE, top, layout="none")
    title = f"Figures of the profile {profile}"
    figure.text(MARGIN / PAGE, 1 - 0.06 / top, title, va="top", fontsize=9, weight="bold")
    for entry, picture, caption, (left, below, width, height) in drawn:
        figure.text(left / PAGE, 1 - (below - 0.04) / top, caption, va="bottom", fontsize=7, linespacing=1.1)
        box = (left / PAGE, 1 - (below + height) / top, width / PAGE, height / top)
        ax = figure.add_axes(box, label=entry.key)
        ax.imshow(picture, aspect="auto", interpolation="hanning")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color="#DDDDDD")
    return figure


def _thumbnail(path):
    """(height, width, 3) uint8, no higher than twice what is shown: all figures whole would take 3 GB of memory."""
    with Image.open(path) as picture:
        picture = picture.crop((0, 0, picture.width, min(picture.height, int(picture.width / SLIMMEST)))).convert("RGB")
    picture.thumbnail((picture.width, int(2 * TALLEST * DPI)))
    return np.asarray(picture)


def _rows(pictures):
    """The pictures in order, broken into rows that fill the page's width."""
    row = []
    for picture in pictures:
        row.append(picture)
        if _width(row) >= _room(row):
            yield row
            row = []
    if row:
        yield row


def _height(row):
    """Inches at which a row fills the page's width, or those of the last row, which may not."""
    return min(TALLEST, TALLEST * _room(row) / _width(row))


def _width(row):
    return TALLEST * sum(_aspect(picture) for _, picture in row)


def _room(row):
    return PAGE - 2 * MARGIN - (len(row) - 1) * GAP


def _aspect(picture):
    return picture.shape[1] / picture.shape[0]


def _caption(entry, width):
    return textwrap.wrap(f"{int(entry.key[3:])}  {entry.title}", int(width / CHARACTER), max_lines=2, placeholder=" …")


@styled
def save_overview(profile):
    """Write figures/<profile>/overview.png and return its path; None where the profile has no figure."""
    figure = plot_overview(profile)
    if figure is None:
        return None
    path = paths.figures(profile) / "overview.png"
    with written(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
    return path
