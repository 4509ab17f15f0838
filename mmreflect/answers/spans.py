"""Temporal intervals: reading "5.0 to 15.0" in its many forms, and their overlap."""

import re

from mmreflect.answers.intervals import Interval, iou
from mmreflect.answers.markup import tidy
from mmreflect.answers.verdict import Verdict, scored, ungraded

_TIME = r"(?:(\d{1,2}):)?(\d{1,3}):(\d{1,2}(?:\.\d+)?)|(\d+(?:\.\d+)?|\.\d+)"
_UNIT = r"\s*(?:seconds?|secs?|s)?\b\.?"
_PAIR = re.compile(
    rf"(?<![\d.:])(?:{_TIME})(?:{_UNIT})\s*(?:,|;|-|~|\.\.\.?|\\sim|->|→|\bto\b|\band\b|\buntil\b|\btill\b|\bthrough\b)\s*"
    rf"(?:(?:the|at|second|time|around|about|end|ends|ending)\b\s*:?\s*)*(?:{_TIME})(?![\d:]|\.\d)",
    re.IGNORECASE,
)


def intervals(text: str) -> list[Interval]:
    """Return the intervals that a text states, in seconds and in order; clock times are mm:ss or hh:mm:ss."""
    found = []
    for match in _PAIR.finditer(tidy(text)[:2000]):
        groups = match.groups()
        first, second = _seconds(groups[:4]), _seconds(groups[4:])
        found.append((min(first, second), max(first, second)))
    return found


def _seconds(groups: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, plain = groups
    if plain is not None:
        return float(plain)
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds or 0)


def grade_span(answer: str, gold: str) -> Verdict:
    """Score an interval with its overlap over the hull with the reference.

    No interval, two different intervals and an interval without length score 0. Ends in the wrong order are turned
    round: Time-R1 and VideoChat-R1 score them 0 without a word.
    """
    reference = intervals(gold)
    if len(set(reference)) != 1:
        return ungraded(tidy(gold), "the reference is not one interval")
    wanted = reference[0]
    stated = sorted(set(intervals(answer)))
    text = f"{wanted[0]:g} to {wanted[1]:g}"
    if not stated:
        return scored(0.0, tidy(answer), text, "no interval")
    if len(stated) > 1:
        return scored(0.0, tidy(answer), text, "several intervals")
    given = stated[0]
    score = iou(given, wanted)
    reason = "an interval without length" if given[0] == given[1] else f"overlap {score:.3f} of the hull"
    return scored(score, f"{given[0]:g} to {given[1]:g}", text, reason)
