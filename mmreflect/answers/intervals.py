"""Time intervals in answers: reading `<time_interval>[12.3, 28.7]</time_interval>`, and how well two agree."""

import math
import re

Interval = tuple[float, float]
"""Start and end in seconds."""

_NUMBER = r"([-+]?(?:\d+(?:\.\d*)?|\.\d+))"


def parse_interval(text: str, tag: str = "time_interval") -> Interval | None:
    """Return the first interval that stands in a tag, as it is written: neither ordered nor clamped.

    Reads both published forms, `<time_interval>[12.3, 28.7]` and `<time_interval> [12.3, 28.7] `. REVISOR's code takes
    digits and dots only; a sign and blanks inside the brackets are accepted here.
    """
    found = re.search(rf"<{tag}>\s*\[\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\]\s*</{tag}>", text)
    return None if found is None else (float(found.group(1)), float(found.group(2)))


def clamped(interval: Interval, duration: float, minimum: float = 0.0) -> Interval | None:
    """Return the part of an interval that lies in the video; None where it is shorter than `minimum`, all in seconds.

    A billionth of a second is forgiven, so that [10.1, 12.1] is two seconds long.
    """
    start, end = max(0.0, interval[0]), min(duration, interval[1])
    return (start, end) if end - start >= minimum - 1e-9 and end > start else None


def iou(left: Interval | None, right: Interval | None) -> float:
    """Return the intersection over the hull of two intervals (REVISOR's form); 0 where one is missing or backwards.

    The hull equals the union wherever the two meet, and where they do not the result is 0 either way.
    """
    if left is None or right is None or left[1] <= left[0] or right[1] <= right[0]:
        return 0.0
    shared = min(left[1], right[1]) - max(left[0], right[0])
    return max(0.0, shared) / (max(left[1], right[1]) - min(left[0], right[0]))


def interval_of(value: object) -> Interval | None:
    """Return `[start, end]` of a dataset row as an interval; None where it is none, or does not run forwards."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    if not all(isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item) for item in value):
        return None
    start, end = float(value[0]), float(value[1])
    return (start, end) if end > start else None
