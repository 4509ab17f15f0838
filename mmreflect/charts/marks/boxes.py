"""Box plots: whiskers to the minimum and maximum without outliers, a box between the quartiles, the median in it."""

import itertools
from typing import Any

from mmreflect.charts.canvas import Box, Misfit
from mmreflect.charts.elements import Sheet
from mmreflect.charts.marks.bars import contrast
from mmreflect.charts.plot import Plot, axis_title, category_axis, lay_out, value_axis
from mmreflect.charts.tables import Table, capital

PALE = "#fff3bf"
"""Colour of a pale median: white grids and white grounds end elsewhere than it."""


def draw(sheet: Sheet, table: Table) -> None:
    """Draw a box plot, upright.

    Raises:
        Misfit: labels find no room, or two of the five numbers fall on each other.
    """
    style = sheet.style
    assert table.scale is not None
    rows = category_axis(table.rows, capital(table.row_noun) if style.row_title else "")
    values = value_axis(table.scale, style.numbers, table.unit, axis_title(table.noun, table.unit), 6.0)
    plot = lay_out(sheet, table, rows, values)
    for row, share in enumerate(rows.shares):
        _box(sheet, table, plot, row, share)


def _box(sheet: Sheet, table: Table, plot: Plot, row: int, share: float) -> None:
    style = sheet.style
    assert table.scale is not None
    numbers = [value for value in table.values[row] if value is not None]
    levels = [float(round(plot.y(table.scale.share(value)))) for value in numbers]
    if any(lower - upper < 6 for lower, upper in itertools.pairwise(levels)):
        raise Misfit("two of the five numbers fall on each other")
    half = min(40.0, (plot.x(1.0) - plot.x(0.0)) / len(table.rows) * style.share / 2)
    middle = round(plot.x(share))
    colour = style.palette[row % len(style.palette) if style.each else 0]
    fields: dict[str, Any]
    ink = style.ink
    left, right = round(middle - half), round(middle + half)
    cap = round(half / 2)
    for place, base in ((0, 1), (4, 3)):
        level = levels[place] + 0.5
        sheet.canvas.line([(middle + 0.5, levels[base]), (middle + 0.5, level)], ink, 1.0)
        sheet.canvas.line([(middle - cap, level), (middle + cap, level)], ink, 1.0)
        box: Box = (float(middle - cap), level - 0.5, middle + cap, level + 0.5)
        fields = {"row": row, "column": place, "value": float(numbers[place])}
        sheet.note("whisker", box, point=(middle, level), colour=ink, **fields)
    body: Box = (left, levels[3], right, levels[1])
    sheet.canvas.rectangle(body, colour, ink)
    sheet.note("box", body, point=((left + middle) / 2, (levels[1] + levels[3]) / 2), row=row, colour=colour)
    for place, start in ((1, levels[1] - 1), (3, levels[3])):  # the outline lies inside the body
        edge = (left, start, right, start + 1)
        fields = {"row": row, "column": place, "value": float(numbers[place])}
        sheet.note("quartile", edge, point=(middle, start + 0.5), colour=ink, **fields)
    level, line = levels[2] + 0.5, contrast(colour).replace("#ffffff", PALE)
    sheet.canvas.line([(left, level), (right, level)], line, 2.0)
    fields = {"row": row, "column": 2, "value": float(numbers[2])}
    sheet.note("median", (left, level - 1, right, level + 1), point=(middle, level), colour=line, **fields)
    for value in table.outliers[row]:
        point = (middle, plot.y(table.scale.share(value)))
        box = sheet.canvas.marker(point, "circle", 3.0, ink)
        sheet.note("outlier", box, point=point, row=row, value=float(value), colour=ink, shape="circle")
