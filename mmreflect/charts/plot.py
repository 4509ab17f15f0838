"""Where the plot of a chart stands between title, axes and legend; everything is measured before it is drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from mmreflect.charts.canvas import MARKERS, Box, Font, Misfit
from mmreflect.charts.elements import Sheet
from mmreflect.charts.scales import Scale, tick_texts
from mmreflect.charts.tables import Table, capital

PAD = 10.0
TICK = 4.0
KEY, KEY_GAP, ENTRY_GAP = 18.0, 6.0, 16.0


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: labels at shares of its length, from the left or from below.

    Attributes:
        values: the numbers of the labels; None for categories, whose labels stand in the middle of their slots.
        small: shares of the ticks without labels.
        room: pixels that are kept free beyond the end of the axis.
        columns: the labels are the table's columns, not its rows.
    """

    texts: list[str]
    shares: list[float]
    values: list[Fraction] | None = None
    small: tuple[float, ...] = ()
    title: str = ""
    room: float = 0.0
    columns: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the legend; `shape` is patch, line, or a marker's name (with + on a line)."""

    label: str
    colour: str
    shape: str
    column: int


@dataclass(frozen=True, slots=True)
class Plot:
    """The plot's box in pixels, and the room beyond the ends of its axes."""

    box: Box
    x_room: float = 0.0
    y_room: float = 0.0

    def x(self, share: float) -> float:
        """Return the pixel at a share of the axis from the left."""
        return self.box[0] + share * (self.box[2] - self.box[0] - self.x_room)

    def y(self, share: float) -> float:
        """Return the pixel at a share of the axis from below."""
        return self.box[3] - share * (self.box[3] - self.box[1] - self.y_room)


def category_axis(labels: Sequence[str], title: str = "", downwards: bool = False, columns: bool = False) -> Axis:
    """Return an axis of equal slots; `downwards` puts the first one on top."""
    shares = [(place + 0.5) / len(labels) for place in range(len(labels))]
    return Axis(list(labels), shares[::-1] if downwards else shares, title=title, columns=columns)


def value_axis(scale: Scale, numbers: str, unit: str, title: str, room: float = 0.0) -> Axis:
    """Return an axis of numbers."""
    ticks = scale.ticks()
    small = tuple(scale.share(value) for value in scale.small_ticks())
    return Axis(tick_texts(ticks, numbers, unit), [scale.share(tick) for tick in ticks], ticks, small, title, room)


def axis_title(noun: str, unit: str) -> str:
    """Return what stands beside an axis of numbers."""
    return f"{capital(noun)} ({unit})" if unit else capital(noun)


def line_height(sheet: Sheet, font: Font) -> float:
    """Return the height that one line of text takes, in pixels."""
    return 1.5 * sheet.canvas.capital(font)


def write_title(sheet: Sheet, table: Table, left: float) -> float:
    """Write the title on one or two lines and return the pixel below it; the place of none is the upper edge.

    Args:
        left: where a title starts that is not centred.
    """
    style = sheet.style
    if not style.titled:
        return PAD
    font, width = style.heading, sheet.canvas.width
    text = f"{table.title} (%)" if table.kind == "pie" else table.title
    lines = [text]
    if sheet.canvas.measure(text, font)[0] > width - 2 * PAD:
        words = text.split()
        half = min(range(1, len(words)), key=lambda cut: abs(len(" ".join(words[:cut])) - len(text) / 2), default=0)
        lines = [" ".join(words[:half]), " ".join(words[half:])]
    top = PAD
    for line in lines:
        if style.title_left:
            sheet.write("title", (left, top), line, font, ("left", "top"))
        else:
            sheet.write("title", (width / 2, top), line, font, ("center", "top"))
        top += line_height(sheet, font)
    return top + 6


def legend_size(sheet: Sheet, entries: Sequence[Entry], across: bool) -> tuple[float, float]:
    """Return width and height of a legend, in one row or one column."""
    font = sheet.style.plain
    widths = [KEY + KEY_GAP + sheet.canvas.measure(entry.label, font)[0] for entry in entries]
    row = line_height(sheet, font) + 4
    if across:
        return sum(widths) + ENTRY_GAP * (len(widths) - 1) + 12, row + 6
    return max(widths) + 12, row * len(widths) + 6


