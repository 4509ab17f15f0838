"""The check against the pixels: it sees every element where it stands, and notices one that is noted elsewhere."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmreflect.charts import making
from mmreflect.charts.elements import TEXTS, Element
from mmreflect.charts.making import Chart, first_chart, make_chart
from mmreflect.charts.proof import CHECKED, FILLED, unseen
from mmreflect.charts.tables import KINDS
from mmreflect.errors import UserError

STEPS = {"wedge": 10} | dict.fromkeys(TEXTS, 6)
"""Pixels by which an element is noted elsewhere, 4 for the other roles."""


@pytest.fixture(scope="module")
def firsts() -> list[Chart]:
    """First drawings, before anything is refused."""
    return [first_chart("proof", number, kinds=[kind]) for kind in KINDS for number in range(2)]


def test_first_drawings_are_seen_and_show_their_colours(firsts: list[Chart]) -> None:
    filled = 0
    for chart in firsts:
        assert unseen(chart.picture, chart.elements) == [], chart.table
        pixels = np.asarray(chart.picture).astype(int)
        for element in chart.elements:
            if element.role in FILLED:
                assert element.point and element.colour
                wanted = [int(element.colour[place : place + 2], 16) for place in (1, 3, 5)]
                x, y = (int(item) for item in element.point)
                assert np.abs(pixels[y, x] - wanted).max() <= 12, element
                filled += 1
    assert filled > 150


def test_an_element_noted_elsewhere_is_noticed(firsts: list[Chart]) -> None:
    """Every role, 4 pixels to each side (texts 6, wedges 10), in at least 95 of 100 cases."""
    tried, noticed = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for chart in firsts[::2]:
        for place, element in enumerate(chart.elements):
            if element.role not in CHECKED or (element.role in ("tick", "tick_label", "cell", "header") and place % 3):
                continue
            step = STEPS.get(element.role, 4)
            for axis, moves in (("x", ((step, 0), (-step, 0))), ("y", ((0, step), (0, -step)))):
                for move in moves:
                    wrong = [*chart.elements[:place], element.moved(*move), *chart.elements[place + 1 :]]
                    tried[element.role, axis] += 1
                    noticed[element.role, axis] += bool(unseen(chart.picture, wrong, [place]))
    roles = {role for role, _ in tried}
    assert set(CHECKED) - roles <= {"outlier"}, "every role is tried"
    assert not {key: noticed[key] / count for key, count in tried.items() if noticed[key] < 0.95 * count}
    assert tried.total() > 800


BAR = Element("bar", (20.0, 30.0, 40.0, 90.0), (30.0, 50.0), colour="#1f77b4")


def drawn(*extra: tuple[float, float, float, float]) -> Image.Image:
    """A bar of 20 x 60 pixels at (20, 30) on white, and other rectangles of its colour."""
    picture = Image.new("RGB", (120, 120), "white")
    for left, top, right, bottom in (BAR.box, *extra):
        ImageDraw.Draw(picture).rectangle((left, top, right - 1, bottom - 1), fill=BAR.colour)
    return picture


def test_what_the_check_says() -> None:
    assert unseen(drawn(), [BAR]) == []
    cases = [
        (BAR.moved(0, 4), "bar at (20, 34, 40, 94): its colour ends at (20, 31, 40, 90)"),
        (replace(BAR, box=(20.0, 30.0, 40.0, 80.0)), "bar at (20, 30, 40, 80): its colour ends at (20, 30, 40, 83)"),
        (replace(BAR, point=(50.0, 50.0)), "bar at (20, 30, 40, 90): its point does not show #1f77b4"),
        (replace(BAR, point=None), "bar at (20, 30, 40, 90): its point is not noted"),
        (replace(BAR, colour=None), "bar at (20, 30, 40, 90): its colour is not noted"),
        (BAR.moved(-30, 0), "bar leaves the picture"),
    ]
    for element, said in cases:
        assert unseen(drawn(), [element]) == [said]
    beside = replace(BAR, box=(40.0, 50.0, 60.0, 90.0), point=(50.0, 60.0))
    assert unseen(drawn(beside.box), [BAR, beside]) == [], "a neighbour of the same colour goes on"
    assert unseen(drawn(beside.box), [BAR]) != [], "but only one that is noted"
    assert unseen(drawn(), [replace(BAR, role="title")]) == [], "a text's ink fills its box here"
    white = Image.new("RGB", (120, 120), "white")
    assert unseen(white, [replace(BAR, role="title")]) == ["title at (20, 30, 40, 90): no ink"]


def test_lines_and_markers_by_hand() -> None:
    line = Element("whisker", (20.0, 50.0, 60.0, 51.0), colour="#1f77b4")
    picture = Image.new("RGB", (120, 120), "white")
    ImageDraw.Draw(picture).line((20, 50, 59, 50), fill="#1f77b4")
    assert unseen(picture, [line]) == []
    for move, said in (((4, 0), "4 of 40 pixels of it are not seen"), ((0, 4), "40 of 40"), ((0, -1), "40 of 40")):
        assert said in unseen(picture, [line.moved(*move)])[0]
    short = replace(line, box=(20.0, 50.0, 56.0, 51.0))
    assert unseen(picture, [short])[0].endswith("the line goes on beyond its end")
    ImageDraw.Draw(picture).rectangle((80, 80, 87, 87), fill="#1f77b4")
    square = Element("point", (80.0, 80.0, 88.0, 88.0), (84.0, 84.0), colour="#1f77b4", shape="square")
    assert unseen(picture, [square]) == []
    assert "its point does not show" in unseen(picture, [square.moved(4, 0)])[0]
    assert "of its shape" in unseen(picture, [square.moved(3, 0)])[0]
    ImageDraw.Draw(picture).rectangle((60, 80, 110, 87), fill="#1f77b4")
    assert unseen(picture, [square])[0].endswith("100% of its shape four pixels beside it")


def test_a_drawing_that_is_not_seen_is_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [2]

    def seldom(*given: object) -> list[str]:
        left[0] -= 1
        return ["title at (0, 0, 1, 1): no ink"] if left[0] >= 0 else []

    first = first_chart("refused", 1, kinds=["bar"])
    monkeypatch.setattr(making, "unseen", seldom)
    chart = make_chart("refused", 1, kinds=["bar"])
    assert chart.refused == 2 and chart.picture.tobytes() != first.picture.tobytes()
    monkeypatch.setattr(making, "unseen", lambda *given: ["title at (0, 0, 1, 1): no ink"])
    monkeypatch.setattr(making, "ATTEMPTS", 4)
    with pytest.raises(UserError, match=r"no chart of bar with a question of read fitted in 4 draws"):
        make_chart("refused", 1, kinds=["bar"], skills=["read"])
