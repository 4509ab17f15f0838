"""Pies and rings."""

import math
from typing import Any

from mmreflect.charts.canvas import Misfit, Point, around
from mmreflect.charts.elements import Sheet
from mmreflect.charts.marks.bars import contrast
from mmreflect.charts.plot import PAD, Entry, draw_legend, legend_size, line_height, write_title
from mmreflect.charts.tables import Table


def draw(sheet: Sheet, table: Table) -> None:
    """Draw a pie clockwise from twelve o'clock; its parts are named beside the slices, or in a legend.

    Raises:
        Misfit: the pie would be too small, or labels find no room.
    """
    style, canvas = sheet.style, sheet.canvas
    entries = [Entry(name, style.palette[place], "patch", place) for place, name in enumerate(table.rows)]
    top, left, right = write_title(sheet, table, PAD), PAD, canvas.width - PAD
    beside = style.legend in ("right", "inside")
    width, height = legend_size(sheet, entries, False)
    margin = line_height(sheet, style.plain) + 10
    bottom = canvas.height - PAD
    if beside:
        margin = 6.0
        right -= width + 12
    radius = min((bottom - top) / 2 - margin, (right - left) / 2 - margin)
    if radius < 70:
        raise Misfit("the pie is too small")
    centre = ((left + right) / 2, (top + bottom) / 2)
    turned = 0.0
    for row in range(len(table.rows)):
        value = table.values[row][0]
        assert value is not None
        turn = float(value) * 3.6
        _slice(sheet, table, row, (centre, radius), (turned, turned + turn), beside)
        turned += turn
    if beside:
        draw_legend(sheet, entries, right + 6, centre[1] - height / 2, False)


def _slice(
    sheet: Sheet,
    table: Table,
    row: int,
    pie: tuple[tuple[float, float], float],
    span: tuple[float, float],
    beside: bool,
) -> None:
    style, (centre, radius), (start, end) = sheet.style, pie, span
    colour, value = style.palette[row], table.values[row][0]
    assert value is not None
    hole = style.hole * radius
    sheet.canvas.wedge(centre, hole, radius, start, end, colour, style.face)
    turns = [start + (end - start) * place / 24 for place in range(25)]
    rim = [around(centre, length, angle) for angle in turns for length in (hole, radius)]
    xs, ys = [point[0] for point in rim], [point[1] for point in rim]
    middle = (start + end) / 2
    point = around(centre, (radius + hole) / 2 if hole else radius * 0.45, middle)
    sheet.note(
        "wedge",
        (min(xs), min(ys), max(xs), max(ys)),
        point=point,
        row=row,
        column=0,
        value=float(value),
        colour=colour,
        arc=(*centre, hole, radius, start, end),
    )
    if table.labelled:
        text = f"{value}%"
        label = _label_place(sheet, text, pie, span)
        fields: dict[str, Any] = {"row": row, "column": 0, "value": float(value)}
        sheet.write("value_label", label, text, style.small, ink=contrast(colour), **fields)
    if not beside:
        side = "left" if 15 < middle < 165 else "right" if 195 < middle < 345 else "center"
        level = "bottom" if middle < 15 or middle > 345 else "top" if 165 <= middle <= 195 else "middle"
        sheet.write(
            "legend_label",
            around(centre, radius + 9, middle),
            table.rows[row],
            style.plain,
            (side, level),
            row=row,
            column=0,
        )


def _label_place(sheet: Sheet, text: str, pie: tuple[Point, float], span: tuple[float, float]) -> Point:
    """Return the middle of a label that lies within its slice.

    Raises:
        Misfit: the slice is too narrow for it.
    """
    (centre, radius), (start, end), style = pie, span, sheet.style
    half, tall = sheet.canvas.measure(text, style.small)[0] / 2 + 2, sheet.canvas.capital(style.small) / 2 + 2
    shares = ((1 + style.hole) / 2,) if style.hole else (0.7, 0.78, 0.84, 0.88)
    for share in shares:
        x, y = around(centre, radius * share, (start + end) / 2)
        corners = [(x + a * half - centre[0], y + b * tall - centre[1]) for a in (-1, 1) for b in (-1, 1)]
        turns = [math.degrees(math.atan2(across, -down)) % 360 for across, down in corners]
        lengths = [math.hypot(*corner) for corner in corners]
        if (
            min(lengths) > radius * style.hole + 1
            and max(lengths) < radius - 1
            and start < min(turns) < max(turns) < end
        ):
            return x, y
    raise Misfit("a slice is too narrow for its label")
