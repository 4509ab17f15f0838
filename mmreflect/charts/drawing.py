"""From a table and a style to a picture with its elements."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mmreflect.charts.canvas import Canvas, plain_settings
from mmreflect.charts.elements import Element, Sheet
from mmreflect.charts.marks import bars, boxes, grids, points, rounds
from mmreflect.charts.styles import Style
from mmreflect.charts.tables import Table

if TYPE_CHECKING:
    from PIL.Image import Image

PAINTERS: dict[str, Callable[[Sheet, Table], None]] = {
    "bar": bars.draw,
    "grouped_bar": bars.draw,
    "stacked_bar": bars.draw,
    "line": points.draw_lines,
    "scatter": points.draw_scatter,
    "pie": rounds.draw,
    "box": boxes.draw,
    "heat_map": grids.draw_heat_map,
    "table": grids.draw_table,
}


def draw(table: Table, style: Style) -> "tuple[Image, list[Element]]":
    """Draw a chart and return its picture and its elements.

    Raises:
        Misfit: something finds no room, or two texts overlap.
    """
    with plain_settings():
        sheet = Sheet(Canvas(style.width, style.height, style.face), style)
        PAINTERS[table.kind](sheet, table)
        sheet.check_texts()
        sheet.settle_points()
        picture = sheet.canvas.picture()
        if table.kind == "table":  # nothing stands below it
            end = max(element.box[3] for element in sheet.elements)
            picture = picture.crop((0, 0, style.width, min(style.height, int(end) + 14)))
        return picture, sheet.elements
