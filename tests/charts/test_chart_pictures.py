"""What is annotated is seen in the picture, by its pixels; and nothing that is read is clipped or covered."""

import random
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from mmreflect.charts.canvas import Canvas, Font, Misfit, inside, overlap, plain_settings
from mmreflect.charts.drawing import draw
from mmreflect.charts.elements import TEXTS, Element
from mmreflect.charts.making import Chart, make_chart
from mmreflect.charts.styles import Style, draw_style
from mmreflect.charts.tables import KINDS, Table, draw_table

FEW = 3


@pytest.fixture(scope="module")
def charts() -> list[Chart]:
    return [make_chart("pictures", kind, number, kinds=[kind]) for kind in KINDS for number in range(FEW)]


def drawn(kind: str, seed: int) -> tuple[Table, Style, Image.Image, list[Element]]:
    for attempt in range(50):
        rng = random.Random(f"{kind} {seed} {attempt}")
        table, style = draw_table(rng, kind, rng.random() < 0.5, False), draw_style(rng)
        try:
            return table, style, *draw(table, style)
        except Misfit:
            continue
    raise AssertionError(kind)


def colour(element: Element) -> np.ndarray:
    assert element.colour
    return np.array([int(element.colour[place : place + 2], 16) for place in (1, 3, 5)])


def test_a_bar_ends_where_its_box_does_and_is_as_long_as_its_value(charts: list[Chart]) -> None:
    seen = 0
    for chart in charts:
        if chart.table.kind not in ("bar", "grouped_bar"):
            continue
        pixels = np.asarray(chart.picture).astype(int)
        bars = [element for element in chart.elements if element.role == "bar"]
        ticks = [element for element in chart.elements if element.role == "tick_label" and element.value is not None]
        assert len(bars) == sum(len(line) for line in chart.table.values) and len(ticks) >= 3
        for bar in bars:
            left, top, right, bottom = (round(item) for item in bar.box)
            middle = (top + bottom) // 2
            across = np.abs(pixels[middle, :] - colour(bar)).max(-1) <= 24
            assert across[left + 1] and across[right - 2]  # an outline takes one pixel
            # nothing of its colour a pixel further, where no bar of the same colour touches
            assert not across[left - 1] and not across[min(right, len(across) - 1)]
            seen += 1
        if not chart.table.scale or chart.table.scale.log:
            continue
        along = 2 if chart.style.horizontal else 1  # right ends, or tops
        lengths = [abs(bar.box[along] - bar.box[0 if chart.style.horizontal else 3]) for bar in bars]
        values = [bar.value or 0 for bar in bars]
        factor = max(lengths) / values[lengths.index(max(lengths))]
        assert all(abs(length - value * factor) <= 1.5 for length, value in zip(lengths, values, strict=True))
    assert seen > 15


def test_values_stand_at_the_ticks_of_their_number(charts: list[Chart]) -> None:
    """A point with the value of a tick is level with the middle of that tick's mark, within a pixel."""
    seen = 0
    for chart in charts:
        if chart.table.kind not in ("line", "scatter"):
            continue
        level = {
            item.value: item.point[1]
            for item in chart.elements
            if item.role == "tick" and item.text == "y" and item.point and item.value is not None
        }
        for element in chart.elements:
            if element.role == "point" and element.value in level and element.point:
                assert abs(element.point[1] - level[element.value]) <= 1
                seen += 1
    assert seen


@pytest.mark.parametrize("kind", KINDS)
def test_texts_lie_in_their_boxes_and_nowhere_else(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn again without its texts, a picture differs inside the texts' boxes and only there."""
    table, style, picture, elements = drawn(kind, 1)
    written = Canvas.text

    def silent(canvas: Canvas, *args: object, **kwargs: object) -> object:
        pixels = np.asarray(canvas._renderer.buffer_rgba())
        before = pixels.copy()
        box = written(canvas, *args, **kwargs)  # type: ignore[arg-type]
        pixels[...] = before
        return box

    monkeypatch.setattr(Canvas, "text", silent)
    bare, same = draw(table, style)
    assert [element.box for element in same] == [element.box for element in elements]
    differs = np.abs(np.asarray(picture).astype(int) - np.asarray(bare).astype(int)).max(-1) > 40
    texts = [element for element in elements if element.role in TEXTS]
    assert texts
    for text in texts:
        left, top, right, bottom = (round(item) for item in text.box)
        assert differs[top:bottom, left:right].any(), text
        differs[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = False
    assert not differs.any(), np.argwhere(differs)[:3]


def test_nothing_is_clipped_and_no_two_texts_overlap(charts: list[Chart]) -> None:
    for chart in charts:
        frame = (0, 0, chart.picture.width, chart.picture.height)
        assert all(inside(element.box, frame) for element in chart.elements), chart.table
        texts = [item for item in chart.elements if item.role in TEXTS and item.role != "tick_label"]
        assert not any(overlap(one.box, other.box) for place, one in enumerate(texts) for other in texts[place + 1 :])
        points = [item for item in chart.elements if item.role == "point"]
        assert not any(one.point == other.point for one, other in pairwise(points))


def test_ink_of_a_text_is_where_it_was_measured() -> None:
    """Vectors by eye: an H has a capital's height, and no ink above, below or beside its box."""
    for angle in (0, 90):
        with plain_settings():
            canvas = Canvas(120, 120, "white")
            box = canvas.text((60, 60), "HHHH", Font("DejaVuSans", 12), "black", angle=angle)
            ink = np.argwhere(np.asarray(canvas.picture())[..., 0] < 128)
        (top, left), (bottom, right) = ink.min(0), ink.max(0) + 1
        assert np.abs(np.array(box) - [left, top, right, bottom]).max() <= 2
        assert abs((box[0] + box[2]) / 2 - 60) <= 1.5 and abs((box[1] + box[3]) / 2 - 60) <= 1.5


def test_settings_of_the_user_change_no_pixel() -> None:
    import matplotlib

    chart = make_chart("settings", 0)
    with matplotlib.rc_context(
        {"text.hinting": "none", "text.antialiased": False, "path.snap": False, "font.size": 30}
    ):
        assert make_chart("settings", 0).picture.tobytes() == chart.picture.tobytes()
