"""Temporal grounding: reading a span out of a response in the two usual ways, and how well two spans agree.

Times are in seconds. A prediction that cannot be read scores 0 and stays in the denominator.
"""

import ast
import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from mmreflect.answers.extract import outside_parts
from mmreflect.answers.intervals import Interval
from mmreflect.evaluation.benchmark import BadField, Measure, Reading, Response, Row, Rule, Scored
from mmreflect.evaluation.rules.reduction import shown_text

_EXAMPLE = "a specific example is : 20.8 - 30.0 seconds"
_KEYWORDS = ("start", "end", "happen")
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?"
_CLOCK_RANGE = re.compile(rf"\b({_CLOCK})\s*[–-]\s*({_CLOCK})\b")
_RANGE = re.compile(r"(\d+(?:\.\d+)?)\s*[–-]\s*(\d+(?:\.\d+)?)")
_CLOCK_TIME = re.compile(rf"\b({_CLOCK})\b")
_NUMBER = re.compile(r"\b(\d+(?:\.\d+)?)\b")
_RANGE_S = re.compile(r"(\d+(?:\.\d+)?)\s*s?\s*[–-]\s*(\d+(?:\.\d+)?)\s*s?")
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_TO = re.compile(r"(\d+(?:\.\d+)?)\s*(?:to|and)\s*(\d+(?:\.\d+)?)", re.IGNORECASE)
RECALLS = (0.3, 0.5, 0.7)


def lmms_span(text: str) -> Interval | None:
    """lmms-eval's parser for Charades-STA: the first span of the first form that any sentence has.

    "to" becomes "-" even inside words; lines that speak of a start, an end or a happening go before all others. The
    forms in order: clock times with a dash, numbers with a dash, clock times in pairs, one number a line in pairs,
    numbers with an s. Ends in the wrong order are turned round.
    """
    lines = re.split(r"[!?\n]", text.lower().replace(_EXAMPLE, "").replace("to", "-"))
    lines = [line for line in lines if any(word in line for word in _KEYWORDS)] or lines
    clocks = [time for line in lines for time in _CLOCK_TIME.findall(line)]
    numbers = [found[1] for line in lines if (found := _NUMBER.search(line))]
    pair = _first(_CLOCK_RANGE, lines) or _first(_RANGE, lines)
    for times in (clocks, numbers):
        pair = pair or (times[:2] if len(times) > 1 else [])
    pair = pair or _first(_RANGE_S, lines)
    if not pair:
        return None
    start, end = (_seconds(time) for time in pair)
    return (start, end) if end > start else (end, start)


def _first(pattern: re.Pattern[str], lines: Sequence[str]) -> list[str]:
    found = next((found for line in lines if (found := pattern.search(line))), None)
    return list(found.groups()) if found else []


def _seconds(time: str) -> float:
    seconds = 0.0
    for part in time.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def answer_tag_span(text: str) -> Interval | None:
    """Time-R1's parser: "number to number" or "number and number" in the last `<answer>` block, as it is written."""
    blocks = _ANSWER.findall(text)
    found = _TO.search(blocks[-1]) if blocks else None
    return (float(found[1]), float(found[2])) if found else None


def hull_iou(one: Interval, two: Interval) -> float:
    """Return the intersection over the hull; 0 where the hull has no length."""
    hull = max(one[1], two[1]) - min(one[0], two[0])
    return max(0.0, min(one[1], two[1]) - max(one[0], two[0])) / hull if hull > 0 else 0.0


def iop(predicted: Interval, gold: Interval) -> float:
    """Return the intersection over the predicted length.

    A prediction without any length is 1 inside the gold span, else 0; one that runs backwards meets nothing, and is 0.
    """
    length = predicted[1] - predicted[0]
    if length < 0:
        return 0.0
    if length == 0:
        return float(gold[0] <= predicted[0] <= gold[1])
    return max(0.0, min(predicted[1], gold[1]) - max(predicted[0], gold[0])) / length


def span_of(value: Any, name: str) -> Interval:
    """Return a span that a row holds, as two numbers or as their text.

    Raises:
        BadField: it is something else.
    """
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    try:
        start, end = (float(item) for item in value)
    except (TypeError, ValueError):
        raise BadField(f"{name} is {value!r}, which is not two numbers") from None
    if not (math.isfinite(start) and math.isfinite(end)):
        raise BadField(f"{name} is {value!r}, which is not two numbers")
    return start, end


def spoken(response: Response) -> str:
    """Return what the parser for free text reads: all of it, or the final answer of a text that shows its reasoning.

    A text with answer tags alone stays whole: lmms-eval's parser takes the first span in it.
    """
    return response.whole if outside_parts(response.whole) == [response.whole] else response.final


def free_span(response: Response) -> Interval | None:
    """Read a span with lmms-eval's parser."""
    return lmms_span(spoken(response))


def tagged_span(response: Response) -> Interval | None:
    """Read a span with Time-R1's parser, whose tags are part of the response."""
    return answer_tag_span(shown_text(response.whole))


STYLES: dict[str, Callable[[Response], Interval | None]] = {"lmms_style": free_span, "answer_tag_style": tagged_span}


def grounding(read: Callable[[Response], Interval | None], gold: Callable[[Row], Interval | None]) -> Rule:
    """Make the rule that scores the IoU of the span that `read` finds."""

    def rule(row: Row, response: Response) -> Reading:
        span, wanted = read(response), gold(row)
        found = {name: parse(response) for name, parse in STYLES.items()}
        ious = {
            name: None if wanted is None else hull_iou(other, wanted) if other else 0.0 for name, other in found.items()
        }
        score = None if wanted is None else hull_iou(span, wanted) if span else 0.0
        return Reading(list(span) if span else None, score=score, parsed=span is not None, extra={"iou": ious})

    return rule


def measures() -> dict[str, Measure]:
    """Return mIoU and the recalls of the rule that was chosen, in percent."""
    shares = {f"R1@{level}": functools.partial(_reaches, level) for level in RECALLS}
    return {"mIoU": Measure(scale=100), **{name: Measure(value, scale=100) for name, value in shares.items()}}


def _reaches(level: float, item: Scored) -> float:
    return float(item.value >= level)


def recalls(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return mIoU and the recalls in percent, under both parsers: the layout of the published comparisons."""
    return {name: _style([item.reading.extra["iou"][name] for item in rows]) for name in STYLES}


def _style(ious: Sequence[float]) -> dict[str, Any]:
    shares = {f"R1@{level}": 100 * sum(iou >= level for iou in ious) / len(ious) for level in RECALLS}
    return {"n": len(ious), "mIoU": 100 * sum(ious) / len(ious), **shares}
