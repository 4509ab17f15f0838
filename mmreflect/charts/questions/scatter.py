"""Questions of all levels about scatter plots."""

from fractions import Fraction

from mmreflect.charts.questions.view import Look, Question, Step, Unaskable, View
from mmreflect.charts.scales import written

TRENDS = {1: "positive", -1: "negative", 0: "none"}


def _group(view: View) -> tuple[int | None, list[int], str]:
    """Draw a group with at least three points, or all points where there are no groups."""
    table = view.table
    if len(table.group_names) < 2:
        return None, list(range(len(table.values))), ""
    able = [place for place in range(len(table.group_names)) if table.groups.count(place) >= 3]
    if not able:
        raise Unaskable
    group = view.rng.choice(able)
    return (
        group,
        [row for row in range(len(table.values)) if table.groups[row] == group],
        f" of {table.group_names[group]}",
    )


def _point(row: int) -> list[Look]:
    return [("point", row, None)]


def _says(view: View, row: int) -> Step:
    x, y = view.value(row, 0), view.value(row, 1)
    table = view.table
    group = f" of {table.group_names[table.groups[row]]}" if len(table.group_names) > 1 else ""
    return f"The point{group} with {table.x_noun} {view.say(x)} has {table.noun} {view.say(y)}.", _point(row)


def _in(unit: str) -> str:
    return f", in {unit}" if unit else ""


def read(view: View) -> Question:
    """Ask for the y of the only point at an x."""
    table = view.table
    xs = [view.value(row, 0) for row in range(len(table.values))]
    able = [row for row, x in enumerate(xs) if xs.count(x) == 1]
    if not able:
        raise Unaskable
    row = view.rng.choice(able)
    unit = f" {table.x_unit}" if table.x_unit else ""
    text = f"What is the {table.noun} of the point with {table.x_noun} {view.say(xs[row])}{unit}{_in(table.unit)}?"
    wrong = [view.value(other, 1) for other in range(len(xs)) if other != row]
    return view.number(text, view.value(row, 1), [_says(view, row)], wrong)


def compare(view: View) -> Question:
    """Ask which group has the extreme point of an axis, or for that point's x."""
    table = view.table
    rows = range(len(table.values))
    axis = 1
    highest = view.rng.random() < 0.6
    order = sorted(rows, key=lambda row: view.value(row, axis), reverse=highest)
    first = order[0]
    if view.value(order[1], axis) == view.value(first, axis):
        raise Unaskable
    word = "highest" if highest else "lowest"
    if len(table.group_names) > 1:
        names = list(table.group_names)
        answer = names[table.groups[first]]
        text = f"To which group does the point with the {word} {table.noun} belong?"
        return Question(text, answer, "text", [_says(view, first)], [name for name in names if name != answer])
    text = f"What is the {table.x_noun} of the point with the {word} {table.noun}{_in(table.x_unit)}?"
    return view.number(text, view.value(first, 0), [_says(view, first)], [view.value(row, 0) for row in order[1:]])


def count(view: View) -> Question:
    """Ask how many points there are, or how many lie above or below a value that none has."""
    table, (_, rows, of) = view.table, _group(view)
    assert table.scale is not None
    if view.rng.random() < 0.35:
        text, inside = f"How many points{of} are there?", rows
        steps: list[Step] = [
            (f"The points{of} are counted one by one: {len(rows)}.", [("point", row, None) for row in rows])
        ]
    else:
        values = [view.value(row, 1) for row in rows]
        limits = [tick for tick in table.scale.ticks() if min(values) < tick < max(values) and tick not in values]
        if not limits:
            raise Unaskable
        limit, above = view.rng.choice(limits), view.rng.random() < 0.5
        inside = [row for row in rows if (view.value(row, 1) > limit) == above]
        word, shown = "above" if above else "below", written(limit, 0) if limit.denominator == 1 else str(float(limit))
        unit = f" {table.unit}" if table.unit else ""
        text = f"How many points{of} have a {table.noun} {word} {shown}{unit}?"
        steps = [_says(view, row) for row in inside]
        steps.append(
            (f"{word.capitalize()} {shown} lie {len(inside)} points.", [("point", row, None) for row in inside])
        )
    number = len(inside)
    wrong = [Fraction(item) for item in (number + 1, number - 1, number + 2, number - 2) if item >= 0]
    return view.number(text, Fraction(number), steps, wrong, 0)


