"""Checking a chart's elements against its pixels: what is annotated must be seen there, and nowhere beside it.

The check knows the picture and the annotations, not how a chart is drawn: `unseen` is asked of pictures as they are
stored as well.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmreflect.charts.canvas import around
from mmreflect.charts.elements import CELL_PAD, TEXTS, Element

if TYPE_CHECKING:
    from PIL.Image import Image

EXACT = 12
"""Largest difference of a colour channel that counts as the same colour."""
OFF = 2.0
"""Pixels by which the end of an ink may miss the side of its box."""
RECTANGLES = ("bar", "segment", "box")
FILLED = (*RECTANGLES, "point", "outlier", "wedge", "cell", "legend_key")
STROKES = ("tick", "whisker", "quartile", "median")
CHECKED = (*TEXTS, *FILLED, *STROKES)
"""Roles that are looked for in the pixels; a colour bar need only lie within the picture."""


def unseen(picture: "Image", elements: Sequence[Element], which: Sequence[int] | None = None) -> list[str]:
    """Say which elements are not seen where they are noted.

    - A filled element shows its colour, within `EXACT` levels, at its point.
    - The ink of a text or a legend's key ends within `OFF` pixels of each side of its box.
    - Of a bar, a segment, a body of a box and a heat map's cell the colour ends within a pixel of the box, where no
      neighbour of its colour goes on.
    - A marker covers its shape, and covers it no more four pixels beside it.
    - A wedge has its colour at places computed from its angles and radii, and not across its edges; its box is theirs.
    - A thin line has its colour over its whole length, and not beside it or beyond its free ends.
    - In a table's cell the text stands in the middle of its height, `CELL_PAD` from its right side.
    - Every box lies within the picture.

    Args:
        which: places of the elements that are looked for, all of them by default; the others say what stands beside.
    """
    scene = Scene.of(picture, elements)
    found = []
    for place in range(len(elements)) if which is None else which:
        element = elements[place]
        left, top, right, bottom = element.box
        where = f"{element.role} at {tuple(round(item) for item in element.box)}"
        if left < -0.5 or top < -0.5 or right > picture.width + 0.5 or bottom > picture.height + 0.5:
            found.append(f"{element.role} leaves the picture")
        elif element.role in CHECKED and element.colour is None:
            found.append(f"{where}: its colour is not noted")
        elif problem := next((said for check in _checks(scene, element) if (said := check(scene, element))), ""):
            found.append(f"{where}: {problem}")
    return found


@dataclass(frozen=True, slots=True)
class Scene:
    """The pixels of a picture, as an array of 3 x height x width and one by one, and what is annotated in it."""

    pixels: Any
    single: Any
    elements: Sequence[Element]
    tabular: bool

    @classmethod
    def of(cls, picture: "Image", elements: Sequence[Element]) -> "Scene":
        """Return the scene of a picture."""
        import numpy as np

        coloured = picture if picture.mode == "RGB" else picture.convert("RGB")
        pixels = np.ascontiguousarray(np.asarray(coloured).transpose(2, 0, 1)).astype(np.int16)
        return cls(pixels, coloured.load(), elements, any(element.role == "table_cell" for element in elements))

    def window(self, element: Element, grow: int) -> tuple[int, int, int, int]:
        """Return the pixels of an element's box and some more around it, within the picture."""
        left, top, right, bottom = (round(item) for item in element.box)
        height, width = self.pixels.shape[1:]
        return (
            max(0, left - grow),
            max(0, top - grow),
            min(width, max(left + 1, right) + grow),
            min(height, max(top + 1, bottom) + grow),
        )

    def same(self, x: float, y: float, colour: str) -> bool:
        """Tell whether a pixel has a colour; no pixel beyond the picture has."""
        height, width = self.pixels.shape[1:]
        if not (0 <= x < width and 0 <= y < height):
            return False
        (red, green, blue), wanted = self.single[int(x), int(y)], _levels(colour)
        return bool(max(abs(red - wanted[0]), abs(green - wanted[1]), abs(blue - wanted[2])) <= EXACT)

    def region(self, window: tuple[int, int, int, int]) -> Any:
        """Return the pixels of a window, 3 x height x width."""
        return self.pixels[:, window[1] : window[3], window[0] : window[2]]

    def others(self, element: Element, window: tuple[int, int, int, int]) -> Iterator[Element]:
        """Give the elements that stand beside one within a window: not those in it, nor those that it stands in."""
        box = element.box
        for other in self.elements:
            one = other.box
            if one[0] >= window[2] or one[2] <= window[0] or one[1] >= window[3] or one[3] <= window[1]:
                continue
            around_it = one[0] <= box[0] and one[1] <= box[1] and one[2] >= box[2] and one[3] >= box[3]
            if other is not element and not around_it:
                yield other


