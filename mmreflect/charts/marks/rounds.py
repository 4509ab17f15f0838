"""Pies and rings."""

from mmreflect.charts.canvas import Misfit, around
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
    margin = line_height(sheet, style.plain) + 8
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
    reach = radius * ((1 + style.hole) / 2 if style.hole else 0.86 if end - start < 30 else 0.7)
    point = around(centre, (radius + hole) / 2 if hole else radius * 0.45, middle)
    sheet.note(
        "wedge", (min(xs), min(ys), max(xs), max(ys)), point=point, row=row, column=0, value=float(value), colour=colour
    )
    if table.labelled:
        label = around(centre, reach, middle)
        sheet.write(
            "value_label", label, f"{value}%", style.small, ink=contrast(colour), row=row, column=0, value=float(value)
        )
    if not beside:
        side = "left" if 15 < middle < 165 else "right" if 195 < middle < 345 else "center"
        level = "bottom" if middle < 15 or middle > 345 else "top" if 165 <= middle <= 195 else "middle"
        sheet.write(
            "legend_label",
            around(centre, radius + 7, middle),
            table.rows[row],
            style.plain,
            (side, level),
            row=row,
            column=0,
        )
