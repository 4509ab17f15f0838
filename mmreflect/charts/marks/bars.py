"""Bars: plain, grouped and stacked, upright or lying."""

from fractions import Fraction
from typing import Any

from mmreflect.charts.canvas import Misfit, inside, overlap
from mmreflect.charts.elements import Element, Sheet
from mmreflect.charts.plot import Axis, Entry, Plot, axis_title, category_axis, lay_out, line_height, value_axis
from mmreflect.charts.scales import written
from mmreflect.charts.tables import Table, capital

LEAST = 3.0
"""Pixels of the shortest bar or segment that is drawn."""


def draw(sheet: Sheet, table: Table) -> None:
    """Draw a bar chart of any of the three kinds.

    Raises:
        Misfit: labels or bars find no room.
    """
    style = sheet.style
    assert table.scale is not None
    stacked = table.kind == "stacked_bar"
    several = len(table.columns) > 1
    entries = (
        [Entry(name, style.palette[place], "patch", place) for place, name in enumerate(table.columns)]
        if several
        else []
    )
    rows = category_axis(table.rows, capital(table.row_noun) if style.row_title else "", style.horizontal)
    widest = max(sheet.canvas.measure(text, style.small)[0] for text in _texts(table))
    labelled = table.labelled and not stacked
    room = (widest + 6 if style.horizontal else line_height(sheet, style.small) + 4) if labelled else 0.0
    values = value_axis(table.scale, style.numbers, table.unit, axis_title(table.noun, table.unit), room)
    x, y = (values, rows) if style.horizontal else (rows, values)
    plot = lay_out(sheet, table, x, y, entries)
    for row in range(len(table.rows)):
        base = Fraction(0)
        for column in range(len(table.columns)):
            value = table.values[row][column]
            assert value is not None
            start = base if stacked else None
            _bar(sheet, table, plot, rows, (row, column), (start, base + value if stacked else value))
            base += value
    if table.labelled:
        for bar in list(sheet.elements):
            if bar.role in ("bar", "segment"):
                _label(sheet, table, bar)


def _texts(table: Table) -> list[str]:
    return [written(value, table.places, True) for row in table.values for value in row if value is not None]


def _bar(
    sheet: Sheet, table: Table, plot: Plot, axis: Axis, place: tuple[int, int], span: tuple[Fraction | None, Fraction]
) -> None:
    """Draw one bar or segment from its start, which is None at the axis, to its end."""
    style, (row, column) = sheet.style, place
    assert table.scale is not None
    lanes = 1 if table.kind == "stacked_bar" else len(table.columns)
    lane = 0 if table.kind == "stacked_bar" else column
    slot = style.share / len(table.rows)
    low = 0.0 if span[0] is None else table.scale.share(span[0])
    high = table.scale.share(span[1])
    if style.horizontal:
        near = axis.shares[row] + slot / 2 - slot * lane / lanes
        box = (plot.x(low), plot.y(near), plot.x(high), plot.y(near - slot / lanes))
    else:
        near = axis.shares[row] - slot / 2 + slot * lane / lanes
        box = (plot.x(near), plot.y(high), plot.x(near + slot / lanes), plot.y(low))
    box = (round(box[0]), round(box[1]), round(box[2]), round(box[3]))
    if min(box[2] - box[0], box[3] - box[1]) < LEAST or high > 1:
        raise Misfit("a bar is too thin, or longer than the axis")
    colour = style.palette[column if len(table.columns) > 1 else row % len(style.palette) if style.each else 0]
    sheet.canvas.rectangle(box, colour, style.edge)
    # near its end, but not on an outline
    depth = min(4.0, (box[2] - box[0] if style.horizontal else box[3] - box[1]) / 2)
    end = (box[2] - depth, (box[1] + box[3]) / 2) if style.horizontal else ((box[0] + box[2]) / 2, box[1] + depth)
    value = table.values[row][column]
    assert value is not None
    role = "segment" if table.kind == "stacked_bar" else "bar"
    sheet.note(role, box, point=end, row=row, column=column, value=float(value), colour=colour)


def _label(sheet: Sheet, table: Table, bar: Element) -> None:
    """Write a value on its segment, or beyond the end of its bar.

    Raises:
        Misfit: the segment is too small, or another bar stands there.
    """
    style, box, row, column = sheet.style, bar.box, bar.row, bar.column
    assert row is not None and column is not None and bar.colour
    value = table.values[row][column]
    assert value is not None
    text = written(value, table.places, True)
    fields: dict[str, Any] = {"row": row, "column": column, "value": float(value)}
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    if table.kind == "stacked_bar":
        ink = sheet.write("value_label", middle, text, style.small, ink=contrast(bar.colour), **fields)
        if not inside(ink, (box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1)):
            raise Misfit("a segment is too small for its label")
        return
    if style.horizontal:
        ink = sheet.write("value_label", (box[2] + 4, middle[1]), text, style.small, ("left", "middle"), **fields)
    else:
        ink = sheet.write("value_label", (middle[0], box[1] - 4), text, style.small, ("center", "bottom"), **fields)
    if any(other.role == "bar" and overlap(ink, other.box, 1) for other in sheet.elements):
        raise Misfit("a label stands on another bar")


def contrast(colour: str) -> str:
    """Return black or white, whichever is read better on a colour."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else "#1a1a1a"
