"""Tables of numbers behind charts: random, but plausible, readable off the axis or written on the marks."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mmreflect.charts.courses import draw_courses
from mmreflect.charts.scales import PARTS, Scale, is_nice, label_scale, log_scale, places_of, read_scale
from mmreflect.charts.topics import CATEGORIES, GRIDS, PAIRS, SPREADS, TIMES, WHOLES, Pair, Topic

KINDS = ("bar", "grouped_bar", "stacked_bar", "line", "scatter", "pie", "box", "heat_map", "table")
QUANTILES = ("minimum", "lower quartile", "median", "upper quartile", "maximum")
Values = tuple[tuple[Fraction | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """What a chart shows.

    Attributes:
        noun, unit: of the values; `title`: what stands above the chart.
        rows, columns: labels. A plain chart has one column without a name, a box plot the five `QUANTILES`, a scatter
            plot x and y; its rows have no names.
        row_noun, column_noun: what a row and a column are called; `preposition` stands before a row's label.
        values: one tuple per row; None where nothing is shown.
        places: decimals that every value has.
        labelled: the values are written on the marks; otherwise they are read off the axis.
        ordered: the rows follow each other in time.
        scale, x_scale: of the value axis, and of the other one of a scatter plot.
        groups: of a scatter plot: the group of every row, a place in `group_names`.
        slope: of a scatter plot: how y goes with x.
        outliers: of a box plot: single values beyond the whiskers, by row.
    """

    kind: str
    noun: str
    unit: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_noun: str
    column_noun: str
    preposition: str
    values: Values
    places: int
    labelled: bool
    ordered: bool = False
    additive: bool = False
    scale: Scale | None = None
    x_scale: Scale | None = None
    groups: tuple[int, ...] = ()
    group_names: tuple[str, ...] = ()
    slope: int = 0
    outliers: tuple[tuple[Fraction, ...], ...] = ()
    x_noun: str = ""
    x_unit: str = ""


def draw_table(rng: random.Random, kind: str, labelled: bool, ordered: bool) -> Table:
    """Draw what a chart of a kind shows.

    Args:
        labelled: values are written on the marks; a scatter or box plot never has such labels.
        ordered: the rows must follow each other in time.
    """
    if kind == "pie":
        return _whole(rng, labelled)
    if kind == "scatter":
        return _pair(rng, rng.choice(PAIRS))
    if kind == "box":
        return _spread(rng)
    return _matrix(rng, kind, labelled, ordered)


def capital(text: str) -> str:
    """Return a text with a capital in front."""
    return text[:1].upper() + text[1:]


def window(rng: random.Random, labels: Sequence[str], count: int, together: bool) -> tuple[str, ...]:
    """Draw labels: neighbours in their order, or any."""
    count = min(count, len(labels))
    if together:
        start = rng.randrange(len(labels) - count + 1)
        return tuple(labels[start : start + count])
    return tuple(rng.sample(list(labels), count))


def _topic(rng: random.Random, kind: str, ordered: bool) -> Topic:
    if kind == "heat_map":
        pool = [topic for topic in GRIDS if topic.time or not ordered]
    elif kind == "line" or ordered:
        pool = list(TIMES)
    else:
        pool = [*CATEGORIES, *CATEGORIES, *TIMES]
    if kind == "stacked_bar":
        pool = [topic for topic in pool if topic.additive and topic.columns]
    if kind in ("grouped_bar", "table"):
        pool = [topic for topic in pool if topic.columns]
    if kind not in ("bar", "line"):
        pool = [topic for topic in pool if not topic.log] or pool
    return rng.choice(pool)


_COUNTS = {
    "bar": (4, 10),
    "grouped_bar": (3, 6),
    "stacked_bar": (3, 7),
    "line": (5, 12),
    "heat_map": (3, 7),
    "table": (4, 9),
}


def _matrix(rng: random.Random, kind: str, labelled: bool, ordered: bool) -> Table:
    topic = _topic(rng, kind, ordered)
    rows = window(rng, topic.rows, rng.randint(*_COUNTS[kind]), topic.time)
    several = kind not in ("bar", "line") or (kind == "line" and rng.random() < 0.6)
    columns: tuple[str, ...] = ("",)
    if several:
        names = rng.choice(topic.columns)
        fewest = min(3, len(names)) if kind in ("heat_map", "table") else min(2, len(names))
        columns = window(rng, names, rng.randint(fewest, min(len(names), 6 if kind == "heat_map" else 4)), True)
    finest = Fraction(1, 10**topic.places)
    log = topic.log and kind in ("bar", "line")
    # the lowest value of a table is no tiny part of the highest, and both lie in the topic's range
    high = topic.low + (topic.high - topic.low) * rng.uniform(0.6, 1.0)
    least = max(topic.low, high * rng.uniform(0.12, 0.35))
    top = Fraction(round(high / float(finest))) * finest
    if log:
        values = _digits(rng, topic, rows, columns)
    else:
        exact = labelled or kind in ("heat_map", "table")
        scale = _roomy_scale(rng, (Fraction(least).limit_denominator(100), max(top, finest * 8)), finest, len(rows))
        unit = finest if exact else scale.resolution
        limits = (max(unit, Fraction(least).limit_denominator(100)), top)
        courses = draw_courses(rng, topic, rows, columns)
        values = _numbers(rng, topic, courses, limits, unit, kind == "stacked_bar")
    values = _with_gaps(rng, values) if kind in ("line", "heat_map", "table") and not log else values
    known = [value for row in values for value in row if value is not None]
    if log:
        scale = log_scale(min(known), max(known))
    elif kind == "stacked_bar":
        totals = max(sum((value or Fraction(0) for value in row), Fraction(0)) for row in values)
        scale = label_scale(rng, Fraction(0), totals, scale.resolution if not labelled else finest)
    elif labelled:
        low = min(known) if kind == "line" and rng.random() < 0.6 else Fraction(0)
        scale = label_scale(rng, low, max(known), finest)
    places = max(
        [places_of(value) for value in known] + [topic.places if labelled or kind in ("heat_map", "table") else 0]
    )
    title = _title(rng, topic, rows, columns if len(columns) > 1 else ())
    return Table(
        kind, topic.noun, topic.unit, title, rows, columns, topic.row_noun, _noun_of(topic, columns), topic.preposition,
        values, places, labelled, topic.time, topic.additive, scale,
    )  # fmt: skip


def _noun_of(topic: Topic, columns: tuple[str, ...]) -> str:
    years = all(name.isdigit() for name in columns)
    return "year" if years else topic.column_noun if topic.column_noun != "year" else "group"


def _title(rng: random.Random, topic: Topic, rows: tuple[str, ...], columns: tuple[str, ...]) -> str:
    noun = capital(topic.noun)
    if rows[0].isdigit():
        forms = [f"{noun}, {rows[0]} to {rows[-1]}", f"{noun} {rows[0]}–{rows[-1]}", f"{noun} by year"]
    else:
        forms = [f"{noun} by {topic.row_noun}", f"{noun} per {topic.row_noun}"]
    if columns:
        column_noun = _noun_of(topic, columns)
        forms.append(f"{noun} by {topic.row_noun} and {column_noun}")
    return rng.choice(forms)


def _roomy_scale(rng: random.Random, span: tuple[Fraction, Fraction], finest: Fraction, rows: int) -> Scale:
    """Draw an axis on which a span has room for twice as many readable values as there are rows, if one has."""
    drawn = [read_scale(rng, span[1], finest) for _ in range(6)]
    roomy = [scale for scale in drawn if (span[1] - span[0]) / scale.resolution >= 2 * rows]
    return roomy[0] if roomy else min(drawn, key=lambda scale: scale.resolution)


def _numbers(
    rng: random.Random,
    topic: Topic,
    courses: Sequence[Sequence[float]],
    limits: tuple[Fraction, Fraction],
    unit: Fraction,
    thin: bool,
) -> Values:
    """Turn courses into multiples of `unit`; those of one row are not too close to each other.

    The values of a column differ where the topic is continuous and there is room, and are never all the same.
    """
    bottom, top = limits
    first, last = math.ceil(bottom / unit), max(math.ceil(bottom / unit) + 3, math.floor(top / unit))
    apart = 0 if thin else max(1, math.ceil((last - first) * 0.03))
    count = len(courses[0])
    distinct = (topic.continuous or rng.random() < 0.5) and last - first >= 2 * count
    columns: list[list[int]] = [[] for _ in courses]
    for row in range(count):
        beside: list[int] = []
        for column, course in zip(columns, courses, strict=True):
            wanted = first + round(course[row] * (last - first))
            taken = set(column) if distinct else set()
            if row == count - 1 and len(set(column)) == 1:
                taken = set(column)
            able = (place for place in _nearest(wanted, first, last) if all(abs(place - it) >= apart for it in beside))
            place = next((place for place in able if place not in taken), wanted)
            column.append(place)
            beside.append(place)
    return tuple(tuple(column[row] * unit for column in columns) for row in range(count))


def _nearest(wanted: int, first: int, last: int) -> Iterator[int]:
    """Give the whole numbers of a range, the nearest to one of them first."""
    yield wanted
    for away in range(1, last - first + 1):
        yield from (place for place in (wanted + away, wanted - away) if first <= place <= last)


def _digits(rng: random.Random, topic: Topic, rows: Sequence[str], columns: Sequence[str]) -> Values:
    """Draw values of one digit and zeros, spread over the topic's powers of ten."""
    low, high = math.log10(topic.low), math.log10(topic.high)
    courses = draw_courses(rng, topic, rows, columns)
    values = []
    for row in range(len(rows)):
        line: list[Fraction] = []
        for course in courses:
            number = _one_digit(10 ** (low + course[row] * (high - low)))
            while number in line:
                number = _one_digit(10 ** rng.uniform(low, high))
            line.append(number)
        values.append(tuple(line))
    return tuple(values)


