"""A sheet of pixels drawn on by matplotlib's Agg renderer, top-left origin; where a text's ink lies is known at once.

Axes, ticks and legends of matplotlib cost three times what the drawing itself costs, and hide where things end up. So
the renderer is driven directly, with the fonts that matplotlib ships: no font of the machine and no setting of the
user's changes a byte.
"""

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels; the right and lower ends are exclusive."""
Point = tuple[float, float]

DPI = 100
MARKERS = ("circle", "square", "triangle", "diamond")


class Misfit(Exception):
    """What was drawn does not fit on the picture, or overlaps: another draw is tried."""


@dataclass(frozen=True, slots=True)
class Font:
    """A font file that matplotlib ships, by its stem, and its size in points at 100 dots per inch."""

    file: str
    size: float


def check_matplotlib() -> None:
    """Refuse to go on without matplotlib.

    Raises:
        UserError: it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            "charts are drawn by matplotlib, which is not installed",
            "matplotlib 3.9 or later",
            "pip install 'mmreflect[charts]'",
        ) from None


@functools.cache
def _properties(font: Font) -> Any:
    import matplotlib
    from matplotlib.font_manager import FontProperties

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font.file}.ttf"
    return FontProperties(fname=str(file), size=font.size)


_DEFAULTS = (
    "path.simplify",
    "path.snap",
    "agg.path.chunksize",
    "text.hinting",
    "text.hinting_factor",
    "text.antialiased",
)


@contextmanager
def plain_settings() -> Iterator[None]:
    """Draw with matplotlib's own defaults, whatever the user's matplotlibrc says."""
    import matplotlib

    with warnings.catch_warnings():  # some of these settings are deprecated in some versions
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
        known = {key: matplotlib.rcParamsDefault[key] for key in _DEFAULTS if key in matplotlib.rcParamsDefault}
        with matplotlib.rc_context(known):
            yield


