"""Lines through points, and scatter plots."""

import itertools
import math
from typing import Any

from mmreflect.charts.canvas import MARKERS, Misfit, Point
from mmreflect.charts.elements import Sheet
from mmreflect.charts.plot import Entry, Plot, axis_title, category_axis, lay_out, line_height, value_axis
from mmreflect.charts.scales import written
from mmreflect.charts.tables import Table, capital

RADIUS = 4.0


def draw_lines(sheet: Sheet, table: Table) -> None:
    """Draw a line chart; a line stops before a missing value and goes on after it.

    Raises:
        Misfit: labels find no room.
    """
    style = sheet.style
    assert table.scale is not None
    gaps = any(value is None for row in table.values for value in row)
    marker = style.marker or ("circle" if gaps else None)
    shape = f"{marker}+" if marker else "line"
    entries = [Entry(name, style.palette[place], shape, place) for place, name in enumerate(table.columns)]
    rows = category_axis(table.rows, capital(table.row_noun) if style.row_title else "")
    room = line_height(sheet, style.small) + 6 if table.labelled else 6.0
    values = value_axis(table.scale, style.numbers, table.unit, axis_title(table.noun, table.unit), room)
    plot = lay_out(sheet, table, rows, values, entries if len(entries) > 1 else [])
    courses = [_course(table, plot, column, rows.shares) for column in range(len(table.columns))]
    _check_apart(courses)
    for column, course in enumerate(courses):
        for run in _runs(course):
            sheet.canvas.line(run, style.palette[column], style.line_width)
    for column, course in enumerate(courses):
        _points(sheet, table, column, course, marker)
    if table.labelled:
        _labels(sheet, table, courses)


def _course(table: Table, plot: Plot, column: int, shares: list[float]) -> list[Point | None]:
    assert table.scale is not None
    values = [line[column] for line in table.values]
    return [
        None if value is None else (plot.x(share), plot.y(table.scale.share(value)))
        for share, value in zip(shares, values, strict=True)
    ]


def _check_apart(courses: list[list[Point | None]]) -> None:
    """Check that no point hides another one of its row, and that no line of another column runs over a point.

    Raises:
        Misfit: one does.
    """
    for row in zip(*courses, strict=True):
        heights = sorted(point[1] for point in row if point)
        if any(below - above < 2 * RADIUS for above, below in itertools.pairwise(heights)):
            raise Misfit("a point hides another one")
    for column, course in enumerate(courses):
        others = [run for place, other in enumerate(courses) if place != column for run in _runs(other)]
        near = [pair for run in others for pair in itertools.pairwise(run)]
        for point in course:
            if point and any(
                one[0] - 4 < point[0] < other[0] + 4 and _reach(point, one, other) < 5 for one, other in near
            ):
                raise Misfit("a line runs over a point")


def _reach(point: Point, start: Point, end: Point) -> float:
    """Return the distance of a point from a line between two others."""
    across, down = end[0] - start[0], end[1] - start[1]
    along = ((point[0] - start[0]) * across + (point[1] - start[1]) * down) / (across**2 + down**2)
    along = min(1.0, max(0.0, along))
    return math.hypot(point[0] - start[0] - along * across, point[1] - start[1] - along * down)


def _runs(course: list[Point | None]) -> list[list[Point]]:
    runs: list[list[Point]] = [[]]
    for point in course:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if len(run) > 1]


def _points(sheet: Sheet, table: Table, column: int, course: list[Point | None], marker: str | None) -> None:
    style = sheet.style
    colour = style.palette[column]
    fields: dict[str, Any]
    for row, point in enumerate(course):
        value = table.values[row][column]
        if point is None or value is None:
            continue
        # without a marker, a dot wider than the line shows where its pieces meet
        radius, shape = (RADIUS, marker) if marker else (2.5 + style.line_width / 2, "circle")
        box = sheet.canvas.marker(point, shape, radius, colour)
        fields = {"row": row, "column": column, "value": float(value)}
        sheet.note("point", box, point=point, colour=colour, shape=shape, **fields)


def _labels(sheet: Sheet, table: Table, courses: list[list[Point | None]]) -> None:
    """Write every value above its point, or below it where a line passes above.

    Raises:
        Misfit: lines pass on both sides.
    """
    font = sheet.style.small
    passed = [
        spot
        for course in courses
        for run in _runs(course)
        for pair in itertools.pairwise(run)
        for spot in _spots(*pair)
    ]
    for column, course in enumerate(courses):
        for row, point in enumerate(course):
            value = table.values[row][column]
            if point is None or value is None:
                continue
            text = written(value, table.places, True)
            width, tall = sheet.canvas.measure(text, font)[0] / 2 + 1, sheet.canvas.capital(font) + 1
            for base in (point[1] - RADIUS - 5, point[1] + RADIUS + 5 + tall):
                box = (point[0] - width - 3, base - tall - 3, point[0] + width + 3, base + 4)
                if not any(box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in passed):
                    break
            else:
                raise Misfit("a line passes through a label")
            fields: dict[str, Any] = {"row": row, "column": column, "value": float(value)}
            sheet.write("value_label", (point[0], base), text, font, ("center", "bottom"), **fields)


def _spots(start: Point, end: Point) -> list[Point]:
    """Return points along a line, no further than two pixels from each other."""
    count = int(max(abs(end[0] - start[0]), abs(end[1] - start[1])) / 2) + 1
    steps = [place / count for place in range(count + 1)]
    return [(start[0] + (end[0] - start[0]) * step, start[1] + (end[1] - start[1]) * step) for step in steps]


def draw_scatter(sheet: Sheet, table: Table) -> None:
    """Draw a scatter plot; groups differ in colour.

    Raises:
        Misfit: labels find no room.
    """
    style = sheet.style
    assert table.scale is not None and table.x_scale is not None
    shape = style.marker or MARKERS[0]
    grouped = len(table.group_names) > 1
    entries = [Entry(name, style.palette[place], shape, place) for place, name in enumerate(table.group_names)]
    x_axis = value_axis(table.x_scale, style.numbers, table.x_unit, axis_title(table.x_noun, table.x_unit))
    y_axis = value_axis(table.scale, style.numbers, table.unit, axis_title(table.noun, table.unit))
    plot = lay_out(sheet, table, x_axis, y_axis, entries if grouped else [])
    placed: list[Point] = []
    for row, (across, up) in enumerate(table.values):
        assert across is not None and up is not None
        point = (plot.x(table.x_scale.share(across)), plot.y(table.scale.share(up)))
        if any(max(abs(point[0] - x), abs(point[1] - y)) < 2 * RADIUS + 2 for x, y in placed):
            raise Misfit("a point hides another one")
        placed.append(point)
        colour = style.palette[table.groups[row]]
        box = sheet.canvas.marker(point, shape, RADIUS, colour)
        fields: dict[str, Any] = {"row": row, "column": table.groups[row], "value": float(up)}
        sheet.note("point", box, point=point, colour=colour, shape=shape, **fields)
