"""How the values of a table go over its rows and columns, between 0 and 1, before they get numbers."""

import math
import random
from collections.abc import Sequence

from mmreflect.charts.topics import MONTHS, Topic

Course = list[float]


def draw_courses(rng: random.Random, topic: Topic, rows: Sequence[str], columns: Sequence[str]) -> list[Course]:
    """Draw one course over the rows for every column.

    Over the months of a topic with a wave they follow one wave of a year, with its peak in one place for the whole
    table; over other times every column rises, falls, bends or wanders smoothly; elsewhere the columns of a row are
    alike, as the same thing is measured twice.
    """
    if topic.wave and rows[0] in MONTHS:
        return _waves(rng, rows, len(columns))
    if topic.wave and columns[0] in MONTHS:
        return [list(course) for course in zip(*_waves(rng, columns, len(rows)), strict=True)]
    if topic.time:
        return [_course(rng, len(rows)) for _ in columns]
    levels = [rng.random() for _ in rows]
    shifts = [rng.uniform(-0.15, 0.15) for _ in columns] if len(columns) > 1 else [0.0]
    return [[_within(level * 0.8 + 0.1 + shift + rng.gauss(0, 0.08)) for level in levels] for shift in shifts]


def _within(value: float) -> float:
    return min(1.0, max(0.0, value))


def _waves(rng: random.Random, months: Sequence[str], count: int) -> list[Course]:
    """Draw the courses of `count` places over months."""
    peak = rng.choice([6.0, 6.5, 0.0, 0.5])  # July, or January in the south
    places = []
    for _ in range(count):
        height = rng.uniform(0.22, 0.42)
        level = rng.uniform(height + 0.03, 0.97 - height)
        turns = [(MONTHS.index(month) - peak) / 12 * 2 * math.pi for month in months]
        places.append([_within(level + height * math.cos(turn) + rng.gauss(0, 0.015)) for turn in turns])
    return places


def _course(rng: random.Random, count: int) -> Course:
    """Draw a smooth course in time: a rise, a fall, a peak, a dip or a walk, with a little noise."""
    form = rng.choice(["rise", "rise", "fall", "peak", "dip", "walk", "walk"])
    places = [place / max(1, count - 1) for place in range(count)]
    if form == "walk":
        return _walk(rng, count)
    centre = rng.uniform(0.3, 0.7)
    bent = {
        "rise": places,
        "fall": [1 - place for place in places],
        "peak": [1 - min(1.0, abs(place - centre) / 0.7) for place in places],
        "dip": [min(1.0, abs(place - centre) / 0.7) for place in places],
    }[form]
    wobble = rng.uniform(0.03, 0.14)
    start, span = rng.uniform(0, 0.4), rng.uniform(0.4, 0.6)
    return [_within(start + span * value + rng.uniform(-wobble, wobble)) for value in bent]


def _walk(rng: random.Random, count: int) -> Course:
    """Draw steps that are drawn back to the middle."""
    value, course = rng.uniform(0.2, 0.8), []
    for _ in range(count):
        course.append(_within(value))
        value += rng.gauss(0, 0.16) + 0.2 * (0.5 - value)
    return course