def draw_legend(sheet: Sheet, entries: Sequence[Entry], left: float, top: float, across: bool) -> None:
    """Draw a legend; its keys and labels are elements."""
    style, font = sheet.style, sheet.style.plain
    width, height = legend_size(sheet, entries, across)
    if style.legend_frame:
        sheet.canvas.rectangle((left, top, left + width, top + height), style.plot_face, style.grid_colour)
    x, y = left + 6, top + 3
    row = line_height(sheet, font) + 4
    for entry in entries:
        middle = float(round(y + row / 2))
        x = float(round(x))
        if entry.shape == "patch":
            box = (x, middle - 5, x + KEY, middle + 5)
            sheet.canvas.rectangle(box, entry.colour, style.edge)
        else:
            box = (x + KEY / 2 - 4, middle - 4, x + KEY / 2 + 4, middle + 4)
            if entry.shape == "line" or entry.shape.endswith("+"):
                sheet.canvas.line([(x, middle), (x + KEY, middle)], entry.colour, style.line_width)
                half = 4.0 if entry.shape.endswith("+") else style.line_width / 2
                box = (x, middle - half, x + KEY, middle + half)
            if entry.shape.rstrip("+") in MARKERS:
                sheet.canvas.marker((x + KEY / 2, middle), entry.shape.rstrip("+"), 4.0, entry.colour)
        sheet.note("legend_key", box, point=(x + KEY / 2, middle), column=entry.column, colour=entry.colour)
        label = sheet.write(
            "legend_label", (x + KEY + KEY_GAP, middle), entry.label, font, ("left", "middle"), column=entry.column
        )
        if across:
            x = label[2] + ENTRY_GAP
        else:
            y += row


def lay_out(sheet: Sheet, table: Table, x: Axis, y: Axis, entries: Sequence[Entry] = (), reserve: float = 0.0) -> Plot:
    """Draw title, axes, grid and legend, and return where the plot stands.

    Args:
        reserve: pixels kept free on the right, for a colour bar.

    Raises:
        Misfit: the plot would be too small, or a label finds no room.
    """
    style, canvas, font = sheet.style, sheet.canvas, sheet.style.plain
    line = line_height(sheet, font)
    left = PAD + (line + 6 if y.title else 0) + max(canvas.measure(text, font)[0] for text in y.texts) + TICK + 5
    top = write_title(sheet, table, left)
    place = style.legend if entries else "none"
    if place == "inside" and y.values is None:
        place = "right"
    across = place in ("top", "bottom", "inside")
    width, height = legend_size(sheet, entries, across) if entries else (0.0, 0.0)
    right = canvas.width - PAD - 4 - reserve - (width + 6 if place == "right" else 0)
    if x.values is not None:
        right -= canvas.measure(x.texts[-1], font)[0] / 2
    slot = (right - left) / max(1, len(x.texts) - (1 if x.values is not None else 0))
    angle, below = _angle(sheet, x, slot)
    bottom = canvas.height - PAD - (line + 4 if x.title else 0) - below - TICK - 5
    bottom -= height + 4 if place == "bottom" else 0
    legend_top = top
    top += height + 6 if place == "top" else 0
    room = y.room + (height + 8 if place == "inside" else 0)
    plot = Plot((round(left), round(top + 2), round(right), round(bottom)), x.room, room)
    if plot.box[2] - plot.box[0] < 180 or plot.box[3] - plot.box[1] - room < 130:
        raise Misfit("the plot is too small")
    canvas.rectangle(plot.box, style.plot_face)
    _grid(sheet, plot, x, y)
    _ticks(sheet, plot, x, y, angle)
    _spines(sheet, plot)
    if x.title:
        end = canvas.height - PAD - 2 - (height + 4 if place == "bottom" else 0)
        sheet.write("axis_label", ((left + right) / 2, end), x.title, font, ("center", "bottom"))
    if y.title:
        sheet.write("axis_label", (PAD, (plot.box[1] + plot.box[3]) / 2), y.title, font, ("left", "middle"), 90)
    if entries:
        if (across and width > canvas.width - 2 * PAD) or (place == "inside" and width > right - left - 12):
            raise Misfit("the legend is too wide")
        middle = (plot.box[0] + plot.box[2] - width) / 2
        corner = {
            "right": (right + 10 + reserve, (plot.box[1] + plot.box[3] - height) / 2),
            "top": (max(PAD, middle), legend_top),
            "bottom": (max(PAD, middle), canvas.height - PAD - height + 4),
            "inside": (plot.box[2] - width - 5, plot.box[1] + 4),
        }[place]
        draw_legend(sheet, entries, *corner, across)
    return plot


