"""All figures of a profile on one sheet."""

import textwrap

import numpy as np
from PIL import Image

from sleepkit.paper.figures.style import DPI, PAGE, new_figure, save_png, styled

MARGIN, GAP, HEAD, LINE = 0.12, 0.14, 0.34, 0.13  # inches; LINE is that of a caption
TALLEST = 1.6  # inches of a thumbnail: a row takes pictures until they fit the page at this height
LARGEST = 400e3  # bytes of the sheet
SLIMMEST = 0.6  # width of a thumbnail by its height: of a figure longer than that the upper part is shown
CHARACTER = 0.058  # inches, of a caption's letters


@styled
def plot_overview(title, pictures):
    """Thumbnails of pictures in rows of equal height, each under its caption; of a very long one the upper part.

    pictures : dict caption -> path of a PNG; those that are not there are left out, without any the figure is None"""
    shown = [(caption, path.stem, _thumbnail(path)) for caption, path in pictures.items() if path.exists()]
    if not shown:
        return None
    drawn, top = [], HEAD
    for height, row in _rows(shown):
        widths = [height * _aspect(picture) for *_, picture in row]
        captions = [textwrap.wrap(row[i][0], int(width / CHARACTER)) for i, width in enumerate(widths)]
        below = top + LINE * max(map(len, captions)) + 0.05
        left = MARGIN
        for (_, name, picture), width, caption in zip(row, widths, captions, strict=True):
            drawn.append((name, picture, "\n".join(caption), (left, below, width, height)))
            left += width + GAP
        top = below + height + GAP
    figure = new_figure(PAGE, top, layout="none")
    figure.text(MARGIN / PAGE, 1 - 0.06 / top, title, va="top", fontsize=9, weight="bold")
    for name, picture, caption, (left, below, width, height) in drawn:
        figure.text(left / PAGE, 1 - (below - 0.04) / top, caption, va="bottom", fontsize=7, linespacing=1.1)
        ax = figure.add_axes((left / PAGE, 1 - (below + height) / top, width / PAGE, height / top), label=name)
        ax.imshow(picture, aspect="auto", interpolation="hanning")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color="#DDDDDD")
    return figure


def save_overview(title, pictures, path):
    """Write the sheet of `plot_overview`, where there is a picture; returns whether there is."""
    if figure := plot_overview(title, pictures):
        save_png(figure, path, LARGEST)
    return figure is not None


def _thumbnail(path):
    """(height, width, 3) uint8, no higher than twice what is shown: all figures whole would take 3 GB of memory."""
    with Image.open(path) as picture:
        picture = picture.crop((0, 0, picture.width, min(picture.height, int(picture.width / SLIMMEST)))).convert("RGB")
    picture.thumbnail((picture.width, int(2 * TALLEST * DPI[0])))
    return np.asarray(picture)


def _rows(pictures):
    """(height in inches, pictures) of rows that fill the page's width; the last one may not."""
    row = []
    for place, picture in enumerate(pictures, start=1):
        row.append(picture)
        width = TALLEST * sum(_aspect(each) for *_, each in row)
        room = PAGE - 2 * MARGIN - (len(row) - 1) * GAP
        if width >= room or place == len(pictures):
            yield min(TALLEST, TALLEST * room / width), row
            row = []


def _aspect(picture):
    return picture.shape[1] / picture.shape[0]