def compute(view: View) -> Question:
    """Ask for the difference between the highest and the lowest y."""
    table, (_, rows, of) = view.table, _group(view)
    order = sorted(rows, key=lambda row: view.value(row, 1))
    value = view.value(order[-1], 1) - view.value(order[0], 1)
    if value == 0:
        raise Unaskable
    text = (
        f"What is the difference between the highest and the lowest {table.noun} among the points{of}{_in(table.unit)}?"
    )
    high, low = view.value(order[-1], 1), view.value(order[0], 1)
    steps = [
        _says(view, order[-1]),
        _says(view, order[0]),
        (f"{view.say(high)} - {view.say(low)} = {view.say(value)}.", []),
    ]
    return view.number(text, value, steps, [high, low, high + low, value * 2])


def trend(view: View) -> Question:
    """Ask how y goes with x; asked only where the drawn points show it clearly."""
    table = view.table
    found = correlation([(float(view.value(row, 0)), float(view.value(row, 1))) for row in range(len(table.values))])
    clear = abs(found) > 0.7 if table.slope else abs(found) < 0.2
    if not clear or (table.slope and (found > 0) != (table.slope > 0)):
        raise Unaskable
    answer = TRENDS[table.slope]
    text = (
        f"How does the {table.noun} go with the {table.x_noun}: is the correlation positive, negative, or is there "
        "none? Answer with: positive, negative, or none."
    )
    said = {
        1: f"From left to right the points go up: the {table.noun} grows with the {table.x_noun}.",
        -1: f"From left to right the points go down: the {table.noun} falls as the {table.x_noun} grows.",
        0: "From left to right the points go neither up nor down.",
    }[table.slope]
    steps: list[Step] = [(said, [("point", row, None) for row in range(len(table.values))])]
    names = list(TRENDS.values())
    return Question(text, answer, "text", steps, [name for name in names if name != answer], choices=names)


def multi_step(view: View) -> Question:
    """Ask for the x of the highest or lowest point of a group less that of another."""
    table, (_, rows, of) = view.table, _group(view)
    order = sorted(rows, key=lambda row: view.value(row, 1))
    if view.value(order[0], 1) == view.value(order[1], 1) or view.value(order[-1], 1) == view.value(order[-2], 1):
        raise Unaskable
    high, low = view.value(order[-1], 0), view.value(order[0], 0)
    value = abs(high - low)
    text = (
        f"Among the points{of}, by how much do the one with the highest and the one with the lowest {table.noun} "
        f"differ in {table.x_noun}{_in(table.x_unit)}?"
    )
    steps = [_says(view, order[-1]), _says(view, order[0])]
    steps.append((f"{view.say(max(high, low))} - {view.say(min(high, low))} = {view.say(value)}.", []))
    return view.number(
        text, value, steps, [high, low, high + low, abs(view.value(order[-1], 1) - view.value(order[0], 1))]
    )


def correlation(points: list[tuple[float, float]]) -> float:
    """Return Pearson's correlation; 0 where one side does not vary."""
    count = len(points)
    x_mean, y_mean = sum(point[0] for point in points) / count, sum(point[1] for point in points) / count
    both = sum((x - x_mean) * (y - y_mean) for x, y in points)
    xs, ys = sum((x - x_mean) ** 2 for x, _ in points), sum((y - y_mean) ** 2 for _, y in points)
    return float(both / (xs * ys) ** 0.5) if xs and ys else 0.0