def _one_digit(value: float) -> Fraction:
    power = math.floor(math.log10(value))
    digit: int = max(1, min(9, round(value / 10**power)))
    return digit * _power(power)


def _power(exponent: int) -> Fraction:
    return Fraction(10**exponent) if exponent >= 0 else Fraction(1, 10**-exponent)


def _with_gaps(rng: random.Random, values: Values) -> Values:
    """Leave out one or two values, in a third of the tables."""
    places = [(row, column) for row in range(1, len(values) - 1) for column in range(len(values[0]))]
    if rng.random() > 0.3 or len(places) < 4:
        return values
    gone = set(rng.sample(places, rng.randint(1, 2)))
    return tuple(
        tuple(None if (row, column) in gone else value for column, value in enumerate(line))
        for row, line in enumerate(values)
    )


def _whole(rng: random.Random, labelled: bool) -> Table:
    whole = rng.choice(WHOLES)
    parts = window(rng, whole.parts, rng.randint(3, 7), False)
    least = 5
    weights = [rng.random() + 0.15 for _ in parts]
    room = 100 - least * len(parts)
    shares = [least + int(room * weight / sum(weights)) for weight in weights]
    shares[rng.randrange(len(shares))] += 100 - sum(shares)
    if rng.random() < 0.4:
        shares.sort(reverse=True)
    return Table(
        "pie", "share", "%", whole.title, parts, ("",), whole.row_noun, "", "of",
        tuple((Fraction(share),) for share in shares), 0, labelled, additive=True,
    )  # fmt: skip


