"""Checking a chart's elements against its pixels: what is annotated must be seen there."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mmreflect.charts.elements import TEXTS, Element

if TYPE_CHECKING:
    from PIL.Image import Image

NEAR = 24
"""Largest difference of a colour channel that counts as the same colour."""
RECTANGLES = ("bar", "segment", "box")
FILLED = (*RECTANGLES, "point", "outlier", "wedge", "cell", "legend_key")
STROKES = ("tick", "whisker", "quartile", "median")
CHECKED = (*TEXTS, *FILLED, *STROKES)
"""Roles that are looked for in the pixels; a colour bar need only lie within the picture."""


def unseen(picture: "Image", elements: Sequence[Element]) -> list[str]:
    """Say which elements are not seen where their boxes stand.

    A text must have ink in its box; a filled element its colour at the middle of its box, or, where a label stands
    there, in a tenth of it; a bar, a segment and the body of a box must end within a pixel of their boxes. Every box
    must lie within the picture.
    """
    import numpy as np

    pixels = np.asarray(picture.convert("RGB")).astype(np.int16)
    checks: list[tuple[tuple[str, ...], Callable[[Any, Element], str]]] = [
        (TEXTS, _ink),
        (FILLED, _fill),
        (RECTANGLES, _edges),
        (STROKES, _stroke),
    ]
    found = []
    for element in elements:
        left, top, right, bottom = element.box
        if left < -0.5 or top < -0.5 or right > picture.width + 0.5 or bottom > picture.height + 0.5:
            found.append(f"{element.role} leaves the picture")
            continue
        for roles, check in checks:
            if element.role in roles and (problem := check(pixels, element)):
                found.append(f"{element.role} at {tuple(round(item) for item in element.box)}: {problem}")
                break
    return found


def _region(pixels: Any, element: Element, grow: int = 0) -> Any:
    left, top, right, bottom = element.box
    first, last = max(0, round(top) - grow), max(round(top) + 1, round(bottom) + grow)
    return pixels[first:last, max(0, round(left) - grow) : max(round(left) + 1, round(right) + grow)]


def _ink(pixels: Any, element: Element) -> str:
    region = _region(pixels, element, 1)
    contrast = int((region.max(axis=(0, 1)) - region.min(axis=(0, 1))).max())
    return "" if contrast > 60 else "no ink"


def _same(region: Any, colour: str) -> Any:
    import numpy as np

    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], np.int16)
    return np.abs(region - wanted).max(axis=-1) <= NEAR


def _fill(pixels: Any, element: Element) -> str:
    if element.colour is None:
        return ""
    x, y = element.point or (0.0, 0.0)
    if element.role in RECTANGLES:
        x, y = (element.box[0] + element.box[2]) / 2, (element.box[1] + element.box[3]) / 2
    if _same(pixels[int(y), int(x)], element.colour):
        return ""
    share = float(_same(_region(pixels, element), element.colour).mean())
    return "" if share >= 0.1 else f"its colour {element.colour} covers {share:.0%}"


def _edges(pixels: Any, element: Element) -> str:
    """Say where a rectangle's colour ends elsewhere than its box; its own outline takes a pixel."""
    if element.colour is None:
        return ""
    grow = 3
    same = _same(_region(pixels, element, grow), element.colour)
    left, top = max(0, round(element.box[0]) - grow), max(0, round(element.box[1]) - grow)
    rows = [int(place) for place in (same.sum(axis=1) > 0.25 * (same.shape[1] - 2 * grow)).nonzero()[0]]
    columns = [int(place) for place in (same.sum(axis=0) > 0.25 * (same.shape[0] - 2 * grow)).nonzero()[0]]
    if not rows or not columns:
        return "its colour is not seen"
    seen = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
    off = [abs(one - other) for one, other in zip(seen, element.box, strict=True)]
    return "" if max(off) <= 1.01 else f"its colour ends at {seen}"


def _stroke(pixels: Any, element: Element) -> str:
    """Say whether a thin line differs from what surrounds it."""
    region = _region(pixels, element, 2)
    contrast = int((region.max(axis=(0, 1)) - region.min(axis=(0, 1))).max())
    return "" if contrast > 40 else "no line"