class Canvas:
    """A picture of `width` x `height` pixels; coordinates grow to the right and down."""

    def __init__(self, width: int, height: int, background: str) -> None:
        from matplotlib.backends.backend_agg import RendererAgg

        self.width, self.height = width, height
        self._renderer = RendererAgg(width, height, DPI)
        self.rectangle((0, 0, width, height), background)

    def _context(self, colour: str, width: float, dash: Sequence[float] | None = None) -> Any:
        from matplotlib.colors import to_rgba

        context = self._renderer.new_gc()
        context.set_foreground(to_rgba(colour), isRGBA=True)
        context.set_linewidth(width)
        context.set_snap(False)  # everything is placed on whole pixels here; Agg would move odd lines by one more
        if dash:
            context.set_dashes(0, list(dash))
        return context

    def _path(self, points: Sequence[Point], closed: bool, context: Any, fill: str | None) -> None:
        from matplotlib.colors import to_rgb
        from matplotlib.path import Path as Outline
        from matplotlib.transforms import IdentityTransform

        turned = [(x, self.height - y) for x, y in points]
        path = Outline([*turned, turned[0]], closed=True) if closed else Outline(turned)
        self._renderer.draw_path(context, path, IdentityTransform(), to_rgb(fill) if fill else None)

    def rectangle(self, box: Box, fill: str | None = None, edge: str | None = None) -> None:
        """Draw a rectangle; an outline of one pixel lies inside the box."""
        left, top, right, bottom = box
        for colour, shrink in ((edge, 0.0), (fill, 1.0 if edge else 0.0)):  # Agg's strokes reach into the next pixels
            if colour:
                ends = (left + shrink, top + shrink, right - shrink, bottom - shrink)
                self.polygon([(ends[0], ends[1]), (ends[2], ends[1]), (ends[2], ends[3]), (ends[0], ends[3])], colour)

    def polygon(self, corners: Sequence[Point], fill: str | None, edge: str | None = None, width: float = 1.0) -> None:
        """Draw a closed shape."""
        context = self._context(edge or fill or "black", width if edge else 0.0)
        self._path(corners, True, context, fill)

    def line(self, points: Sequence[Point], colour: str, width: float, dash: Sequence[float] | None = None) -> None:
        """Draw an open line; dashes are lengths in pixels of strokes and gaps."""
        context = self._context(colour, width, dash)
        context.set_joinstyle("round")
        context.set_capstyle("butt")
        self._path(points, False, context, None)

    def wedge(self, centre: Point, inner: float, outer: float, start: float, end: float, fill: str, edge: str) -> None:
        """Draw a slice of a ring from `start` to `end`, in degrees clockwise from twelve o'clock."""
        count = max(2, math.ceil((end - start) / 2))
        angles = [start + (end - start) * place / count for place in range(count + 1)]
        rim = [around(centre, outer, angle) for angle in angles]
        hole = [around(centre, inner, angle) for angle in reversed(angles)] if inner else [centre]
        self.polygon([*rim, *hole], fill, edge, 1.2)

    def marker(self, point: Point, shape: str, radius: float, fill: str, edge: str | None = None) -> Box:
        """Draw one of `MARKERS` and return its box."""
        x, y = point
        if shape == "circle":
            corners = [around(point, radius, 15.0 * place) for place in range(24)]
        elif shape == "square":
            corners = [
                (x - radius, y - radius),
                (x + radius, y - radius),
                (x + radius, y + radius),
                (x - radius, y + radius),
            ]
        elif shape == "triangle":
            corners = [(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)]
        else:
            corners = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
        self.polygon(corners, fill, edge, 0.8)
        return (x - radius, y - radius, x + radius, y + radius)

    def measure(self, text: str, font: Font) -> tuple[float, float, float]:
        """Return the width of a text's ink, and how far it reaches above and below the base line, in pixels."""
        width, height, below = self._renderer.get_text_width_height_descent(text, _properties(font), False)
        return width, height - below, below

    def capital(self, font: Font) -> float:
        """Return the height of a capital letter in pixels."""
        return _capital(self, font)

    def text(
        self,
        point: Point,
        text: str,
        font: Font,
        colour: str,
        anchor: tuple[str, str] = ("center", "middle"),
        angle: int = 0,
    ) -> Box:
        """Write a text and return the box of its ink.

        Args:
            point: where the anchor is.
            anchor: left, center or right, and top, middle or bottom: of the text as it stands, in capitals' height.
            angle: 0, 90 (upwards), or 45 (upwards to the right; `point` is its end then).
        """
        width, above, below = self.measure(text, font)
        capital = self.capital(font)
        across, along = (
            capital * {"top": 1.0, "middle": 0.5, "bottom": 0.0}[anchor[1]],
            {"left": 0.0, "center": 0.5, "right": 1.0}[anchor[0]],
        )
        turn = math.radians(angle)
        sine, cosine = math.sin(turn), math.cos(turn)
        x, y = point
        if angle == 90:
            x += capital * {"left": 1.0, "center": 0.5, "right": 0.0}[anchor[0]]
            y += width * {"top": 1.0, "middle": 0.5, "bottom": 0.0}[anchor[1]]
        else:
            x += across * sine - along * width * cosine
            y += across * cosine + along * width * sine
        x, y = round(x), round(y)
        corners = [(a * cosine + b * sine, -a * sine + b * cosine) for a in (0.0, width) for b in (-above, below)]
        xs, ys = [x + item[0] for item in corners], [y + item[1] for item in corners]
        room = (min(xs), min(ys), max(xs), max(ys))
        if not inside(room, (0, 0, self.width, self.height)):
            return room
        context = self._context(colour, 1.0)
        return self._inked(room, lambda: self._renderer.draw_text(context, x, y, text, _properties(font), angle))

    def _inked(self, room: Box, draw: Callable[[], None]) -> Box:
        """Draw something within a room and return the box of the pixels that it changed by a third of the most."""
        import numpy as np

        left, top = max(0, int(room[0]) - 3), max(0, int(room[1]) - 3)
        pixels = np.asarray(self._renderer.buffer_rgba())
        pixels = pixels[top : int(room[3]) + 4, left : int(room[2]) + 4, :3]
        before = pixels.astype(np.int16)
        draw()
        changed = np.abs(pixels - before).max(axis=-1)
        inked = changed > max(int(changed.max()) * 0.35, 1)
        rows, columns = inked.any(axis=1).nonzero()[0], inked.any(axis=0).nonzero()[0]
        if not len(rows):
            return room
        return (
            float(left + columns[0]),
            float(top + rows[0]),
            float(left + columns[-1] + 1),
            float(top + rows[-1] + 1),
        )

    def picture(self) -> "Image":
        """Return what was drawn, as an RGB picture."""
        from PIL import Image

        size = (self.width, self.height)
        return Image.frombuffer("RGBA", size, self._renderer.buffer_rgba(), "raw", "RGBA", 0, 1).convert("RGB")


_capitals: dict[Font, float] = {}


def _capital(canvas: Canvas, font: Font) -> float:
    if font not in _capitals:
        _capitals[font] = canvas.measure("H", font)[1]
    return _capitals[font]


def around(centre: Point, radius: float, degrees: float) -> Point:
    """Return the point at an angle, clockwise from twelve o'clock."""
    turn = math.radians(degrees)
    return centre[0] + radius * math.sin(turn), centre[1] - radius * math.cos(turn)


def overlap(one: Box, other: Box, gap: float = 0.0) -> bool:
    """Tell whether two boxes overlap, or are nearer than `gap`."""
    return one[0] < other[2] + gap and other[0] < one[2] + gap and one[1] < other[3] + gap and other[1] < one[3] + gap


def inside(one: Box, other: Box) -> bool:
    """Tell whether the first box lies within the second."""
    return one[0] >= other[0] and one[1] >= other[1] and one[2] <= other[2] and one[3] <= other[3]