def _pair(rng: random.Random, pair: Pair) -> Table:
    """Draw the points of a scatter plot, no two of them close to each other."""
    x_scale = _range_scale(rng, *pair.x_range)
    y_scale = _range_scale(rng, *pair.y_range)
    names = rng.choice(pair.groups) if rng.random() < 0.65 else ("",)
    points: list[tuple[Fraction, Fraction]] = []
    for _ in range(rng.randint(8, 22)):
        for _ in range(60):
            along = rng.uniform(0.04, 0.96)
            spread = rng.gauss(0, 0.11) if pair.slope else rng.uniform(-0.45, 0.45)
            middle = {1: along, -1: 1 - along, 0: 0.5}[pair.slope]
            up = min(0.96, max(0.04, 0.1 + 0.8 * middle + spread))
            x, y = _on(x_scale, along), _on(y_scale, up)
            if all(
                abs(x_scale.share(x) - x_scale.share(a)) > 0.035 or abs(y_scale.share(y) - y_scale.share(b)) > 0.05
                for a, b in points
            ):
                points.append((x, y))
                break
    groups = tuple(rng.randrange(len(names)) for _ in points)
    places = max(places_of(value) for point in points for value in point)
    return Table(
        "scatter", pair.y, pair.y_unit, f"{capital(pair.y)} and {pair.x}", tuple("" for _ in points), (pair.x, pair.y),
        "point", "", "at", tuple(points), places, False, scale=y_scale, x_scale=x_scale, groups=groups,
        group_names=names, slope=pair.slope, x_noun=pair.x, x_unit=pair.x_unit,
    )  # fmt: skip


