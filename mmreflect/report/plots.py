"""Plots as inline SVG: coloured by the page's style sheet (so light and dark are one drawing), described in words.

Every function returns markup without numbers of its own; text from outside is escaped by `Markup.format`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from markupsafe import Markup, escape

from mmreflect.report.numbers import percent, points, quantity

Unit = Literal["share", "number"]
Point = tuple[float, float]

MOST_POINTS = 240
"""More points than this are drawn as means of neighbours."""


@dataclass(frozen=True, slots=True)
class Series:
    """A named line; `style` 0 to 3 picks colour and dash together, so that colour is never the only difference."""

    name: str
    points: Sequence[Point]
    style: int = 0
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """A legend entry: a name, its style, and the last value."""

    name: str
    style: int
    last: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing with its caption; `remark` says what a reader could not see."""

    title: str
    svg: Markup
    keys: list[Key]
    remark: str = ""


WIDTH, HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 10, 30


def line_plot(title: str, series: Sequence[Series], unit: Unit = "number", across: str = "step") -> Plot | None:
    """Draw lines over steps or layers; None when there is nothing to draw. Shares run from 0 to 100 %.

    Values that are not finite leave the line out at that place.
    """
    clean = [Series(item.name, _finite(item.points), item.style, item.dots) for item in series]
    shown = [item for item in clean if item.points]
    if not shown:
        return None
    thinned, each = _thin(shown)
    low_x, high_x = _extent([x for item in thinned for x, _ in item.points])
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0] if unit == "share" else _ticks([y for item in thinned for _, y in item.points])
    frame = _Frame(low_x, high_x, ticks[0], ticks[-1])
    body = [_grid(frame, ticks, unit), _across(frame, across)]
    body += [_line(frame, item) for item in thinned]
    keys = [Key(item.name, item.style, _written(item.points[-1][1], unit)) for item in shown]
    ranges = "; ".join(
        f"{item.name} from {_written(item.points[0][1], unit)} to {_written(item.points[-1][1], unit)}"
        for item in shown
    )
    remark = f"Each point is the mean of {each} logged steps." if each > 1 else ""
    return Plot(title, drawing(title, f"{title} by {across}: {ranges}.", WIDTH, HEIGHT, body), keys, remark)


