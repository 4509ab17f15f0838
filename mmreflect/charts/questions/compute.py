"""Level 4: a difference, sum, mean, ratio, share of the total, or change in percent."""

from fractions import Fraction

from mmreflect.charts.questions.count import plural
from mmreflect.charts.questions.view import Question, Step, Unaskable, View


def ask(view: View) -> Question:
    """Ask for a number that follows from two or more values."""
    table = view.table
    forms = [difference, difference, ratio]
    if table.kind == "box":
        return view.rng.choice([spread, spread, difference])(view)
    if table.additive:
        forms += [total, total]
    if table.additive and table.kind != "pie":
        forms.append(part)
    if table.kind != "pie":
        forms.append(mean)
    if table.ordered:
        forms.append(change)
    return view.rng.choice(forms)(view)


def two(view: View) -> tuple[int, int, int]:
    """Draw two rows with different values in one column, the larger first."""
    column = view.column()
    one, other = view.rng.sample(view.known(column), 2)
    if view.value(one, column) == view.value(other, column):
        raise Unaskable
    return (one, other, column) if view.value(one, column) > view.value(other, column) else (other, one, column)


def difference(view: View) -> Question:
    """Ask how much higher one value is than another."""
    one, other, column = two(view)
    high, low = view.value(one, column), view.value(other, column)
    text = f"By how much is the {view.name(one, column)} higher than the {view.name(other, column)}{points(view)}?"
    steps = [view.read(one, column), view.read(other, column)]
    steps.append((f"{view.say(high)} - {view.say(low)} = {view.say(high - low)}.", []))
    unit = Fraction(1, 10**view.table.places)
    return view.number(text, high - low, steps, [high + low, high, low, high - low + unit, abs(high - low - unit)])


def points(view: View) -> str:
    """Return the unit of a difference, which of percentages are percentage points."""
    return ", in percentage points" if view.table.unit == "%" else view.unit()


def ratio(view: View) -> Question:
    """Ask how many times as high one value is as another."""
    one, other, column = two(view)
    high, low = view.value(one, column), view.value(other, column)
    if low == 0 or view.table.unit == "°C":
        raise Unaskable
    value = high / low
    asked = f"How many times as high as the {view.name(other, column)} is the {view.name(one, column)}?"
    text = f"{asked} Round to one decimal."
    steps = [view.read(one, column), view.read(other, column)]
    steps.append((f"{view.say(high)} / {view.say(low)} = {view.say(value, 3)}, rounded {view.say(value, 1)}.", []))
    return view.number(text, value, steps, [low / high, value + 1, value + Fraction(1, 2), abs(value - 1)], 1)


def total(view: View) -> Question:
    """Ask for the sum of two to four values of a column, or of a row."""
    table = view.table
    if len(table.columns) > 1 and view.rng.random() < 0.5:
        row = view.rng.randrange(len(table.rows))
        if any(value is None for value in table.values[row]):
            raise Unaskable
        places = [(row, column) for column in range(len(table.columns))]
        over = f"over all {len(places)} {plural(table.column_noun)}{view.unit()}"
        text = f"What is the total {table.noun} {table.preposition} {table.rows[row]} {over}?"
    else:
        column = view.column()
        count = view.rng.randint(2, min(4, len(view.known(column))))
        places = [(row, column) for row in sorted(view.rng.sample(view.known(column), count))]
        names = [table.rows[row] for row, _ in places]
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        text = f"What is the sum of the {view.noun(column)} {table.preposition} {listed}{view.unit()}?"
    numbers = [view.value(*place) for place in places]
    value = sum(numbers, Fraction(0))
    shown = " + ".join(view.say(number) for number in numbers)
    steps = [*(view.read(*place) for place in places), (f"{shown} = {view.say(value)}.", [])]
    return view.number(
        text, value, steps, [value - numbers[-1], value / len(numbers), value + numbers[0], max(numbers)]
    )


