"""Numbers with their 95 % intervals as drawings: bars with whiskers, and a curve between its bounds."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mmreflect.report.plots import HEIGHT, WIDTH, Key, Plot, drawing, mark

_LEFT, _ROW, _TOP, _VALUE = 150, 24, 6, 104
_LONGEST = 24
"""Characters of a label that stand beside a bar; the table below has the whole of it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A share with its interval; `text` is the number as it is written, None bounds are not drawn."""

    label: str
    share: float
    low: float | None
    high: float | None
    text: str


def whisker_bars(title: str, rows: Sequence[Measured], remark: str = "") -> Plot:
    """Draw shares from 0 to 1 as bars on one axis, each with its interval as a whisker."""
    room = WIDTH - _LEFT - _VALUE
    bottom = _TOP + _ROW * len(rows)
    parts = [_vertical(_LEFT + room * tick, bottom, f"{100 * tick:g}\u00a0%") for tick in (0.0, 0.5, 1.0)]
    for place, row in enumerate(rows):
        parts.append(_bar(row, _TOP + _ROW * place, room))
    told = "; ".join(f"{row.label} {row.text}" for row in rows)
    return Plot(title, drawing(title, f"{title}: {told}.", WIDTH, bottom + 22, parts), [], remark)


def _vertical(x: float, bottom: float, text: str) -> Markup:
    return mark('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', x, x, _TOP, bottom) + mark(
        '<text x="{}" y="{}" text-anchor="middle">{}</text>', x, bottom + 14, text
    )


def _bar(row: Measured, top: float, room: float) -> Markup:
    middle = top + _ROW / 2
    label = row.label if len(row.label) <= _LONGEST else f"{row.label[: _LONGEST - 1]}…"
    parts = [mark('<text class="label" x="{}" y="{}" text-anchor="end">{}</text>', _LEFT - 8, middle + 4, label)]
    long = room * min(max(row.share, 0.0), 1.0)
    if long > 0:
        parts.append(
            mark('<rect class="s0 soft" x="{}" y="{}" width="{}" height="12"/>', _LEFT, middle - 6, max(1.0, long))
        )
    if row.low is not None and row.high is not None:
        low, high = (_LEFT + room * min(max(bound, 0.0), 1.0) for bound in (row.low, row.high))
        parts.append(mark('<line class="whisker" x1="{}" x2="{}" y1="{}" y2="{}"/>', low, high, middle, middle))
        parts += [
            mark('<line class="whisker" x1="{}" x2="{}" y1="{}" y2="{}"/>', x, x, middle - 4, middle + 4)
            for x in (low, high)
        ]
    parts.append(mark('<text x="{}" y="{}">{}</text>', _LEFT + room + 8, middle + 4, row.text))
    return Markup("").join(parts)


def banded_curve(title: str, points: Sequence[tuple[float, Measured]], across: str) -> Plot | None:
    """Draw shares over a number, in equal steps whatever it is, with the band of their intervals; None below two."""
    if len(points) < 2:
        return None
    left, right, top, bottom = 44, WIDTH - 14, 10, HEIGHT - 34
    places = [left + 14 + (right - left - 28) * place / (len(points) - 1) for place in range(len(points))]

    def y(share: float) -> float:
        return bottom - (bottom - top) * min(max(share, 0.0), 1.0)

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(mark('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', left, right, y(tick), y(tick)))
        text = f"{100 * tick:.0f}\u00a0%"
        parts.append(mark('<text x="{}" y="{}" text-anchor="end">{}</text>', left - 6, y(tick) + 4, text))
    for x, (number, _) in zip(places, points, strict=True):
        parts.append(mark('<text x="{}" y="{}" text-anchor="middle">{}</text>', x, bottom + 16, f"{number:g}"))
    parts.append(mark('<text x="{}" y="{}" text-anchor="end">{}</text>', right, bottom + 30, across))
    known = [(x, item.low, item.high) for x, (_, item) in zip(places, points, strict=True)]
    if all(low is not None and high is not None for _, low, high in known):
        edge = [(x, y(high or 0.0)) for x, _, high in known] + [(x, y(low or 0.0)) for x, low, _ in reversed(known)]
        parts.append(mark('<polygon class="band" points="{}"/>', _path(edge)))
    line = [(x, y(item.share)) for x, (_, item) in zip(places, points, strict=True)]
    parts.append(mark('<polyline class="line s0" points="{}"/>', _path(line)))
    parts += [mark('<circle class="dot s0" cx="{}" cy="{}" r="3"/>', x, height) for x, height in line]
    told = "; ".join(f"{across} {number:g}: {item.text}" for number, item in points)
    keys = [Key(f"{across} = {points[-1][0]:g}", 0, points[-1][1].text)]
    return Plot(title, drawing(title, f"{told}.", WIDTH, HEIGHT, parts), keys)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