@dataclass(frozen=True, slots=True)
class _Frame:
    low_x: float
    high_x: float
    low_y: float
    high_y: float

    def x(self, value: float) -> float:
        span = self.high_x - self.low_x
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((value - self.low_x) / span if span else 0.5)

    def y(self, value: float) -> float:
        inside = min(max(value, self.low_y), self.high_y)
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (self.high_y - inside) / (self.high_y - self.low_y)


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _thin(series: Sequence[Series]) -> tuple[list[Series], int]:
    each = -(-max(len(item.points) for item in series) // MOST_POINTS)
    if each == 1:
        return list(series), 1
    thinned = []
    for item in series:
        groups = [item.points[start : start + each] for start in range(0, len(item.points), each)]
        means = [(fmean(x for x, _ in group), fmean(y for _, y in group)) for group in groups]
        thinned.append(Series(item.name, means, item.style, item.dots))
    return thinned, each


def _extent(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _ticks(values: Sequence[float]) -> list[float]:
    """Return about four round places that hold all values and read differently; zero is one where it is near."""
    low, high = _extent(values)
    if math.isclose(low, high):  # the last bits of equal numbers are no span
        low = high
    if (low >= 0 and low < 0.6 * high) or low == high >= 0:
        low = 0.0
    if low == high:
        high = low + 1.0 if low == 0 else low + abs(low)
    rough = max((high - low) / 4, _finest(max(abs(low), abs(high))))
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [place * step for place in range(first, last + 1)]


def _finest(size: float) -> float:
    """Return by how much numbers of a size must differ to read differently; see `quantity`."""
    if size >= 1000:
        return 1.0
    return float(10 ** (math.floor(math.log10(size)) - (3 if size >= 1 else 2)))


def _written(value: float, unit: Unit) -> str:
    return percent(value) if unit == "share" else quantity(value)


def _grid(frame: _Frame, ticks: Sequence[float], unit: Unit) -> Markup:
    parts = []
    for tick in ticks:
        y = frame.y(tick)
        text = percent(tick, 0) if unit == "share" else quantity(float(f"{tick:.6g}"))
        parts.append(mark('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', _LEFT, WIDTH - _RIGHT, y, y))
        parts.append(mark('<text x="{}" y="{}" text-anchor="end">{}</text>', _LEFT - 6, y + 4, text))
    return Markup("").join(parts)


def _across(frame: _Frame, name: str) -> Markup:
    ends = [(frame.low_x, "start"), (frame.high_x, "end")] if frame.high_x > frame.low_x else [(frame.low_x, "middle")]
    parts = [
        mark('<text x="{}" y="{}" text-anchor="{}">{}</text>', frame.x(x), HEIGHT - 12, anchor, quantity(x))
        for x, anchor in ends
    ]
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    if len(ends) > 1:
        parts.append(mark('<text x="{}" y="{}" text-anchor="middle">{}</text>', middle, HEIGHT - 12, name))
    return Markup("").join(parts)


def _line(frame: _Frame, series: Series) -> Markup:
    places = [(frame.x(x), frame.y(y)) for x, y in series.points]
    path = " ".join(f"{_place(x)},{_place(y)}" for x, y in places)
    parts = [mark('<polyline class="line s{}" points="{}"/>', series.style, path)] if len(places) > 1 else []
    if series.dots or len(places) == 1:
        parts += [mark('<circle class="dot s{}" cx="{}" cy="{}" r="3"/>', series.style, x, y) for x, y in places]
    return Markup("").join(parts)


@dataclass(frozen=True, slots=True)
class Change:
    """A row of `dumbbells`: a share before and after, each with its interval (low, high)."""

    label: str
    first: float
    first_interval: tuple[float, float]
    final: float
    final_interval: tuple[float, float]


def dumbbells(title: str, rows: Sequence[Change]) -> Markup:
    """Draw first and final accuracy of every stage on one axis from 0 to 100 %, with 95 % intervals."""
    width, row_height, top = 480, 54, 8
    bottom = top + row_height * len(rows)
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _share_x(tick, width)
        parts.append(mark('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', x, x, top, bottom))
        parts.append(mark('<text x="{}" y="{}" text-anchor="middle">{}</text>', x, bottom + 16, percent(tick, 0)))
    parts += [_dumbbell(row, width, top + row_height * place) for place, row in enumerate(rows)]
    told = "; ".join(
        f"{row.label}: first {percent(row.first)}, final {percent(row.final)}, "
        f"gain {points(row.final - row.first)} points"
        for row in rows
    )
    return drawing(title, f"{title}. {told}.", width, bottom + 24, parts)


def _share_x(share: float, width: int) -> float:
    return 26 + (width - 52) * share


def _dumbbell(row: Change, width: int, top: float) -> Markup:
    y = top + 35
    first, final = _share_x(row.first, width), _share_x(row.final, width)
    tone = "up" if row.final > row.first else "down" if row.final < row.first else "same"
    parts = [mark('<text class="label" x="{}" y="{}">{}</text>', 26, top + 16, row.label)]
    for (low, high), kind in ((row.first_interval, "first"), (row.final_interval, "final")):
        parts.append(
            mark(
                '<line class="interval {}" x1="{}" x2="{}" y1="{}" y2="{}"/>',
                kind,
                _share_x(low, width),
                _share_x(high, width),
                y,
                y,
            )
        )
    if tone != "same":
        parts.append(mark('<line class="bar {}" x1="{}" x2="{}" y1="{}" y2="{}"/>', tone, first, final, y, y))
    parts.append(mark('<circle class="first" cx="{}" cy="{}" r="5.5"/>', first, y))
    parts.append(mark('<circle class="final" cx="{}" cy="{}" r="{}"/>', final, y, 5.5 if tone != "same" else 2.5))
    gain = f"{points(row.final - row.first)} points"
    parts.append(
        mark('<text class="gain {}" x="{}" y="{}" text-anchor="end">{}</text>', tone, width - 26, top + 16, gain)
    )
    return Markup("").join(parts)


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of `bars`: a share, and its style."""

    label: str
    share: float
    style: int = 0


def bars(title: str, rows: Sequence[Bar]) -> Plot:
    """Draw shares as horizontal bars with their values beside them."""
    left, top, height = 126, 6, 24
    room = WIDTH - left - 58
    largest = max([row.share for row in rows if math.isfinite(row.share)] + [1e-9])
    parts = []
    for place, row in enumerate(rows):
        y = top + height * place
        long = room * row.share / largest if math.isfinite(row.share) else 0.0
        parts.append(mark('<text class="label" x="{}" y="{}" text-anchor="end">{}</text>', left - 8, y + 16, row.label))
        if long > 0:
            parts.append(
                mark('<rect class="s{}" x="{}" y="{}" width="{}" height="14"/>', row.style, left, y + 5, max(1.0, long))
            )
        parts.append(mark('<text x="{}" y="{}">{}</text>', left + long + 6, y + 16, percent(row.share)))
    told = "; ".join(f"{row.label} {percent(row.share)}" for row in rows)
    return Plot(title, drawing(title, f"{title}: {told}.", WIDTH, top + height * len(rows) + 6, parts), [])


def _place(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def mark(template: str, *values: str | float) -> Markup:
    """Fill a piece of SVG: numbers become short coordinates, text is escaped."""
    return Markup(template.format(*(escape(value) if isinstance(value, str) else _place(value) for value in values)))


def drawing(title: str, description: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    """Return a plot's SVG around its parts, with a title and a description for those who cannot see it."""
    opening = mark(
        '<svg class="plot" role="img" viewBox="0 0 {} {}"><title>{}</title><desc>{}</desc>',
        width,
        height,
        title,
        description,
    )
    return opening + Markup("").join(parts) + Markup("</svg>")
