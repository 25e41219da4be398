"""Words next to marks, where there is room for them."""

from itertools import product

import numpy as np

MARK = 3.5  # half the width of a mark, points
GAP = 1.0  # between a word and whatever is next to it, points
DISTANCES = range(0, 40, 3)  # points that a word may stand away from its mark
ANGLES = np.arange(24) * np.pi / 12  # directions, to the right first
SIDES = ((0, 1), (0, -1), (1, 1), (1, -1))  # axis and sign: from the left, the right, below and above


def label_marks(ax, x, y, sd, words):
    """Write each word as near to its mark as it covers neither marks nor other words, if need be with a line between.

    x, y, sd : (n,) places of all marks in data units and half the lengths of their vertical bars, nan without one
    words : n words, "" for a mark without one
    The axes must have their final limits and place in the figure."""
    unit = ax.figure.dpi / 72  # pixels in a point
    bar = np.nan_to_num(sd)
    centre, low, high = (ax.transData.transform(np.column_stack([x, y + side * bar])) / unit for side in (0, -1, 1))
    marks, frame = np.hstack([low - MARK, high + MARK]), ax.get_window_extent().extents / unit
    how = {"fontsize": 7, "ha": "center", "va": "center"}
    ways = {}  # mark -> all ways to write its word
    for i in np.flatnonzero(words):
        text = ax.text(x[i], y[i], words[i], **how)
        size = text.get_window_extent().size / unit + 2 * GAP
        text.remove()
        ways[i] = [_way(centre[i], size, *where) for where in product(DISTANCES, ANGLES)]
    # Whoever comes first takes the room of others, so words are written from either side and the better one is kept.
    orders = [sorted(ways, key=lambda i, axis=axis, sign=sign: sign * centre[i, axis]) for axis, sign in SIDES]
    _, chosen = min((_arranged(order, ways, marks, frame) for order in orders), key=lambda found: found[0])
    for i in ways:
        place, box, line = chosen[i]
        nearest = (np.clip(centre[i], box[:2], box[2:]) - box[:2]) / (box[2:] - box[:2])
        leads = {"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2, "relpos": nearest}
        leads = {"textcoords": "offset points", "arrowprops": leads if len(line) else None}
        ax.annotate(words[i], (x[i], y[i]), place, **how, **leads).set_in_layout(False)


def _arranged(order, ways, marks, frame):
    """(total badness, dict mark -> its way) of words that are written one after another."""
    total, chosen, written = 0, {}, np.empty((0, 4))
    for i in order:
        others = np.delete(marks, i, axis=0)
        badness = [_badness(way, others, written, frame) for way in ways[i]]
        _, box, line = chosen[i] = ways[i][int(np.argmin(badness))]
        written = np.vstack([written, box, np.hstack([line - GAP, line + GAP])])
        total += min(badness)
    return total, chosen


def _way(centre, size, distance, angle):
    """(offset of a word from its mark, its box (x0, y0, x1, y1), dots (m, 2) of the line between), in points."""
    towards = np.array([np.cos(angle), np.sin(angle)]).round(9)
    offset = towards * (MARK + distance) + np.clip(1.5 * towards, -1, 1) * size / 2
    box = np.concatenate([centre + offset - size / 2, centre + offset + size / 2])
    end = np.clip(centre, box[:2], box[2:])
    length = np.hypot(*(end - centre))
    line = centre + np.arange(MARK, length if distance else 0, 2)[:, None] * (end - centre) / length
    return offset, box, line


def _badness(way, marks, written, frame):
    """0 for a word next to its mark that covers nothing. To cover something is worst, then a line over words."""
    _, box, line = way
    outside = (box[:2] < frame[:2]).any() or (box[2:] > frame[2:]).any()
    covered = _overlaps(box[None], np.vstack([marks, written])) + outside
    dots = np.hstack([line, line])
    return 1000 * covered + 40 * _overlaps(dots, written) + 8 * _overlaps(dots, marks) + 2 * len(line)


def _overlaps(boxes, others):
    """How often one of the boxes (m, 4) lies over one of the others (n, 4)."""
    boxes = boxes[:, None]
    return int(((others[:, :2] < boxes[..., 2:]) & (boxes[..., :2] < others[:, 2:])).all(axis=-1).sum())
