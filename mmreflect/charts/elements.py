"""What stands where in a chart's picture, and the chart's JSON form in a row's facts."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmreflect.charts.canvas import Box, Canvas, Font, Misfit, Point, around, inside, overlap
from mmreflect.charts.styles import Style

TEXTS = ("title", "axis_label", "tick_label", "legend_label", "value_label", "header", "table_cell")
"""Roles whose box is the ink of a text."""
CELL_PAD = 13.0
"""Pixels between a number and the right side of its cell in a table."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a picture.

    Attributes:
        role: bar, segment, point, wedge, box, whisker, quartile, median, outlier, cell, tick, legend_key, colour_bar,
            or one of `TEXTS`.
        box: left, top, right, bottom in pixels of the picture; the right and lower ends are exclusive.
        point: where a pointer would go; a filled element shows its own colour there, free of outlines and labels.
        row, column: its place in the table; an axis is named in `text`, by x or y.
        value: what it shows.
        colour: of its fill, its line or its ink, as #rrggbb; of a table's cell, what lies behind the text.
        shape: of a point or an outlier, one of `MARKERS`.
        angle: of a text that is turned, 45 or 90 degrees.
        arc: of a wedge: x and y of its centre, inner and outer radius, start and end in degrees clockwise from twelve.
    """

    role: str
    box: Box
    point: Point | None = None
    row: int | None = None
    column: int | None = None
    value: float | None = None
    text: str | None = None
    colour: str | None = None
    shape: str | None = None
    angle: int | None = None
    arc: tuple[float, ...] | None = None

    def moved(self, across: float, down: float) -> "Element":
        """Return the element annotated elsewhere, everything that has a place moved along."""
        left, top, right, bottom = self.box
        return replace(
            self,
            box=(left + across, top + down, right + across, bottom + down),
            point=(self.point[0] + across, self.point[1] + down) if self.point else None,
            arc=(self.arc[0] + across, self.arc[1] + down, *self.arc[2:]) if self.arc else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the compact form: no empty fields, tenths of pixels."""
        data: dict[str, Any] = {"role": self.role, "box": [round(item, 1) for item in self.box]}
        if self.point:
            data["point"] = [round(item, 1) for item in self.point]
        if self.arc:
            data["arc"] = [round(item, 2) for item in self.arc]
        names = ("row", "column", "value", "text", "colour", "shape", "angle")
        others = {name: getattr(self, name) for name in names}
        return data | {name: value for name, value in others.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a row's facts hold about its chart.

    Attributes:
        size: width and height of the picture in pixels.
        values: one list per row of the table, a number or None per column.
        steps: the solution: what is said, and the places in `elements` that are looked at for it.
    """

    kind: str
    size: tuple[int, int]
    title: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    elements: list[Element]
    steps: list[tuple[str, list[int]]]

    def to_json(self) -> str:
        """Return compact JSON: one text, so that tools with fixed columns load rows of all kinds."""
        data = {
            "kind": self.kind,
            "size": self.size,
            "title": self.title,
            "rows": self.rows,
            "columns": self.columns,
            "values": self.values,
            "elements": [element.to_json() for element in self.elements],
            "steps": self.steps,
        }
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def annotation_of(facts: Mapping[str, Any]) -> Annotation:
    """Read a chart's annotation back from a row's facts."""
    data = json.loads(facts["chart"])
    elements = [
        Element(
            **{
                **item,
                "box": tuple(item["box"]),
                "point": tuple(item["point"]) if "point" in item else None,
                "arc": tuple(item["arc"]) if "arc" in item else None,
            }
        )
        for item in data.pop("elements")
    ]
    steps = [(said, places) for said, places in data.pop("steps")]
    return Annotation(**{**data, "size": tuple(data["size"]), "elements": elements, "steps": steps})


@dataclass(slots=True)
class Sheet:
    """A canvas and the elements drawn on it so far; `slanted`: tick labels were written at 45 degrees."""

    canvas: Canvas
    style: Style
    elements: list[Element] = field(default_factory=list)
    slanted: bool = False

    def note(self, role: str, box: Box, **fields: Any) -> None:
        """Note an element that was drawn."""
        self.elements.append(Element(role, box, **fields))

    def write(
        self,
        role: str,
        point: Point,
        text: str,
        font: Font,
        anchor: tuple[str, str] = ("center", "middle"),
        angle: int = 0,
        ink: str | None = None,
        **fields: Any,
    ) -> Box:
        """Write a text, note it and return its box.

        Raises:
            Misfit: it leaves the picture.
        """
        self.slanted |= angle == 45
        colour = ink or self.style.ink
        box = self.canvas.text(point, text, font, colour, anchor, angle)
        if not inside(box, (1, 1, self.canvas.width - 1, self.canvas.height - 1)):
            raise Misfit(f"{role} {text!r} leaves the picture")
        self.note(role, box, text=text, colour=colour, angle=angle or None, **fields)
        return box

    def settle_points(self) -> None:
        """Move the points of rectangles and wedges to where no text and no line covers their colour.

        Raises:
            Misfit: an element has no such place.
        """
        covers = [item.box for item in self.elements if item.role in TEXTS or item.role == "median"]
        for place, element in enumerate(self.elements):
            if element.role in ("bar", "segment", "box", "cell", "wedge") and element.point:
                own = [box for box in covers if overlap(box, element.box)]
                free = (item for item in _points_in(element) if not any(_covers(box, item) for box in own))
                point = next(free, None)
                if point is None:
                    raise Misfit(f"a label covers the whole {element.role}")
                self.elements[place] = replace(element, point=point)

    def check_texts(self) -> None:
        """Check that no two texts overlap; boxes of slanted tick labels may, their texts run in parallel.

        Raises:
            Misfit: two do.
        """
        texts = [element for element in self.elements if element.role in TEXTS]
        texts.sort(key=lambda element: element.box[0])
        for place, one in enumerate(texts):
            for other in texts[place + 1 :]:
                if other.box[0] >= one.box[2] + 2:
                    break
                if self.slanted and one.role == other.role == "tick_label":
                    continue
                if overlap(one.box, other.box, 1.5):
                    raise Misfit(f"{one.role} {one.text!r} overlaps {other.role} {other.text!r}")


def _covers(box: Box, point: Point) -> bool:
    return box[0] - 2 <= point[0] <= box[2] + 2 and box[1] - 2 <= point[1] <= box[3] + 2


def _points_in(element: Element) -> Iterator[Point]:
    """Give places in an element, the likeliest first."""
    assert element.point
    yield element.point
    if element.arc:
        x, y, inner, outer, start, end = element.arc
        for share in (0.5, 0.6, 0.4, 0.7, 0.3, 0.8, 0.9):
            for turn in (0.5, 0.35, 0.65):
                yield around((x, y), inner + (outer - inner) * share, start + (end - start) * turn)
        return
    left, top, right, bottom = element.box
    inset = [min(3.0, (right - left) / 2), min(3.0, (bottom - top) / 2)]
    for along in (0.5, 0.25, 0.75, 0.1, 0.9, 0.0, 1.0):
        for down in (0.5, 0.25, 0.75, 0.1, 0.9, 0.0, 1.0):
            yield (
                left + inset[0] + (right - left - 2 * inset[0]) * along,
                top + inset[1] + (bottom - top - 2 * inset[1]) * down,
            )
