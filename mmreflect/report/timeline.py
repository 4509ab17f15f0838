"""Which part of a video an answer chose, drawn on the video's length beside the true event, and how the two agree."""

import math
from dataclasses import dataclass

from markupsafe import Markup

from mmreflect.answers.intervals import Interval, iou
from mmreflect.report.data import Choice
from mmreflect.report.numbers import fixed, percent, seconds
from mmreflect.report.plots import drawing, mark

_WIDTH, _LEFT, _RIGHT = 360, 6, 6
_LANE, _GAP = 13, 5
"""Height of a part, and the room around it."""
_THINNEST = 2.5
"""Width at which a part of a very long video is still seen."""
_TICK_ROOM = 46
"""Least distance between two ticks that have a number."""
_FITS = ((0.7, "a close fit"), (0.5, "a fair fit"), (0.3, "a loose fit"), (0.0, "a poor fit"))
"""Words from an IoU upwards; the limits are those at which recall is counted."""


@dataclass(frozen=True, slots=True)
class Lane:
    """An entry of the legend: `kind` is the lane's style, `segment` or `event`."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """A drawing with its legend; `verdict` says how the two parts agree, in numbers and words."""

    svg: Markup
    lanes: list[Lane]
    verdict: str = ""


def timeline(choice: Choice) -> Timeline | None:
    """Draw a chosen part, the true event, or both; None where there is neither, or the video's length is not known.

    What lies outside of the video is drawn at its end, and told with the seconds that were given.
    """
    whole = choice.whole
    if whole is None or (choice.segment is None and choice.event is None):
        return None
    lanes, parts = [], []
    told = [f"A video from {span_words(whole)}"]
    bottom = _GAP
    for kind, name, part in (("segment", "chosen", choice.segment), ("event", "true event", choice.event)):
        if part is not None:
            lanes.append(Lane(kind, f"{name} {span_words(part)}"))
            told.append(f"{name} from {span_words(part)}")
            parts.append(_part(kind, part, whole, bottom))
            bottom += _LANE + _GAP
    said = verdict(choice)
    title = "The chosen part of the video" if choice.segment else "The true event in the video"
    description = f"{'; '.join(told)}.{f' {said}.' if said else ''}"
    return Timeline(drawing(title, description, _WIDTH, bottom + 20, [_axis(whole, bottom), *parts]), lanes, said)


def verdict(choice: Choice) -> str:
    """Say how a chosen part agrees with the true event; nothing where one of them is missing."""
    if choice.segment is None or choice.event is None:
        return ""
    (start, end), (true_start, true_end) = choice.segment, choice.event
    shared = min(end, true_end) - max(start, true_start)
    value = iou(choice.segment, choice.event)
    if shared <= 0:
        return f"IoU {fixed(value, 2)}, they do not meet: {seconds(-shared)} lie between them"
    word = next(word for least, word in _FITS if value >= least)
    together = max(end, true_end) - min(start, true_start)
    covered = shared / (true_end - true_start)
    return (
        f"IoU {fixed(value, 2)}, {word}: {seconds(shared)} in common of {seconds(together)}, "
        f"{percent(covered, 0)} of the event"
    )


def span_words(part: Interval) -> str:
    """Return a part of a video, `12.3 to 28.7 s`."""
    return f"{fixed(part[0])} to {seconds(part[1])}"


def _place(value: float, whole: Interval) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max((value - whole[0]) / (whole[1] - whole[0]), 0.0), 1.0)


def _part(kind: str, part: Interval, whole: Interval, top: float) -> Markup:
    left, right = _place(part[0], whole), _place(part[1], whole)
    if right - left < _THINNEST:
        middle = min(max((left + right) / 2, _LEFT + _THINNEST / 2), _WIDTH - _RIGHT - _THINNEST / 2)
        left, right = middle - _THINNEST / 2, middle + _THINNEST / 2
    return mark('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', kind, left, top, right - left, _LANE)


def _axis(whole: Interval, y: float) -> Markup:
    room = _WIDTH - _LEFT - _RIGHT
    parts = [mark('<rect class="track" x="{}" y="0" width="{}" height="{}"/>', _LEFT, room, y)]
    parts.append(mark('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>', _LEFT, _WIDTH - _RIGHT, y, y))
    for tick in ticks(*whole):
        x = _place(tick, whole)
        anchor = "start" if tick == whole[0] else "end" if tick == whole[1] else "middle"
        text = seconds(tick) if tick == whole[1] else f"{round(tick, 1):g}"
        parts.append(mark('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>', x, x, y, y + 4))
        parts.append(mark('<text x="{}" y="{}" text-anchor="{}">{}</text>', x, y + 16, anchor, text))
    return Markup("").join(parts)


def ticks(start: float, end: float) -> list[float]:
    """Return the seconds that have a tick: both ends, and round places in equal steps that are not too near to them."""
    near = (end - start) * _TICK_ROOM / (_WIDTH - _LEFT - _RIGHT)
    power = 10.0 ** math.floor(math.log10(near))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= near * 0.999)
    places = [place * step for place in range(math.ceil(start / step), math.floor(end / step) + 1)]
    return [start, *(place for place in places if place >= start + near * 0.6 and place <= end - near), end]
