"""How numbers are written on the page: one form each for shares, points, counts and their intervals."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it imports numpy's random numbers
    from mmreflect.statistics import Rate

Writer = Callable[[float], str]
MINUS, NARROW, NONE = "\u2212", "\u00a0", "\u2013"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number as text, its 95 % interval and a remark; both may be empty."""

    text: str
    interval: str = ""
    remark: str = ""

    def __str__(self) -> str:
        """Return the number with its interval, `34.2 % (30.1 to 38.5)`."""
        return f"{self.text} {self.interval}".strip()


def fixed(value: float, digits: int = 1) -> str:
    """Return a number with a true minus sign, and no sign at a rounded zero."""
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not float(text.replace(",", "")) else text.replace("-", MINUS)


def percent(value: float, digits: int = 1) -> str:
    """Return a share of 1 as a percentage."""
    return f"{fixed(100 * value, digits)}{NARROW}%"


def points(value: float) -> str:
    """Return a difference of two shares in percentage points, always with its sign."""
    text = fixed(100 * value)
    return text if text.startswith(MINUS) or not float(text.replace(",", "")) else f"+{text}"


def quantity(value: float) -> str:
    """Return any number with about four significant digits."""
    if not math.isfinite(value):
        return NONE
    if value == int(value) and abs(value) < 1e15:
        return fixed(value, 0)
    if abs(value) >= 1000:
        return fixed(value, 0)
    text = f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"
    return text.replace("-", MINUS)


def duration(seconds: float) -> str:
    """Return seconds as a person says them."""
    whole = round(seconds)
    if seconds < 60:
        return f"{fixed(seconds)}{NARROW}s"
    if whole < 3600:
        return f"{whole // 60}{NARROW}min {whole % 60:02}{NARROW}s"
    return f"{whole // 3600}{NARROW}h {whole % 3600 // 60:02}{NARROW}min"


def seconds(value: float) -> str:
    """Return a place in a video or the length of a part of it, `12.3 s`."""
    return f"{fixed(value)}{NARROW}s"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 answer`, `2 answers`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def share_figure(rate: "Rate") -> Figure:
    """Return a share with its interval, both in percent."""
    return _figure(rate, percent, lambda value: fixed(100 * value))


def points_figure(rate: "Rate") -> Figure:
    """Return a difference with its interval, both in percentage points."""
    return _figure(rate, points, points)


def mean_figure(rate: "Rate") -> Figure:
    """Return a mean with its interval."""
    return _figure(rate, fixed, fixed)


def _figure(rate: "Rate", whole: Writer, bound: Writer) -> Figure:
    if rate.value is None:
        return Figure(NONE)
    if rate.low is None or rate.high is None:
        return Figure(whole(rate.value))
    return Figure(whole(rate.value), f"({bound(rate.low)} to {bound(rate.high)})")