def _checks(scene: Scene, element: Element) -> tuple[Callable[[Scene, Element], str], ...]:
    role = element.role
    if role in TEXTS:
        return (_extent,)
    if role in RECTANGLES or (role == "cell" and not scene.tabular):
        return (_point, _edges)
    if role == "legend_key":
        return (_point, _extent)
    if role == "cell":
        return (_point, _table_cell)
    if role in ("point", "outlier"):
        return (_point, _marker)
    if role == "wedge":
        return (_point, _wedge)
    return (_stroke,) if role in STROKES else ()


@functools.cache
def _levels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _same(region: Any, colour: str) -> Any:
    return _apart(region, colour) <= EXACT


def _apart(region: Any, colour: str) -> Any:
    """Return how far every pixel is from a colour, in the channel that is furthest."""
    import numpy as np

    red, green, blue = (np.abs(plane - level) for plane, level in zip(region, _levels(colour), strict=True))
    return np.maximum(np.maximum(red, green), blue)


def _point(scene: Scene, element: Element) -> str:
    assert element.colour
    if element.point is None:
        return "its point is not noted"
    return "" if scene.same(*element.point, element.colour) else f"its point does not show {element.colour}"


def _ink(region: Any, colour: str) -> Any:
    """Return where a colour covers more than two fifths of a pixel on the ground, the commonest other colour."""
    import numpy as np

    packed = (region[0].astype(np.int32) << 16) | (region[1].astype(np.int32) << 8) | region[2]
    rest = packed[_apart(region, colour) > 2 * EXACT]
    if not rest.size:
        return np.zeros(region.shape[1:], bool)
    values, counts = np.unique(rest[:: rest.size // 400 + 1], return_counts=True)
    common = int(values[counts.argmax()])
    ground = (common >> 16, common >> 8 & 255, common & 255)
    way = [one - other for one, other in zip(_levels(colour), ground, strict=True)]
    planes = [(plane - level).astype(np.float32) for plane, level in zip(region, ground, strict=True)]
    covered = sum(plane * part for plane, part in zip(planes, way, strict=True)) / float(sum(part**2 for part in way))
    mask = covered > 0.4
    for plane, part in zip(planes, way, strict=True):
        mask &= np.abs(plane - covered * part) <= 48
    return mask


def _blank(scene: Scene, element: Element, window: tuple[int, int, int, int], mask: Any, grow: float) -> None:
    """Take out of a mask what belongs to other elements, outside the element's own box."""
    left, top = window[:2]
    own = [round(item) - (top if side % 2 else left) for side, item in enumerate(element.box)]
    kept = mask[max(0, own[1]) : max(0, own[3]), max(0, own[0]) : max(0, own[2])].copy()
    for other in scene.others(element, window):
        ends = [math.floor(item - grow) for item in other.box[:2]] + [math.ceil(item + grow) for item in other.box[2:]]
        mask[max(0, ends[1] - top) : max(0, ends[3] - top), max(0, ends[0] - left) : max(0, ends[2] - left)] = False
    mask[max(0, own[1]) : max(0, own[3]), max(0, own[0]) : max(0, own[2])] = kept


def _ends(mask: Any, window: tuple[int, int, int, int]) -> tuple[int, int, int, int] | None:
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    if not len(rows):
        return None
    left, top = window[:2]
    return left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1


def _extent(scene: Scene, element: Element) -> str:
    """Say where the ink of a text or a key ends elsewhere than its box."""
    assert element.colour
    window = scene.window(element, 3)
    mask = _ink(scene.region(window), element.colour)
    if element.angle == 45:
        mask &= _nearest(scene, element, window)
    else:
        _blank(scene, element, window, mask, 1.0)
    seen = _ends(mask, window)
    if seen is None:
        return "no ink"
    off = max(abs(one - other) for one, other in zip(seen, element.box, strict=True))
    return "" if off <= OFF else f"its ink ends at {seen}"


def _nearest(scene: Scene, element: Element, window: tuple[int, int, int, int]) -> Any:
    """Return the pixels of a window whose nearest slanted text is this one: their boxes overlap, their lines do not."""
    import numpy as np

    rows, columns = np.mgrid[window[1] : window[3], window[0] : window[2]]
    place = rows + columns + 1.0
    own = element.box[1] + element.box[2]
    nearest = np.ones(place.shape, bool)
    for other in scene.elements:
        if other.angle == 45 and other is not element:
            nearest &= np.abs(place - own) < np.abs(place - other.box[1] - other.box[2])
    return nearest


def _edges(scene: Scene, element: Element) -> str:
    """Say where a rectangle's colour ends elsewhere than its box; its own outline takes a pixel."""
    assert element.colour
    grow = 3
    window = scene.window(element, grow)
    same = _same(scene.region(window), element.colour)
    _blank(scene, element, window, same, 0.0)
    tall, wide = max(1.0, element.box[3] - element.box[1]), max(1.0, element.box[2] - element.box[0])
    same &= (same.sum(axis=1) > 0.25 * wide)[:, None] & (same.sum(axis=0) > 0.25 * tall)[None, :]
    seen = _ends(same, window)
    if seen is None:
        return "its colour is not seen"
    off = max(abs(one - other) for one, other in zip(seen, element.box, strict=True))
    return "" if off <= 1.51 else f"its colour ends at {seen}"


def _shape(element: Element) -> Any:
    """Return offsets from a marker's middle to the pixels that it covers wholly, two columns."""
    import numpy as np

    radius = (element.box[2] - element.box[0]) / 2
    x, y = element.point or (0.0, 0.0)
    reach = math.ceil(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    across, down = math.floor(x) + columns + 0.5 - x, math.floor(y) + rows + 0.5 - y
    inner = radius - 0.75
    within = {
        "square": np.maximum(np.abs(across), np.abs(down)) <= inner,
        "triangle": (down <= inner) & (2 * np.abs(across) - down <= radius - 1.7),
        "diamond": np.abs(across) + np.abs(down) <= radius - 1.1,
    }.get(element.shape or "circle", across**2 + down**2 <= inner**2)
    return np.stack([columns[within], rows[within]], axis=1)


def _marker(scene: Scene, element: Element) -> str:
    """Say whether a marker does not cover its shape, or covers it elsewhere as well."""
    assert element.colour and element.point
    x, y = element.point
    middle = ((element.box[0] + element.box[2]) / 2, (element.box[1] + element.box[3]) / 2)
    if max(abs(middle[0] - x), abs(middle[1] - y)) > OFF:
        return "its point is not the middle of its box"
    shape = _shape(element)
    height, width = scene.pixels.shape[1:]

    def covered(across: int, down: int) -> float:
        columns = (math.floor(x) + across + shape[:, 0]).clip(0, width - 1)
        rows = (math.floor(y) + down + shape[:, 1]).clip(0, height - 1)
        return float(_same(scene.pixels[:, rows, columns], str(element.colour)).mean())

    if covered(0, 0) < 0.9:
        return f"its colour covers {covered(0, 0):.0%} of its shape"
    beside = max(covered(*move) for move in ((4, 0), (-4, 0), (0, 4), (0, -4)))
    return "" if beside <= 0.85 else f"its colour covers {beside:.0%} of its shape four pixels beside it"


def _wedge(scene: Scene, element: Element) -> str:
    """Say whether a wedge's colour differs within its arc, or goes on across its edges."""
    assert element.colour
    if element.arc is None:
        return "its arc is not noted"
    x, y, inner, outer, start, end = element.arc
    turns = [start + (end - start) * place / 24 for place in range(25)]
    rim = [around((x, y), length, turn) for turn in turns for length in (inner, outer)]
    ends = (
        *(min(item[side] for item in rim) for side in (0, 1)),
        *(max(item[side] for item in rim) for side in (0, 1)),
    )
    if max(abs(one - other) for one, other in zip(ends, element.box, strict=True)) > OFF:
        return "its box is not that of its arc"
    covers = [other.box for other in scene.elements if other.role == "value_label"]
    within = [around((x, y), length, turn) for length, turn in _inside(inner, outer, start, end)]
    free = [spot for spot in within if not any(_covers(box, spot) for box in covers)]
    shown = sum(scene.same(*spot, element.colour) for spot in free)
    if not free or shown < len(free):
        return f"its colour is seen at {shown} of {len(free)} places within its arc"
    beyond = [around((x, y), length, turn) for length, turn in _outside(inner, outer, start, end)]
    crossed = sum(scene.same(*spot, element.colour) for spot in beyond)
    return "" if not crossed else f"its colour goes on at {crossed} of {len(beyond)} places across its edges"


def _covers(box: tuple[float, float, float, float], spot: tuple[float, float]) -> bool:
    return box[0] - 1 <= spot[0] <= box[2] + 1 and box[1] - 1 <= spot[1] <= box[3] + 1


def _inside(inner: float, outer: float, start: float, end: float) -> Iterator[tuple[float, float]]:
    """Give radius and angle of places three pixels within the edges of an arc, and in its middle."""
    for length in (outer - 3, (inner + 2 * outer) / 3, max(inner + 3, outer / 2)):
        turn = math.degrees(3 / length)
        yield from ((length, start + turn), (length, (start + end) / 2), (length, end - turn))


def _outside(inner: float, outer: float, start: float, end: float) -> Iterator[tuple[float, float]]:
    """Give radius and angle of places three pixels across the edges of an arc."""
    for length in ((inner + 2 * outer) / 3, max(inner + 3, outer / 2)):
        turn = math.degrees(3 / length)
        yield from ((length, start - turn), (length, end + turn))
    for part in (0.1, 0.5, 0.9):
        yield outer + 3, start + (end - start) * part
        if inner:
            yield inner - 3, start + (end - start) * part


def _stroke(scene: Scene, element: Element) -> str:
    """Say whether a thin line is not there over its whole length, or is also beside it or beyond its free ends."""
    assert element.colour
    left, top, right, bottom = element.box
    flat = right - left >= bottom - top
    if element.role == "tick":
        flat = element.text == "y"
    start, end = (round(left), round(right)) if flat else (round(top), round(bottom))
    level = int((top + bottom) / 2) if flat else int((left + right) / 2)
    aside = 2 + int((bottom - top if flat else right - left) // 2)

    def seen(place: int, line: int) -> bool:
        return scene.same(*((place, line) if flat else (line, place)), str(element.colour))

    places = range(start, max(start + 1, end))
    gone = sum(not seen(place, level) for place in places)
    if gone > (0 if len(places) < 8 else 1):
        return f"{gone} of {len(places)} pixels of it are not seen"
    for line in (level - aside, level + aside):
        if 2 * sum(seen(place, line) for place in places) > len(places):
            return "the line goes on beside it"
    free = [start - 2, end + 1]
    if element.role == "tick":  # the other end may stand on an axis
        free = free[:1] if flat else free[1:]
    # a pale line ends where what lies behind the whole element is as pale
    on = [
        place
        for place in free
        if seen(place, level) and not (seen(place, level - aside) and seen(place, level + aside))
    ]
    return "the line goes on beyond its end" if on else ""


def _table_cell(scene: Scene, element: Element) -> str:
    """Say whether a table's cell does not hold a text at the place of its numbers."""
    assert element.colour
    left, top, right, bottom = (round(item) for item in element.box)
    window = (left + 3, top + 3, right - 3, bottom - 3)
    seen = _ends(_apart(scene.region(window), element.colour) > 60, window)
    if seen is None:
        return "no ink"
    # a digit's ink ends about a pixel before its width does
    if (
        abs(element.box[2] - CELL_PAD - 1 - seen[2]) > OFF
        or abs(seen[1] + seen[3] - element.box[1] - element.box[3]) > 5
    ):
        return f"its text stands at {seen}"
    return ""
