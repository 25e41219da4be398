"""One look for all figures: sizes, colours, stage order, and how a figure is made and saved."""

import io
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib import style
from matplotlib.patches import FancyBboxPatch

from sleepkit.execution.paths import written
from sleepkit.paper.pictures import light_png, light_svg

PAGE = 7.2  # inches: the whole width of its page

# Told apart in grey, and by readers with any of the three colour deficiencies (a test measures it).
STAGE_COLOURS = {"W": "#F2B134", "N1": "#9CCFE8", "N2": "#3B8BC4", "N3": "#153E75", "REM": "#C8323C"}
HYPNOGRAM = ("W", "REM", "N1", "N2", "N3")  # from top to bottom, as sleep medicine draws a night

TRAIN, VALID = "#00806A", "#8A4FA3"  # the two halves of the search
FULL, PRUNED = "#2A6F97", "#C9761A"  # the network before and after filter pruning
PUBLISHED = "#8C8C8C"
DPI = (120, 100, 80, 60)  # dots per inch of a PNG: the first with which it is small enough
LARGEST = 200e3  # bytes of a PNG
INK, FAINT = "#222222", "#BFBFBF"
UPRIGHT = {"rotation": 0, "ha": "right", "va": "center"}  # label of a row of panels, on the left of its first one
FACTS = {"fontsize": 7, "weight": "normal", "loc": "right", "pad": 2}  # title in small print over an axis' right end

# Decorates whatever draws or saves, so that a reader's own settings of matplotlib neither matter nor change.
styled = style.context(Path(__file__).with_name("sleepkit.mplstyle"), after_reset=True)


def new_figure(width, height, layout="constrained"):
    """An empty figure of that size in inches; pyplot makes it, so that notebooks show it, and closes it at once."""
    figure = plt.figure(figsize=(width, height), layout=layout)
    plt.close(figure)
    return figure


def add_note(figure, note):
    """The figure with a note at its foot, broken to its width."""
    if note:
        text = "\n".join(textwrap.wrap(note, int(figure.get_figwidth() / 0.057)))
        figure.supxlabel(text, x=0.01, ha="left", fontsize=7, color="#666666", linespacing=1.25)
    return figure


def add_heading(ax, text):
    """A panel's bold heading, one line above the axes' titles."""
    ax.annotate(text, (0, 1), (0, 12), "axes fraction", "offset points", fontsize=8, weight="bold")


def draw_box(ax, corner, width, height, rounding, **look):
    """A box with round corners."""
    ax.add_patch(FancyBboxPatch(corner, width, height, f"round,pad=0,rounding_size={rounding}", **look))


def say_empty(ax, text, colour):
    """Words in the middle of an axis that has nothing to show."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=colour)


def arrange(figure):
    """Lay a figure out once: that takes as long as drawing it, and matplotlib would do both twice for every file."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine(None)


@styled
def save_png(figure, path, largest=LARGEST):
    """Write a figure with a palette of 256 colours and as many dots as leave it below `largest` bytes."""
    arrange(figure)
    with written(path) as temporary:
        for dpi in DPI:
            figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})
            content = light_png(temporary)[1]
            if len(content) <= largest:
                break
        temporary.write_bytes(content)


@styled
def save(figure, stem):
    """Write <stem>.png and <stem>.svg, without date and version: same numbers, same bytes; return both paths."""
    png, svg = (stem.with_suffix(f".{ending}") for ending in ("png", "svg"))
    arranges = figure.get_layout_engine()
    save_png(figure, png)
    with written(svg) as temporary, io.StringIO() as drawn:
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
        temporary.write_text(light_svg(drawn.getvalue()), encoding="utf-8")
    figure.set_layout_engine(arranges)
    return [png, svg]
