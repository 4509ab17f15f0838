"""Tables behind charts are plausible: the shape of a year, bounded ratios, and no series that stands still."""

import itertools
import random

import pytest

from mmreflect.charts.courses import draw_courses
from mmreflect.charts.tables import KINDS, Table, draw_table
from mmreflect.charts.topics import CATEGORIES, GRIDS, MONTHS, TIMES

MEASURED = [kind for kind in KINDS if kind not in ("pie", "scatter", "box")]


def tables(kind: str, count: int = 60) -> list[Table]:
    return [draw_table(random.Random(f"{kind} {seed}"), kind, bool(seed % 2), False) for seed in range(count)]


def turns(values: list[float]) -> int:
    """Return how often a course turns, steps below a twentieth left out."""
    steps = [b - a for a, b in itertools.pairwise(values) if abs(b - a) > 0.05]
    return sum(a * b < 0 for a, b in itertools.pairwise(steps))


def test_a_year_of_a_climate_has_one_wave_with_its_peak_in_summer() -> None:
    topics = [topic for topic in (*TIMES, *GRIDS) if topic.wave]
    assert {topic.noun for topic in topics} == {"average temperature", "rainfall"}
    for topic in topics:
        for seed in range(20):
            rows, columns = (MONTHS, ("a", "b")) if topic.time else (("a", "b"), MONTHS)
            courses = draw_courses(random.Random(seed), topic, rows, columns)
            places = courses if topic.time else [list(one) for one in zip(*courses, strict=True)]
            assert len(places) == 2 and all(len(place) == 12 for place in places)
            for place in places:
                assert turns(place) <= 2 and max(place) - min(place) > 0.4
                peak = place.index(max(place))
                assert min(abs(peak - 6), abs(peak - 7), peak, 12 - peak) <= 1, "July, or January in the south"


def test_steps_of_time_are_small() -> None:
    topic = next(topic for topic in TIMES if topic.noun == "unemployment rate")
    for seed in range(50):
        (course,) = draw_courses(random.Random(seed), topic, topic.rows, ("",))
        steps = sorted(abs(b - a) for a, b in itertools.pairwise(course))
        assert steps[len(steps) // 2] < 0.25 and 0 <= min(course) <= max(course) <= 1


@pytest.mark.parametrize("kind", MEASURED)
def test_values_are_in_their_range_and_no_series_stands_still(kind: str) -> None:
    known = {(topic.noun, topic.unit): topic for topic in (*CATEGORIES, *TIMES, *GRIDS)}
    for table in tables(kind):
        topic = known[table.noun, table.unit]
        cells = [value for row in table.values for value in row if value is not None]
        if not (topic.log and kind in ("bar", "line")):
            assert max(cells) <= topic.high and max(cells) <= 12 * min(cells), table
            assert min(cells) >= 0.99 * topic.low, table
        for column in zip(*table.values, strict=True):
            series = [value for value in column if value is not None]
            assert len(set(series)) > 1, table
            if topic.continuous and table.labelled and kind != "stacked_bar" and topic.places:
                assert len(set(series)) == len(series), table
