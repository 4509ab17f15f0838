"""What a row's facts note about places in its picture, drawn into the picture: to see whether it is true.

Read are `boxes`, a list of `{label, box: [left, top, right, bottom]}`, and `chart`, whose `elements` have a role and
a box; both in pixels of the picture.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect.errors import UserError
from mmreflect.media.images import load_media_image
from mmreflect.records import Media
from mmreflect.report.numbers import counted
from mmreflect.report.pictures import Picture, encode

_COLOURS = ("#d1242f", "#0b5fa5", "#00755e", "#7b4397", "#b5490b", "#8a6d00", "#5b6770", "#c2185b")
_MOST_ROLES = 6


@dataclass(frozen=True, slots=True)
class Box:
    """A place in a picture in pixels: left, top, right, bottom; `named`: its label is drawn beside it."""

    label: str
    edges: tuple[float, float, float, float]
    named: bool


def boxes_of(facts: Mapping[str, Any]) -> list[Box]:
    """Return the places that facts note; what is no box is none here."""
    given = facts.get("boxes")
    listed = [(item, True) for item in given] if isinstance(given, list) else []
    listed += [(item, False) for item in _elements(facts.get("chart"))]
    found = []
    for item, named in listed:
        edges = item.get("box") if isinstance(item, Mapping) else None
        if isinstance(edges, list) and len(edges) == 4 and all(_finite(edge) for edge in edges):
            label = str(item.get("label") or item.get("role") or "box")
            left, top, right, bottom = (float(edge) for edge in edges)
            found.append(Box(label, (min(left, right), min(top, bottom), max(left, right), max(top, bottom)), named))
    return found


def annotated(media: Media, boxes: list[Box]) -> Picture | None:
    """Return a picture with the places drawn in and counted by label below; None where it cannot be read."""
    from PIL import ImageDraw

    try:
        picture = load_media_image(media).convert("RGB")
    except UserError:
        return None  # the picture itself stands beside it, with what is wrong
    draw = ImageDraw.Draw(picture)
    labels = list(dict.fromkeys(box.label for box in boxes))
    width = max(1, round(max(picture.size) / 400))
    for box in boxes:
        colour = _COLOURS[labels.index(box.label) % len(_COLOURS)]
        draw.rectangle(box.edges, outline=colour, width=width)
        if box.named:
            draw.text((box.edges[0] + width + 1, box.edges[1] + width), box.label, fill=colour)
    return encode(picture, Path(media.path).name, _told(boxes))


def _told(boxes: list[Box]) -> str:
    counts = Counter(box.label for box in boxes)
    shown = [f"{label.replace('_', ' ')} {count}" for label, count in counts.most_common(_MOST_ROLES)]
    more = f", {len(counts) - _MOST_ROLES} more kinds" if len(counts) > _MOST_ROLES else ""
    return f"{counted(len(boxes), 'noted place')}: {', '.join(shown)}{more}"


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _elements(chart: Any) -> list[Any]:
    if isinstance(chart, str):
        try:
            chart = json.loads(chart)
        except ValueError:
            return []
    elements = chart.get("elements") if isinstance(chart, Mapping) else None
    return elements if isinstance(elements, list) else []
