"""Heat maps and tables."""

from fractions import Fraction
from typing import Any

from mmreflect.charts.canvas import Box, Misfit, inside
from mmreflect.charts.elements import CELL_PAD, Sheet
from mmreflect.charts.marks.bars import contrast
from mmreflect.charts.plot import PAD, category_axis, lay_out, line_height, write_title
from mmreflect.charts.scales import places_of, written
from mmreflect.charts.tables import Table, capital

NOTHING = "–"
"""What stands in the place of a missing value."""
BAR, BAR_GAP = 16.0, 12.0


def draw_heat_map(sheet: Sheet, table: Table) -> None:
    """Draw a heat map: rows from above, columns from the left, a colour bar where the values are not written.

    Raises:
        Misfit: labels find no room.
    """
    style = sheet.style
    known = [value for row in table.values for value in row if value is not None]
    low, high = min(known), max(known)
    rows = category_axis(table.rows, capital(table.row_noun) if style.row_title else "", True)
    columns = category_axis(table.columns, capital(table.column_noun) if style.row_title else "", columns=True)
    texts = [written(value, places_of(value), True) for value in (low, high)]
    widest = max(sheet.canvas.measure(text, style.plain)[0] for text in texts)
    reserve = 0.0 if table.labelled else BAR + BAR_GAP + widest + 8
    plot = lay_out(sheet, table, columns, rows, reserve=reserve)
    for row in range(len(table.rows)):
        for column in range(len(table.columns)):
            box = (
                round(plot.x(column / len(table.columns))),
                round(plot.y(1 - row / len(table.rows))),
                round(plot.x((column + 1) / len(table.columns))),
                round(plot.y(1 - (row + 1) / len(table.rows))),
            )
            _cell(sheet, table, box, (row, column), (low, high))
    if not table.labelled:
        left, top, bottom = plot.box[2] + BAR_GAP, plot.box[1], plot.box[3]
        count = int(bottom - top)
        for place in range(count):
            shade = shade_of(style.colour_map, 1 - (place + 0.5) / count)
            sheet.canvas.rectangle((left, top + place, left + BAR, top + place + 1), shade)
        sheet.note("colour_bar", (left, top, left + BAR, bottom))
        for text, level, value, anchor in ((texts[1], top, high, "top"), (texts[0], bottom, low, "bottom")):
            sheet.write("tick_label", (left + BAR + 5, level), text, style.plain, ("left", anchor), value=float(value))


def shade_of(name: str, share: float) -> str:
    """Return a colour of one of matplotlib's maps; the palest and darkest tenth of a map are left out."""
    import matplotlib
    from matplotlib.colors import to_hex

    return str(to_hex(matplotlib.colormaps[name](0.1 + 0.8 * share)))


def _cell(sheet: Sheet, table: Table, box: Box, place: tuple[int, int], span: tuple[Fraction, Fraction]) -> None:
    style, (row, column) = sheet.style, place
    value, (low, high) = table.values[row][column], span
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    if value is None:
        sheet.canvas.rectangle(box, style.plot_face, style.face)
        if table.labelled:
            sheet.write("value_label", middle, NOTHING, style.small, row=row, column=column)
        return
    colour = shade_of(style.colour_map, float((value - low) / (high - low)) if high > low else 0.5)
    sheet.canvas.rectangle(box, colour, style.face if style.edge else None)
    sheet.note("cell", box, point=middle, row=row, column=column, value=float(value), colour=colour)
    if table.labelled:
        text = written(value, table.places, True)
        ink = sheet.write(
            "value_label", middle, text, style.small, ink=contrast(colour), row=row, column=column, value=float(value)
        )
        if not inside(ink, (box[0] + 2, box[1] + 2, box[2] - 2, box[3] - 2)):
            raise Misfit("a cell is too small for its label")


