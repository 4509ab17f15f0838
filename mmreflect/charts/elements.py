"""What stands where in a chart's picture, and the chart's JSON form in a row's facts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmreflect.charts.canvas import Box, Canvas, Font, Misfit, Point, inside, overlap
from mmreflect.charts.styles import Style

TEXTS = ("title", "axis_label", "tick_label", "legend_label", "value_label", "header", "table_cell")
"""Roles whose box is the ink of a text."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a picture.

    Attributes:
        role: bar, segment, point, wedge, box, whisker, quartile, median, outlier, cell, tick, legend_key, colour_bar,
            or one of `TEXTS`.
        box: left, top, right, bottom in pixels of the picture; the right and lower ends are exclusive.
        point: where a pointer would go: the end of a bar, a point, the middle of a wedge.
        row, column: its place in the table; an axis is named in `text`, by x or y.
        value: what it shows.
        colour: of its fill, as #rrggbb.
    """

    role: str
    box: Box
    point: Point | None = None
    row: int | None = None
    column: int | None = None
    value: float | None = None
    text: str | None = None
    colour: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the compact form: no empty fields, tenths of pixels."""
        data: dict[str, Any] = {"role": self.role, "box": [round(item, 1) for item in self.box]}
        if self.point:
            data["point"] = [round(item, 1) for item in self.point]
        others = {name: getattr(self, name) for name in ("row", "column", "value", "text", "colour")}
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
        box = self.canvas.text(point, text, font, ink or self.style.ink, anchor, angle)
        if not inside(box, (1, 1, self.canvas.width - 1, self.canvas.height - 1)):
            raise Misfit(f"{role} {text!r} leaves the picture")
        self.note(role, box, text=text, **fields)
        return box

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