def _angle(sheet: Sheet, axis: Axis, slot: float) -> tuple[int, float]:
    """Return how the labels below the plot are turned, and the height that they take."""
    font = sheet.style.plain
    widest = max(sheet.canvas.measure(text, font)[0] for text in axis.texts)
    tall = sheet.canvas.capital(font)
    if widest + 8 <= slot:
        return 0, tall * 1.3
    if axis.values is not None:
        raise Misfit("the numbers below the plot have no room")
    if tall * 1.7 <= slot * math.sin(math.radians(45)):
        return 45, (widest + tall * 1.3) * math.sin(math.radians(45))
    if tall * 1.6 <= slot:
        return 90, widest
    raise Misfit("the labels below the plot have no room")


def _grid(sheet: Sheet, plot: Plot, x: Axis, y: Axis) -> None:
    style = sheet.style
    left, top, right, bottom = plot.box
    for axis, upright in ((x, True), (y, False)):
        if style.grid == "none" or axis.values is None or (upright and y.values and style.grid == "value"):
            continue
        for share in axis.shares:
            place = round(plot.x(share) if upright else plot.y(share)) + 0.5
            ends = [(place, top), (place, bottom)] if upright else [(left, place), (right, place)]
            sheet.canvas.line(ends, style.grid_colour, 1.0, style.dash)


def _ticks(sheet: Sheet, plot: Plot, x: Axis, y: Axis, angle: int) -> None:
    style, font = sheet.style, sheet.style.plain
    left, _, _, bottom = plot.box
    for axis, upright in ((x, True), (y, False)):
        drawn = style.spines != "bare" or style.grid == "none" or bool(axis.small)
        marks = [(share, TICK) for share in axis.shares] + [(share, TICK / 2) for share in axis.small]
        for place, (share, length) in enumerate(marks if drawn else []):
            at = round(plot.x(share) if upright else plot.y(share)) + 0.5
            ends = [(at, bottom), (at, bottom + length)] if upright else [(left - length, at), (left, at)]
            sheet.canvas.line(ends, style.ink, 1.0)
            if place < len(axis.shares):
                box = (
                    (at - 0.5, bottom, at + 0.5, bottom + length)
                    if upright
                    else (left - length, at - 0.5, left, at + 0.5)
                )
                number = float(axis.values[place]) if axis.values else None
                sheet.note(
                    "tick",
                    box,
                    point=(at, bottom + length / 2) if upright else (left - length / 2, at),
                    value=number,
                    text="xy"[not upright],
                    colour=style.ink,
                )
        for place, (text, share) in enumerate(zip(axis.texts, axis.shares, strict=True)):
            fields = (
                {"value": float(axis.values[place])} if axis.values else {"column" if axis.columns else "row": place}
            )
            if not upright:
                point = (left - TICK - 4, plot.y(share))
                sheet.write("tick_label", point, text, font, ("right", "middle"), **fields)
            else:
                anchor = ("center", "top") if angle == 0 else ("right", "top") if angle == 45 else ("center", "top")
                sheet.write("tick_label", (plot.x(share), bottom + TICK + 4), text, font, anchor, angle, **fields)


def _spines(sheet: Sheet, plot: Plot) -> None:
    style = sheet.style
    left, top, right, bottom = plot.box
    left, top, right, bottom = left - 0.5, top - 0.5, right + 0.5, bottom + 0.5  # around the plot, not in it
    if style.spines == "box":
        sheet.canvas.line([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], style.ink, 1.0)
    elif style.spines == "half":
        sheet.canvas.line([(left, top), (left, bottom), (right, bottom)], style.ink, 1.0)
