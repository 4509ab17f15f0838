"""Level 6: several looks, the later ones decided by the earlier."""

from fractions import Fraction

from mmreflect.charts.questions.count import plural
from mmreflect.charts.questions.view import Question, Step, Unaskable, View


def ask(view: View) -> Question:
    """Ask for something that takes a search and then a calculation."""
    table = view.table
    forms = [extent, runner_up]
    if table.kind == "box":
        forms = [extent, widest, widest]
    elif len(table.columns) > 1:
        forms += [lookup, lookup, gap]
    if table.kind != "box" and table.additive:
        forms.append(above_mean)
    return view.rng.choice(forms)(view)


def ends(view: View, column: int) -> tuple[int, int]:
    """Return the rows of the highest and the lowest value of a column, each the only one."""
    order = sorted(view.known(column), key=lambda row: view.value(row, column))
    values = [view.value(row, column) for row in order]
    if values[0] == values[1] or values[-1] == values[-2]:
        raise Unaskable
    return order[-1], order[0]


def extent(view: View) -> Question:
    """Ask for the difference between the highest and the lowest value."""
    column = view.column()
    high, low = ends(view, column)
    value = view.value(high, column) - view.value(low, column)
    unit = ", in percentage points" if view.table.unit == "%" else view.unit()
    text = f"What is the difference between the highest and the lowest {view.noun(column)}{unit}?"
    steps = [
        (f"Highest: {view.read(high, column)[0]}", view.look(high, column)),
        (f"Lowest: {view.read(low, column)[0]}", view.look(low, column)),
    ]
    steps.append(
        (f"{view.say(view.value(high, column))} - {view.say(view.value(low, column))} = {view.say(value)}.", [])
    )
    return view.number(
        text,
        value,
        steps,
        [
            view.value(high, column),
            view.value(low, column),
            view.value(high, column) + view.value(low, column),
            value * 2,
        ],
    )


def runner_up(view: View) -> Question:
    """Ask for the second highest."""
    table, column = view.table, view.column()
    order = sorted(view.known(column), key=lambda row: -view.value(row, column))
    values = [view.value(row, column) for row in order]
    if values[0] == values[1] or values[1] == values[2]:
        raise Unaskable
    text = f"Which {table.row_noun} has the second highest {view.noun(column)}?"
    steps = [view.read(row, column) for row in order[:3]]
    steps.append(
        (f"{table.rows[order[0]]} is first, so the second is {table.rows[order[1]]}.", view.look(order[1], column))
    )
    return view.row_label(text, order[1], steps, [order[0], order[2]])


def lookup(view: View) -> Question:
    """Ask for one column's value in the row in which another column is highest or lowest."""
    table = view.table
    one, other = view.rng.sample(range(len(table.columns)), 2)
    if len(view.known(one)) < 3:
        raise Unaskable
    high, low = ends(view, one)
    highest = view.rng.random() < 0.6
    row = high if highest else low
    if table.values[row][other] is None:
        raise Unaskable
    word = "highest" if highest else "lowest"
    text = f"For the {table.row_noun} with the {word} {view.noun(one)}, what is the {view.noun(other)}{view.unit()}?"
    steps = [
        (f"The {word} {view.noun(one)} is that {table.preposition} {table.rows[row]}.", view.look(row, one)),
        view.read(row, other),
    ]
    wrong = [view.value(row, one)] + [view.value(item, other) for item in view.known(other)]
    return view.number(text, view.value(row, other), steps, wrong)


def gap(view: View) -> Question:
    """Ask in which row two columns are furthest apart."""
    table = view.table
    one, other = view.rng.sample(range(len(table.columns)), 2)
    rows = [row for row in view.known(one) if row in view.known(other)]
    if len(rows) < 3:
        raise Unaskable
    apart = {row: abs(view.value(row, one) - view.value(row, other)) for row in rows}
    order = sorted(rows, key=lambda row: -apart[row])
    if apart[order[0]] == apart[order[1]]:
        raise Unaskable
    names = f"{table.columns[one]} and {table.columns[other]}"
    text = f"For which {table.row_noun} do {names} differ the most in {table.noun}?"
    steps = [
        (
            f"{table.rows[row]}: {view.say(view.value(row, one))} and {view.say(view.value(row, other))}, "
            f"{view.say(apart[row])} apart.",
            [*view.look(row, one), *view.look(row, other)],
        )
        for row in rows
    ]
    steps.append((f"So it is {table.rows[order[0]]}.", view.look(order[0], one)))
    return view.row_label(text, order[0], steps, order[1:])


def above_mean(view: View) -> Question:
    """Ask how many rows are above the mean of their column."""
    table, column = view.table, view.column()
    rows = view.known(column)
    numbers = [view.value(row, column) for row in rows]
    mean = sum(numbers, Fraction(0)) / len(numbers)
    if mean in numbers:
        raise Unaskable
    count = sum(number > mean for number in numbers)
    above = f"the {view.noun(column)} above the mean of all {len(rows)} that are shown"
    text = f"For how many {plural(table.row_noun)} is {above}?"
    steps = [view.read(row, column) for row in rows]
    steps.append((f"The mean is {view.say(mean, table.places + 1)}.", []))
    names = [table.rows[row] for row in rows if view.value(row, column) > mean]
    steps.append((f"Above it: {', '.join(names)}; that is {count}.", []))
    wrong = [Fraction(item) for item in (len(rows) - count, count + 1, count - 1, count + 2) if item >= 0]
    return view.number(text, Fraction(count), steps, wrong, 0)


def widest(view: View) -> Question:
    """Ask which box of a box plot is the tallest."""
    table = view.table
    spans = [view.value(row, 3) - view.value(row, 1) for row in range(len(table.rows))]
    order = sorted(range(len(spans)), key=lambda row: -spans[row])
    if spans[order[0]] == spans[order[1]]:
        raise Unaskable
    text = f"Which {table.row_noun} has the largest interquartile range of the {table.noun}?"
    steps: list[Step] = [
        (
            f"{table.rows[row]}: {view.say(view.value(row, 3))} - {view.say(view.value(row, 1))} "
            f"= {view.say(spans[row])}.",
            [("box", row, None)],
        )
        for row in range(len(spans))
    ]
    steps.append((f"So it is {table.rows[order[0]]}.", [("box", order[0], None)]))
    return view.row_label(text, order[0], steps, order[1:])
