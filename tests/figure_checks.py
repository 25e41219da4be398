"""What every figure must pass: nothing is cut, no words overlap, letters of 7 pt at least."""

from matplotlib.text import Text

from sleepkit.paper.figures.style import PAGE

NOTE = "Data: a test. Protocol: subjectwise, 4 folds. Seed 0. " * 4


def texts_drawn(figure):
    """(text, extent in pixels) of every text that is really drawn (tick labels out of view are not)."""
    drawn, original = [], Text.draw

    def draw(self, renderer):
        if self.get_visible() and self.get_text().strip():
            drawn.append((self, Text.get_window_extent(self, renderer)))  # of an annotation without its arrow
        return original(self, renderer)

    Text.draw = draw
    try:
        figure.draw_without_rendering()  # which lays the figure out before it draws the first text
    finally:
        Text.draw = original
    return drawn


def assert_readable(figure):
    """At column or page width, all letters at least 7 pt, none outside the figure, no text over another."""
    assert figure.get_figwidth() == PAGE and figure.get_figheight() <= 11
    drawn = texts_drawn(figure)
    width, height = figure.bbox.size
    assert drawn
    for text, box in drawn:
        assert text.get_fontsize() >= 7, text
        assert box.x0 >= -0.5 and box.y0 >= -0.5 and box.x1 <= width + 0.5 and box.y1 <= height + 0.5, f"cut: {text}"
    for i, (text, a) in enumerate(drawn):
        for other, b in drawn[:i]:
            apart = min(a.x1, b.x1) - max(a.x0, b.x0) < 1 or min(a.y1, b.y1) - max(a.y0, b.y0) < 1
            assert apart, f"{text} over {other}"
    return [text.get_text() for text, _ in drawn]