def _range_scale(rng: random.Random, low: float, high: float) -> Scale:
    scale = label_scale(rng, Fraction(low).limit_denominator(10), Fraction(high).limit_denominator(10), Fraction(1, 10))
    parts, minor = rng.choice([item for item in PARTS if is_nice(scale.step / item[0])])
    return Scale(scale.low, scale.high, scale.step, scale.step / parts, minor)


def _on(scale: Scale, share: float) -> Fraction:
    """Return the readable value nearest to a place on an axis."""
    span = (scale.high - scale.low) / scale.resolution
    return scale.low + scale.resolution * round(share * float(span))


def _spread(rng: random.Random) -> Table:
    """Draw the five numbers of every box, no two of them equal, and outliers in some plots."""
    topic = rng.choice(SPREADS)
    rows = window(rng, topic.rows, rng.randint(3, 6), topic.rows[0] in ("Class 7a", "Group A", "Mon"))
    scale = read_scale(rng, Fraction(int(topic.high)), Fraction(1, 2))
    first, last = math.ceil(topic.low / scale.resolution), int(scale.high / scale.resolution)
    while last - first < 14:  # room for five different numbers
        finer = next(part for part in (2, 5, 4, 10) if is_nice(scale.resolution / part))
        scale = Scale(scale.low, scale.high, scale.step, scale.resolution / finer, True)
        first, last = math.ceil(topic.low / scale.resolution), int(scale.high / scale.resolution)
    with_outliers = rng.random() < 0.35
    values, outliers = [], []
    for _ in rows:
        middle, half = rng.uniform(0.35, 0.65), rng.uniform(0.15, 0.34)
        cuts = sorted(
            rng.sample(range(int((last - first) * (middle - half)), int((last - first) * (middle + half)) + 6), 5)
        )
        numbers = [(first + min(cut, last - first)) * scale.resolution for cut in cuts]
        values.append(tuple(numbers))
        count = rng.randint(0, 3) if with_outliers else 0
        beyond = [numbers[4] + (place + 1) * scale.step for place in range(count)]
        outliers.append(tuple(value for value in beyond if value <= scale.high))
    places = max(places_of(value) for row in values for value in row)
    return Table(
        "box", topic.noun, topic.unit, f"{capital(topic.noun)} by {topic.row_noun}", rows, QUANTILES, topic.row_noun,
        "",
        topic.preposition, tuple(values), places, False, scale=scale, outliers=tuple(outliers),
    )  # fmt: skip