def draw_table(sheet: Sheet, table: Table) -> None:
    """Draw a table: a head, a line per row, numbers to the right, every second row shaded in half of the styles.

    Raises:
        Misfit: it is wider or taller than the picture.
    """
    style, canvas = sheet.style, sheet.canvas
    top = write_title(sheet, table, PAD) + 4
    texts = [
        [name, *(NOTHING if value is None else written(value, table.places, True) for value in line)]
        for name, line in zip(table.rows, table.values, strict=True)
    ]
    head = [capital(table.row_noun), *table.columns]
    fonts = (style.strong, style.plain)
    widths = [
        max(canvas.measure(line[place], fonts[number > 0])[0] for number, line in enumerate([head, *texts])) + 26
        for place in range(len(head))
    ]
    height = line_height(sheet, style.plain) + 10
    spare = canvas.width - 2 * PAD - sum(widths)
    below = line_height(sheet, style.plain) + 4 if table.unit else 0.0
    if spare < 0 or top + height * (len(texts) + 1) + below + PAD > canvas.height:
        raise Misfit("the table is larger than the picture")
    widths = [width + min(spare / len(widths), 60.0) for width in widths]
    left = (canvas.width - sum(widths)) / 2
    shade = style.palette[0]
    canvas.rectangle((left, top, left + sum(widths), top + height), shade if style.each else style.plot_face)
    for number, line in enumerate([head, *texts]):
        y = top + height * number
        shaded = number > 0 and number % 2 == 0 and style.legend_frame
        if shaded:
            canvas.rectangle((left, y, left + sum(widths), y + height), style.plot_face)
        x = left
        for place, text in enumerate(line):
            box = (x, y, x + widths[place], y + height)
            _table_cell(sheet, table, box, text, (number - 1, place - 1), style.plot_face if shaded else style.face)
            x += widths[place]
    _rules(sheet, (left, top, left + sum(widths), top + height * (len(texts) + 1)), height, widths)
    if table.unit:
        where = (left + 4, top + height * (len(texts) + 1) + 8)
        sheet.write("axis_label", where, f"{capital(table.noun)} in {table.unit}", style.small, ("left", "top"))


def _table_cell(sheet: Sheet, table: Table, box: Box, text: str, at: tuple[int, int], ground: str) -> None:
    from matplotlib.colors import to_hex

    style, middle, (row, column) = sheet.style, (box[1] + box[3]) / 2, at
    font = style.strong if row < 0 else style.plain
    ink = contrast(style.palette[0]) if row < 0 and style.each else None
    point, anchor = ((box[0] + CELL_PAD, middle), "left") if column < 0 else ((box[2] - CELL_PAD, middle), "right")
    fields: dict[str, Any] = {"row": row} if row >= 0 else {}
    fields |= {"column": column} if column >= 0 else {}
    value = table.values[row][column] if row >= 0 and column >= 0 else None
    role = "table_cell" if row >= 0 and column >= 0 else "header"
    number: dict[str, Any] = {} if value is None else {"value": float(value)}
    sheet.write(role, point, text, font, (anchor, "middle"), ink=ink, **fields, **number)
    if role == "table_cell":
        sheet.note("cell", box, point=(box[0] + 5, middle), colour=str(to_hex(ground)), **fields, **number)


def _rules(sheet: Sheet, box: Box, height: float, widths: list[float]) -> None:
    """Draw the lines of a table: around everything, or above, below and under the head."""
    style, canvas = sheet.style, sheet.canvas
    left, top, right, bottom = box
    if style.spines == "box":
        x, y = left, top
        for width in [*widths, 0.0]:
            canvas.line([(round(x) + 0.5, top), (round(x) + 0.5, bottom)], style.grid_colour, 1.0)
            x += width
        while y <= bottom + 1:
            canvas.line([(left, round(y) + 0.5), (right, round(y) + 0.5)], style.grid_colour, 1.0)
            y += height
    else:
        for level in (top, top + height, bottom):
            canvas.line([(left, round(level) + 0.5), (right, round(level) + 0.5)], style.ink, 1.0)
