"""Words beside marks: they cover nothing, and a line leads from each that does not stand next to its mark."""

import numpy as np
import pytest

from sleepkit.paper.figures.labels import MARK, label_marks
from sleepkit.paper.figures.style import PAGE, new_figure

WORDS = ["", "scratch", "distilled", "searched", "", "nested", "distilled", "scratch", "", "8"]


def labelled(x, y, sd, words):
    """Annotations, their boxes (x0, y0, x1, y1), the marks' and the axes', all in points."""
    figure = new_figure(PAGE, 3)
    ax = figure.subplots()
    ax.errorbar(x, y, np.nan_to_num(sd), fmt="o", markersize=2 * MARK)
    ax.set(xlim=(0, 10), ylim=(60, 80))
    figure.draw_without_rendering()
    label_marks(ax, x, y, sd, words)
    figure.draw_without_rendering()
    unit = figure.dpi / 72
    centre = ax.transData.transform(np.column_stack([x, y])) / unit
    boxes = np.array([super(type(text), text).get_window_extent().extents / unit for text in ax.texts])
    return ax.texts, boxes, np.hstack([centre - MARK, centre + MARK]), ax.get_window_extent().extents / unit


def over(a, b):
    return (a[:2] < b[2:]).all() and (b[:2] < a[2:]).all()


def gap(box, mark):
    """Points between a word and the round mark."""
    centre = (mark[:2] + mark[2:]) / 2
    return np.hypot(*(np.clip(centre, box[:2], box[2:]) - centre)) - MARK


@pytest.mark.parametrize("seed", range(6))
def test_words_among_crowded_marks_cover_neither_marks_nor_one_another(seed):
    random = np.random.default_rng(seed)
    x, y = random.uniform(4.5, 5.5, 10), random.uniform(69, 71, 10)
    texts, boxes, marks, frame = labelled(x, y, np.full(10, np.nan), WORDS)
    assert [text.get_text() for text in texts] == [word for word in WORDS if word]
    marks = list(marks)
    named = [mark for mark, word in zip(marks, WORDS, strict=True) if word]
    for i, box in enumerate(boxes):
        assert gap(box, named[i]) >= 0 and not any(over(box, mark) for mark in marks if mark is not named[i])
        assert not any(over(box, other) for other in boxes[:i])
        assert (box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all()
    for i in range(len(texts)):
        if texts[i].arrow_patch is not None:
            line = texts[i].arrow_patch.get_path().interpolated(20).vertices / (texts[i].figure.dpi / 72)
            others = np.delete(boxes, i, axis=0)
            assert not any(over(np.tile(dot, 2), other) for dot in line for other in others), (
                f"the line from {texts[i].get_text()} goes through a word"
            )


def test_a_word_stands_next_to_a_lonely_mark_and_keeps_off_its_frame_and_another_ones_bar():
    x, y, sd = np.array([5, 9.99, 5.3]), np.array([70.0, 62, 74]), np.array([np.nan, np.nan, 5])
    texts, boxes, marks, frame = labelled(x, y, sd, ["alone", "at the edge", ""])
    for i, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        assert text.arrow_patch is None, "no line is needed"
        assert 0 <= gap(box, marks[i]) < 3
        assert (box[2:] <= frame[2:]).all()
    bar = marks[2] + np.array([0, -1, 0, 1]) * np.ptp(frame[1::2]) * 5 / 20
    assert not over(boxes[0], bar)
    unaware = labelled(x, y, np.full(3, np.nan), ["alone", "", ""])[1]
    assert over(unaware[0], bar), "it would stand on the right if the bar were not there"