def mean(view: View) -> Question:
    """Ask for the mean of all values of a column."""
    table, column = view.table, view.column()
    rows = view.known(column)
    numbers = [view.value(row, column) for row in rows]
    value, places = sum(numbers, Fraction(0)) / len(numbers), table.places + 1
    gaps = " that are shown" if len(rows) < len(table.rows) else ""
    of = f"over all {len(rows)} {plural(table.row_noun)}{gaps}"
    text = f"What is the mean {view.noun(column)} {of}{view.unit()}? Round to {_decimals(places)}."
    shown = " + ".join(view.say(number) for number in numbers)
    steps: list[Step] = [view.read(row, column) for row in rows]
    steps.append((f"({shown}) / {len(rows)} = {view.say(value, places)}.", []))
    order = sorted(numbers)
    return view.number(
        text,
        value,
        steps,
        [order[len(order) // 2], (order[0] + order[-1]) / 2, sum(numbers, Fraction(0)), value * Fraction(11, 10)],
        places,
    )


def part(view: View) -> Question:
    """Ask which share of a column's total one value is."""
    table, column = view.table, view.column()
    rows = view.known(column)
    row = view.rng.choice(rows)
    numbers = [view.value(item, column) for item in rows]
    whole = sum(numbers, Fraction(0))
    value = 100 * view.value(row, column) / whole
    text = (
        f"Which percentage of the {view.noun(column)} of all {plural(table.row_noun)} together is that "
        f"{table.preposition} {table.rows[row]}? Round to one decimal."
    )
    steps = [view.read(item, column) for item in rows]
    shown = " + ".join(view.say(number) for number in numbers)
    steps.append((f"All together: {shown} = {view.say(whole)}.", []))
    steps.append(
        (
            f"100 * {view.say(view.value(row, column))} / {view.say(whole)} = {view.say(value, 1)}.",
            view.look(row, column),
        )
    )
    return view.number(text, value, steps, [value + 5, 100 - value, abs(value - 5), value * 2], 1)


def change(view: View) -> Question:
    """Ask for the change from one point in time to a later one, in percent."""
    column = view.column()
    first, last = sorted(view.rng.sample(view.known(column), 2))
    before, after = view.value(first, column), view.value(last, column)
    if before in (0, after) or view.table.unit in ("%", "°C"):
        raise Unaskable
    value = 100 * (after - before) / before
    word = "rise" if value > 0 else "fall"
    rows = view.table.rows
    asked = f"By how many percent did the {view.noun(column)} {word} from {rows[first]} to {rows[last]}?"
    text = f"{asked} Round to one decimal."
    size = abs(value)
    steps = [view.read(first, column), view.read(last, column)]
    steps.append((f"100 * {view.say(abs(after - before))} / {view.say(before)} = {view.say(size, 1)}.", []))
    return view.number(
        text,
        size,
        steps,
        [abs(100 * (after - before) / after) if after else size + 7, abs(after - before), size + 10, size / 2],
        1,
    )


def spread(view: View) -> Question:
    """Ask for the interquartile range, or the range of the whiskers."""
    table, row = view.table, view.rng.randrange(len(view.table.rows))
    inner = view.rng.random() < 0.6
    low, high = (1, 3) if inner else (0, 4)
    value = view.value(row, high) - view.value(row, low)
    what = "interquartile range" if inner else "distance between the ends of the whiskers"
    text = f"What is the {what} of the {table.noun} {table.preposition} {table.rows[row]}{view.unit()}?"
    steps = [view.read(row, high), view.read(row, low)]
    steps.append((f"{view.say(view.value(row, high))} - {view.say(view.value(row, low))} = {view.say(value)}.", []))
    other = view.value(row, 4) - view.value(row, 0) if inner else view.value(row, 3) - view.value(row, 1)
    return view.number(text, value, steps, [other, view.value(row, high), view.value(row, 2), value * 2])


def _decimals(places: int) -> str:
    return "one decimal" if places == 1 else f"{places} decimals"
